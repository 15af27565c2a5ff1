"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The directory of the real MNIST files; only CI must have it."""
    beside_the_repository = Path(__file__).parents[3] / "shared/data/mnist"
    folder = Path(os.environ.get("FASTSOFTMAX_DATA") or beside_the_repository)
    if len(list(folder.glob("*-idx?-ubyte*")) + list(folder.glob("*.idx?-ubyte*"))) < 4:
        message = f"no MNIST in {folder}; name its directory in FASTSOFTMAX_DATA"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder
