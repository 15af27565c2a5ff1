"""Handwritten digits to learn from, and the reader of the files they come in.

Importing this package needs NumPy only.
"""

from ._digits import load_digits
from ._idx import read_idx
from ._mnist import load_mnist

__all__ = ["load_digits", "load_mnist", "read_idx"]
