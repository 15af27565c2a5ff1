"""The checks of the problems: what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
from problems import Epoch
from reference import train

PROBLEM = Epoch("checked", n=5000, batch=100)


def test_an_epoch_passes_with_any_shuffle():
    for seed in range(10, 15):
        PROBLEM.check(train(PROBLEM, np.random.default_rng(seed)))


@pytest.mark.parametrize(
    "other",
    [
        replace(PROBLEM, n=4500),
        replace(PROBLEM, learning_rate=0.009),
        replace(PROBLEM, batch=80),
        replace(PROBLEM, epochs=2),
    ],
    ids=["rows left out", "rate", "batch", "epochs"],
)
def test_an_epoch_of_something_else_is_refused(other):
    with pytest.raises(AssertionError, match="of its norm from the reference's"):
        PROBLEM.check(train(other, np.random.default_rng(10)))


def test_an_epoch_without_intercepts_is_refused():
    W, b = train(PROBLEM, np.random.default_rng(10))
    with pytest.raises(AssertionError, match="b is"):
        PROBLEM.check((W, np.zeros_like(b)))
