"""TensorFlow on the CPU: the tutorial's own session loop, and what its later forms can do."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from . import Library


def set_threads(n: int) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import tensorflow as tf

    if tf.config.threading.get_intra_op_parallelism_threads() != n:
        tf.config.threading.set_intra_op_parallelism_threads(n)
        tf.config.threading.set_inter_op_parallelism_threads(n)


def _session_loop(problem: Any) -> Any:
    """As the tutorial has it: a graph, and each batch of NumPy arrays fed into it."""
    import tensorflow as tf

    v1 = tf.compat.v1
    X, y = problem.floats()
    Y = np.eye(problem.k, dtype=np.float32)[y]
    n_threads = tf.config.threading.get_intra_op_parallelism_threads()
    with tf.Graph().as_default() as graph:
        images = v1.placeholder(tf.float32, [None, problem.d])
        targets = v1.placeholder(tf.float32, [None, problem.k])
        W = v1.Variable(tf.zeros([problem.d, problem.k]))
        b = v1.Variable(tf.zeros([problem.k]))
        probs = tf.nn.softmax(images @ W + b)
        loss = tf.reduce_mean(-tf.reduce_sum(targets * tf.math.log(probs), axis=1))
        step = v1.train.GradientDescentOptimizer(problem.learning_rate).minimize(loss)
        initialize = v1.global_variables_initializer()
    config = v1.ConfigProto(
        intra_op_parallelism_threads=n_threads, inter_op_parallelism_threads=n_threads
    )
    session = v1.Session(graph=graph, config=config)
    rng = np.random.default_rng(0)

    def run() -> Any:
        session.run(initialize)
        for _ in range(problem.epochs):
            order = rng.permutation(problem.n)
            for start in range(0, problem.n, problem.batch):
                rows = order[start : start + problem.batch]
                session.run([step, loss], {images: X[rows], targets: Y[rows]})
        return session.run((W, b))

    return run


def _function_per_step(problem: Any) -> Any:
    import tensorflow as tf

    X, y = map(tf.constant, problem.floats())
    W, b = tf.Variable(tf.zeros([problem.d, problem.k])), tf.Variable(tf.zeros([problem.k]))

    @tf.function(reduce_retracing=True)
    def step(rows: Any) -> None:
        with tf.GradientTape() as tape:
            logits = tf.gather(X, rows) @ W + b
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(y, rows), logits)
            loss = tf.reduce_mean(losses)
        dW, db = tape.gradient(loss, [W, b])
        W.assign_sub(problem.learning_rate * dW)
        b.assign_sub(problem.learning_rate * db)

    def run() -> Any:
        W.assign(tf.zeros_like(W))
        b.assign(tf.zeros_like(b))
        for _ in range(problem.epochs):
            order = tf.random.shuffle(tf.range(problem.n))
            for start in range(0, problem.n, problem.batch):
                step(order[start : start + problem.batch])
        return W.numpy(), b.numpy()

    return run


def _function_per_epoch(problem: Any, xla: bool, is_uint8: bool = False) -> Any:
    """The whole epoch in one graph, the gradient written out: TensorFlow's best."""
    import tensorflow as tf

    X, y = map(tf.constant, problem.images() if is_uint8 else problem.floats())
    scale = 1 / 255 if is_uint8 else 1.0  # of W, not of x: no difference
    Y = tf.one_hot(y, problem.k)
    n, batch = problem.n, min(problem.batch, problem.n)
    n_whole = n // batch

    def step(W: Any, b: Any, rows: Any) -> Any:
        x = tf.cast(tf.gather(X, rows), tf.float32)
        # W (k, d): 1.1 to 1.5 times as fast as (d, k) for batches of 100 and 1024.
        logits = tf.matmul(x, scale * W if is_uint8 else W, transpose_b=True) + b
        residual = tf.nn.softmax(logits) - tf.gather(Y, rows)
        rate = problem.learning_rate / rows.shape[0]
        dW = tf.matmul(residual, x, transpose_a=True)
        return W - rate * scale * dW, b - rate * tf.reduce_sum(residual, 0)

    @tf.function(jit_compile=xla)
    def train(W: Any, b: Any, order: Any) -> Any:
        for i in tf.range(n_whole):
            W, b = step(W, b, tf.slice(order, [i * batch], [batch]))
        if n % batch:  # a smaller last batch
            W, b = step(W, b, order[n_whole * batch :])
        return W, b

    def run() -> Any:
        W, b = tf.zeros([problem.k, problem.d]), tf.zeros([problem.k])
        for _ in range(problem.epochs):
            order = tf.random.shuffle(tf.range(n))
            W, b = train(W, b, order)
        return W.numpy().T, b.numpy()

    return run


