"""read_idx against files written byte by byte here, whole and damaged."""

import gzip
import math
import os
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fastsoftmax.datasets import read_idx

MIB = 1 << 20

# IDX code: struct format, NumPy name, and values that a wrong width, sign or byte order would spoil.
Value = int | float
DTYPES: dict[int, tuple[str, str, list[Value]]] = {
    0x08: ("B", "uint8", [0, 1, 127, 128, 255]),
    0x09: ("b", "int8", [0, 1, -1, 127, -128]),
    0x0B: ("h", "int16", [0, 1, -2, 258, 32767, -32768]),
    0x0C: ("i", "int32", [0, 1, -2, 16909060, 2**31 - 1, -(2**31)]),
    0x0D: ("f", "float32", [0.0, 1.5, -(2.0**-149), 2.0**127, math.inf]),
    0x0E: ("d", "float64", [0.0, 1.1, -5e-324, 1.7e308, -math.inf]),
}
SHAPES = [(), (0,), (7,), (2, 3), (0, 5), (3, 0, 2), (2, 3, 4), (2, 1, 3, 5)]


def header(code: int, *shape: int) -> bytes:
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)


def write(folder: Path, content: bytes | bytearray, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@contextmanager
def peak_below(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def refused(path: Path, pattern: str) -> None:
    """Demand a ValueError of one line that begins with the path and then says why."""
    with pytest.raises(ValueError, match=pattern) as caught:
        read_idx(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "gz"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("code", DTYPES, ids=hex)
def test_reads_what_was_written(
    tmp_path: Path, code: int, shape: tuple[int, ...], compressed: bool
) -> None:
    letter, name, values = DTYPES[code]
    n = math.prod(shape)
    flat = (values * n)[:n]
    content = header(code, *shape) + struct.pack(f">{n}{letter}", *flat)
    # The name lies about the compression: only the content may decide.
    path = (
        write(tmp_path, gzip.compress(content), "file")
        if compressed
        else write(tmp_path, content, "file.gz")
    )

    array = read_idx(path)

    assert type(array) is np.ndarray
    assert array.shape == shape
    assert array.dtype == np.dtype(name)
    assert array.dtype.isnative
    assert array.flags.c_contiguous
    assert array.flags.aligned
    assert array.flags.writeable
    assert array.ravel().tolist() == flat


def test_accepts_str_and_pathlike(tmp_path: Path) -> None:
    path = write(tmp_path, header(0x08, 2) + b"ab")
    assert read_idx(str(path)).tolist() == read_idx(path).tolist() == [97, 98]


def test_reads_more_than_one_chunk(tmp_path: Path) -> None:
    values = np.arange(3 * MIB // 4 + 5, dtype=">i4")
    content = header(0x0C, len(values)) + values.tobytes()
    for data in (content, gzip.compress(content, 1)):
        np.testing.assert_array_equal(read_idx(write(tmp_path, data)), values)


def test_reads_gzip_of_several_members_and_padding(tmp_path: Path) -> None:
    data = gzip.compress(header(0x08, 4) + b"ab") + gzip.compress(b"cd") + bytes(512)
    assert read_idx(write(tmp_path, data)).tobytes() == b"abcd"


def test_memory_is_that_of_the_array(tmp_path: Path) -> None:
    size = 32 * MIB
    content = header(0x0E, size // 8) + bytes(size)
    for data in (content, gzip.compress(content, 1)):
        path = write(tmp_path, data)
        with peak_below(int(1.25 * size)):
            read_idx(path)


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "gz"])
def test_every_truncation_is_refused(tmp_path: Path, compressed: bool) -> None:
    content = header(0x0B, 2, 3) + struct.pack(">6h", *range(6))
    data = gzip.compress(content) if compressed else content
    for length in range(len(data)):
        refused(write(tmp_path, data[:length]), "empty|truncated")


def test_every_flipped_bit_in_gzip_is_refused_or_harmless(tmp_path: Path) -> None:
    body = bytes(range(40))
    data = gzip.compress(header(0x08, 5, 8) + body)
    harmless = 0
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            array = read_idx(write(tmp_path, flipped))
        except ValueError:
            continue
        assert array.tobytes() == body
        assert array.shape == (5, 8)
        harmless += 1
    # The time stamp, the operating system and the like: 8 bytes of the header at the most.
    assert harmless <= 64


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"\0\0\x08", "truncated header: 4 bytes expected, 3 found"),
        (header(0x08, 2, 3)[:-1], "truncated header: 12 bytes expected, 11 found"),
        (b"\0\0\x08\xff" + bytes(4 * 255), "255 dimensions, at most 32"),
        (b"\0\1\x08\1\0\0\0\1a", "not an IDX file: it begins with"),
        (b"\1\0\x08\1\0\0\0\1a", "not an IDX file: it begins with"),
        (b"\0\0\x0a\1\0\0\0\1a", "not an IDX file: unknown dtype code 0x0a"),
        (b"\0\0\0\0", "not an IDX file: unknown dtype code 0x00"),
        (b"<!doctype html><title>404</title>", "not an IDX file: it begins with b'<!do'"),
        (header(0x08, 2, 3) + bytes(5), "truncated: uint8 .* takes 6 bytes .* found 5"),
        (header(0x0B, 3) + bytes(5), "truncated: int16 .* takes 6 bytes .* found 5"),
        (header(0x0E) + bytes(7), "truncated: float64 .* takes 8 bytes .* found 7"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "gz"])
def test_damage_is_named(tmp_path: Path, content: bytes, reason: str, compressed: bool) -> None:
    data = gzip.compress(content) if compressed else content
    refused(write(tmp_path, data, "digits.gz"), reason)


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)], ids=str)
def test_trailing_bytes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    n = math.prod(shape)
    content = header(0x08, *shape) + bytes(n + 1)
    refused(write(tmp_path, content), rf"trailing bytes: .* takes {n} bytes .* found {n + 1}")
    refused(write(tmp_path, gzip.compress(content)), rf"trailing bytes: .* takes {n} .* found more")


@pytest.mark.parametrize("garbage", [b"x", b"<html>", b"\x1f", b"\x1f\x8b", b"\0\0x"], ids=repr)
def test_garbage_after_gzip_is_refused(tmp_path: Path, garbage: bytes) -> None:
    data = gzip.compress(header(0x08, 2) + b"ab") + garbage
    refused(write(tmp_path, data), "truncated or corrupt gzip")


def test_wrong_checksum_and_length_are_refused(tmp_path: Path) -> None:
    data = gzip.compress(header(0x08, 2) + b"ab")
    for at in (-8, -1):
        wrong = bytearray(data)
        wrong[at] ^= 1
        refused(write(tmp_path, wrong), "truncated or corrupt gzip: .*(CRC|length)")


@pytest.mark.parametrize(
    "shape",
    [
        (4_000_000_000, 28, 28),
        (2**32 - 1,) * 2,  # 2**64 - 2**33 + 1: negative in 64 bits
        (2**31, 2**31, 4),  # 2**64: zero in 64 bits
        (2**32 - 1,) * 32,
        (0, 2**32 - 1, 2**32 - 1),  # no element at all, and yet beyond NumPy
    ],
    ids=str,
)
@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "gz"])
def test_claims_cost_no_memory(tmp_path: Path, shape: tuple[int, ...], compressed: bool) -> None:
    content = header(0x0E, *shape) + bytes(64)
    path = write(tmp_path, gzip.compress(content) if compressed else content)
    with peak_below(2 * MIB):
        refused(path, "truncated: .* found 64|too big to address")


def test_long_raw_file_is_refused_unread(tmp_path: Path) -> None:
    path = write(tmp_path, header(0x08, 4_000_000_000, 28, 28))
    os.truncate(path, 64 * MIB)
    with peak_below(MIB // 2):
        refused(path, f"truncated: .* takes {4_000_000_000 * 784} bytes .* found {64 * MIB - 16}")


def test_memory_follows_the_bytes_that_arrive(tmp_path: Path) -> None:
    content = header(0x08, 4_000_000_000, 28, 28) + bytes(8 * MIB)
    path = write(tmp_path, gzip.compress(content, 1))
    with peak_below(14 * MIB):
        refused(path, f"truncated: .* found {8 * MIB}")


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """Compress 300 MiB of zeros behind a header that admits to 784 bytes, and cut off the end."""
    deflate = zlib.compressobj(9, wbits=31)
    zeros = bytes(MIB)
    parts = [deflate.compress(header(0x08, 28, 28))]
    parts += [deflate.compress(zeros) for _ in range(300)]
    return b"".join(parts)


def test_gzip_bomb_is_refused_unread(tmp_path: Path, bomb: bytes) -> None:
    assert len(bomb) < MIB
    path = write(tmp_path, bomb)
    with peak_below(2 * MIB):
        # A reader that went on to the end would report the missing end instead.
        refused(path, "trailing bytes: .* takes 784 bytes .* found more")


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "absent")
    # Windows opens no directory either, but calls that a lack of permission.
    with pytest.raises(PermissionError if sys.platform == "win32" else IsADirectoryError):
        read_idx(tmp_path)
