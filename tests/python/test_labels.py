"""Labels and the indices of their classes."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastsoftmax._labels import encode_known

MOST, LEAST = 2**63 - 1, -(2**63)


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [
        (range(10), np.uint8),
        (range(250, 256), np.uint8),
        (range(-128, 128), np.int8),
        (range(5, 8), np.int64),
        (range(LEAST, LEAST + 3), np.int64),
        (range(MOST - 2, MOST + 1), np.int64),
        (range(2**64 - 3, 2**64), np.uint64),
        (range(2**64 - 3, 2**64), ">u8"),
        (range(-1, 2), ">i8"),
        ([3, 5, 6], np.int32),
        ([LEAST, MOST], np.int64),
    ],
)
@pytest.mark.parametrize("of_labels", ["u1", "i1", "i4", "u4", "i8", "u8", ">i4", ">i8", ">u8"])
def test_indices_of_known_classes(classes, dtype, of_labels):
    limits = np.iinfo(of_labels)
    held = [c for c in classes if limits.min <= c <= limits.max]
    if held:
        labels = np.array(held * 2, of_labels)
        indices = encode_known(labels, np.array(classes, dtype))
        assert indices.dtype == np.int64
        assert_array_equal(indices, [list(classes).index(c) for c in held] * 2)
    # A class's neighbours, and what has its last 64 bits.
    others = [c + by for c in classes for by in (-1, 1, 2**64, -(2**64))]
    for other in sorted(set(others) - set(classes)):
        if limits.min <= other <= limits.max:
            with pytest.raises(ValueError, match=f"not among the classes: {other}$"):
                encode_known(np.array([*held, other], of_labels), np.array(classes, dtype))
