"""Softmax of rows, and matrix products."""

SECTION = "kernels"


def test_kernels(benchmark, case):
    case.run(benchmark)
