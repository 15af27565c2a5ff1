"""onnxruntime: prediction by a graph of two nodes, from a NumPy array to an array of classes."""

from __future__ import annotations

from typing import Any

from . import Library

_n_threads = 1


def _set_threads(n: int) -> None:
    global _n_threads
    _n_threads = n


def _predict(problem: Any) -> Any:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    W, b = problem.model()
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["X", "W", "b"], ["logits"]),
            helper.make_node("ArgMax", ["logits"], ["classes"], axis=1, keepdims=0),
        ],
        "softmax_regression",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, problem.d])],
        [helper.make_tensor_value_info("classes", TensorProto.INT64, [None])],
        [numpy_helper.from_array(W, "W"), numpy_helper.from_array(b, "b")],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _n_threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    X = problem.floats()
    return lambda: session.run(None, {"X": X})[0]


LIBRARY = Library(
    title="onnxruntime",
    packages=("onnxruntime", "onnx"),
    modes={"predict": {"Gemm, ArgMax": _predict}},
    set_threads=_set_threads,
)
