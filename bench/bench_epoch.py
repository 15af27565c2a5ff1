"""Training: an epoch of mini-batches, and the conversions that other libraries need before it."""

SECTION = "epoch"


def test_epoch(benchmark, case):
    case.run(benchmark)
