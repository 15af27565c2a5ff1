"""PyTorch on the CPU: the usual loop with autograd, and the same by hand without it."""

from __future__ import annotations

from typing import Any

from . import Library


def _set_threads(n: int) -> None:
    import torch

    torch.set_num_threads(n)


def _resident(problem: Any) -> tuple[Any, Any]:
    import torch

    X, y = problem.floats()
    return torch.from_numpy(X), torch.from_numpy(y)  # a copy would lie on small pages


def _autograd(problem: Any) -> Any:
    import torch

    X, y = _resident(problem)
    model = torch.nn.Linear(problem.d, problem.k)
    optimizer = torch.optim.SGD(model.parameters(), lr=problem.learning_rate)
    cross_entropy = torch.nn.functional.cross_entropy

    def run() -> Any:
        for parameter in model.parameters():
            torch.nn.init.zeros_(parameter)
        for _ in range(problem.epochs):
            for rows in torch.randperm(problem.n).split(problem.batch):
                loss = cross_entropy(model(X[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return model.weight.detach().T, model.bias.detach()

    return run


def _by_hand(problem: Any) -> Any:
    """In float32: kept as bytes, and cast and scaled in each step, 0.96 times as fast."""
    import torch

    X, y = _resident(problem)
    Y = torch.nn.functional.one_hot(y, problem.k).float()
    batch = min(problem.batch, problem.n)
    x, t = torch.empty(batch, problem.d), torch.empty(batch, problem.k)

    @torch.inference_mode()
    def run() -> Any:
        # W (k, d): 1.8 to 2 times as fast as (d, k) for batches of 100 to 1024.
        W, b = torch.zeros(problem.k, problem.d), torch.zeros(problem.k)
        for _ in range(problem.epochs):
            for rows in torch.randperm(problem.n).split(batch):
                m = len(rows)
                torch.index_select(X, 0, rows, out=x[:m])
                torch.index_select(Y, 0, rows, out=t[:m])
                residual = torch.addmm(b, x[:m], W.T).softmax(1).sub_(t[:m])
                W.addmm_(residual.T, x[:m], alpha=-problem.learning_rate / m)
                b.sub_(residual.sum(0), alpha=problem.learning_rate / m)
        return W.T, b

    return run


def _softmax(problem: Any, reuse: bool) -> Any:
    import torch

    x = torch.from_numpy(problem.inputs())
    if not reuse:
        return lambda: torch.softmax(x, problem.axis)
    out = torch.empty_like(x)
    return lambda: torch.softmax(x, problem.axis, out=out)


def _matmul(problem: Any, reuse: bool) -> Any:
    import torch

    a, b = map(torch.from_numpy, problem.stored())
    if problem.transposed:  # a.T @ b takes 27 times as long
        out = torch.empty(problem.n, problem.m) if reuse else None
        return lambda: torch.matmul(b.T, a, out=out).T
    out = torch.empty(problem.m, problem.n) if reuse else None
    return lambda: torch.matmul(a, b, out=out)


def _predict(problem: Any) -> Any:
    import torch

    X = torch.from_numpy(problem.floats())
    W, b = map(torch.from_numpy, problem.model())
    if problem.n > 1:  # (k, d) is 1.8 times as fast as (d, k) for 100 rows and 10,000, 0.9 for one
        W = W.T.contiguous().T

    @torch.inference_mode()
    def run() -> Any:
        return torch.addmm(b, X, W).argmax(1)

    return run


def _convert(problem: Any) -> Any:
    import torch

    X, y = problem.images()
    return lambda: (
        torch.from_numpy(X).float().div_(255),
        torch.nn.functional.one_hot(torch.from_numpy(y), problem.k).float(),
    )


def _optimum(problem: Any, memory: int = 50) -> Any:
    import torch

    X, y = problem.arrays()
    if problem.is_sparse:
        parts = (torch.from_numpy(part) for part in (X.indptr, X.indices, X.data))
        inputs = torch.sparse_csr_tensor(*parts, size=X.shape)
    else:
        inputs = torch.from_numpy(X)
    targets = torch.from_numpy(y)
    shape = (problem.d, problem.k) if problem.is_sparse else (problem.k, problem.d)

    def run(trace: Any) -> None:
        # (k, d): a gradient of 20,000 x 784 x 10 takes 34 ms, not 81 as with (d, k).
        W = torch.zeros(*shape, requires_grad=True)
        b = torch.zeros(problem.k, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [W, b], max_iter=10**6, max_eval=10**6, history_size=memory,
            tolerance_grad=0.0, tolerance_change=0.0, line_search_fn="strong_wolfe",
        )  # fmt: skip

        def weights() -> Any:
            found = W.detach().numpy()
            return found.T if problem.is_sparse else found, b.detach().numpy()

        def closure() -> Any:
            trace(weights)
            optimizer.zero_grad()
            logits = inputs @ (W if problem.is_sparse else W.T) + b
            losses = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
            # The mean: in float32 the sum leaves the line search too little precision.
            loss = (losses + W.square().sum() / (2 * problem.C)) / problem.n
            loss.backward()
            return loss

        optimizer.step(closure)
        trace.end(weights)

    return run


LIBRARY = Library(
    title="PyTorch",
    packages=("torch",),
    modes={
        "epoch": {"autograd": _autograd, "by hand": _by_hand},
        "softmax": {
            "new array": lambda problem: _softmax(problem, reuse=False),
            "out=": lambda problem: _softmax(problem, reuse=True),
        },
        "matmul": {
            "new array": lambda problem: _matmul(problem, reuse=False),
            "out=": lambda problem: _matmul(problem, reuse=True),
        },
        "predict": {"inference_mode": _predict},
        "convert": {"tensors": _convert},
        "optimum": {"LBFGS, memory 50": _optimum},
    },
    set_threads=_set_threads,
    slow=frozenset({"autograd"}),
)
