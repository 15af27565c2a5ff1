"""Prediction of classes, from one row to ten thousand."""

SECTION = "inference"


def test_inference(benchmark, case):
    case.run(benchmark)