def _call(function: Any, *arrays: Any, xla: bool = False) -> Any:
    import tensorflow as tf

    tensors = tuple(map(tf.constant, arrays))
    compiled = tf.function(function, jit_compile=xla)
    return lambda: compiled(*tensors)


def _softmax(problem: Any, xla: bool = False) -> Any:
    import tensorflow as tf

    return _call(lambda x: tf.nn.softmax(x, axis=problem.axis), problem.inputs(), xla=xla)


def _softmax_eager(problem: Any) -> Any:
    import tensorflow as tf

    x = tf.constant(problem.inputs())
    return lambda: tf.nn.softmax(x, axis=problem.axis)


def _matmul_eager(problem: Any) -> Any:
    import tensorflow as tf

    a, b = map(tf.constant, problem.stored())
    if problem.transposed:  # a' b takes 3.5 times as long
        return lambda: tf.transpose(tf.matmul(b, a, transpose_a=True))
    return lambda: tf.matmul(a, b)


def _matmul_xla(problem: Any) -> Any:
    import tensorflow as tf

    return _call(
        lambda a, b: tf.matmul(a, b, transpose_a=problem.transposed), *problem.stored(), xla=True
    )


def _predict(problem: Any, xla: bool) -> Any:
    import tensorflow as tf

    def classes(X: Any, W: Any, b: Any) -> Any:
        return tf.argmax(X @ W + b, 1)

    return _call(classes, problem.floats(), *problem.model(), xla=xla)


def _convert(problem: Any) -> Any:
    import tensorflow as tf

    X, y = problem.images()
    return lambda: (tf.cast(X, tf.float32) / 255.0, tf.one_hot(y, problem.k))


def _optimum(problem: Any, xla: bool) -> Any:
    """The value and gradient in one graph, for SciPy's L-BFGS-B: TensorFlow has none of its own."""
    import tensorflow as tf

    from ._lbfgs import minimize

    X, y = map(tf.constant, problem.arrays())
    size = problem.k * problem.d

    @tf.function(jit_compile=xla)
    def value_and_gradient(W: Any, b: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch((W, b))
            logits = tf.matmul(X, W, transpose_b=True) + b
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
            loss = tf.reduce_sum(losses) + tf.reduce_sum(W * W) / (2 * problem.C)
        return (loss, *tape.gradient(loss, (W, b)))

    def function(x: Any) -> Any:
        W, b = x[:size].reshape(problem.k, problem.d), x[size:]
        loss, dW, db = value_and_gradient(W.astype(np.float32), b.astype(np.float32))
        return float(loss), np.concatenate([dW.numpy().ravel(), db.numpy()]).astype(np.float64)

    return lambda trace: minimize(function, problem, trace, memory=10)


LIBRARY = Library(
    title="TensorFlow",
    packages=("tensorflow",),
    modes={
        "epoch": {
            "session loop (the tutorial)": _session_loop,
            "function per step": _function_per_step,
            "function per epoch": lambda problem: _function_per_epoch(problem, xla=False),
            "function per epoch, XLA": lambda problem: _function_per_epoch(problem, xla=True),
            "function per epoch, XLA, uint8": lambda problem: _function_per_epoch(
                problem, xla=True, is_uint8=True
            ),
        },
        "softmax": {"eager": _softmax_eager, "XLA": lambda problem: _softmax(problem, xla=True)},
        "matmul": {"eager": _matmul_eager, "XLA": _matmul_xla},
        "predict": {
            "function": lambda problem: _predict(problem, xla=False),
            "function, XLA": lambda problem: _predict(problem, xla=True),
        },
        "convert": {"tensors": _convert},
        "optimum": {
            "XLA gradient, SciPy L-BFGS-B": lambda problem: _optimum(problem, xla=True),
        },
    },
    set_threads=set_threads,
    slow=frozenset({"session loop (the tutorial)", "function per step"}),
    enters=lambda mode, problem: not problem.is_sparse,
)
