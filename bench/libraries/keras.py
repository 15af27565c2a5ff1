"""Keras on TensorFlow: fit and predict of a model with one dense layer."""

from __future__ import annotations

import os
from typing import Any

from . import Library
from .tensorflow import set_threads


def _set_threads(n: int) -> None:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    set_threads(n)


def _model(problem: Any) -> Any:
    import keras

    dense = keras.layers.Dense(problem.k, activation="softmax", kernel_initializer="zeros")
    return keras.Sequential([keras.Input((problem.d,)), dense])


def _fit(problem: Any, steps_per_execution: int) -> Any:
    import keras
    import tensorflow as tf

    X, y = map(tf.constant, problem.floats())
    model = _model(problem)
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate=problem.learning_rate),
        loss="sparse_categorical_crossentropy",
        steps_per_execution=steps_per_execution,
    )
    zeros = [0 * weights for weights in model.get_weights()]

    def run() -> Any:
        model.set_weights(zeros)
        model.fit(X, y, batch_size=problem.batch, epochs=problem.epochs, verbose=0)
        return model.get_weights()

    return run


def _predict(problem: Any) -> Any:
    X, model = problem.floats(), _model(problem)
    model.set_weights(list(problem.model()))
    return lambda: model.predict(X, batch_size=1024, verbose=0).argmax(1)


LIBRARY = Library(
    title="Keras",
    packages=("keras", "tensorflow"),
    modes={
        "epoch": {
            "fit": lambda problem: _fit(problem, 1),
            "fit, 100 steps per execution": lambda problem: _fit(problem, 100),
        },
        "predict": {"predict": _predict},
    },
    set_threads=_set_threads,
    slow=frozenset({"fit", "fit, 100 steps per execution"}),
)
