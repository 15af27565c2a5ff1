"""Reader of IDX, the array format of the MNIST files; nothing here knows of MNIST itself.

A file is two zero bytes, a dtype code, the number of dimensions, each dimension as a big-endian
uint32, and then the elements, big-endian, last dimension fastest.
"""

import gzip
import math
import os
import struct
import sys
import zlib
from io import BufferedIOBase
from typing import Any

import numpy as np
from numpy.typing import NDArray

_GZIP_MAGIC = b"\x1f\x8b"
_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_NDIM = 32  # what every NumPy allows
_CHUNK = 1 << 20  # bytes


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an IDX file into an array.

    A file that is not exactly what its header says is refused, and memory is taken for the bytes
    that are there, never for the bytes the header claims.

    Parameters
    ----------
    path : str or os.PathLike
        The file, raw or gzip-compressed; its content tells which, not its name.

    Returns
    -------
    ndarray
        The array, of the shape and dtype in the header (uint8, int8, int16, int32, float32 or
        float64), in native byte order, C-contiguous, aligned and writable.

    Raises
    ------
    OSError
        If the file cannot be read; FileNotFoundError if there is none.
    ValueError
        If the file is empty, is not IDX, is shorter or longer than its header says, or is not
        intact gzip.
    """
    with open(path, "rb") as file:
        try:
            if file.peek(2)[:2] != _GZIP_MAGIC:
                return _read_array(file, os.fstat(file.fileno()).st_size)
            with gzip.GzipFile(fileobj=file) as stream:
                return _read_array(stream)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{os.fspath(path)}: truncated or corrupt gzip: {error}") from error
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None


def _read_array(stream: BufferedIOBase, file_size: int | None = None) -> NDArray[Any]:
    dtype, shape = _read_header(stream)
    size = math.prod(shape) * dtype.itemsize
    need = f"{dtype.name} of shape {shape} takes {size} bytes after the header"

    # A raw file shows its length, so it need not be read to be refused.
    found = size if file_size is None else file_size - stream.tell()
    if found != size:
        flaw = "truncated" if found < size else "trailing bytes"
        raise ValueError(f"{flaw}: {need}, found {found}")

    body = _read_up_to(stream, size)
    if len(body) < size:
        raise ValueError(f"truncated: {need}, found {len(body)}")
    # This read also takes a gzip stream to its end, where its checksum is compared.
    if stream.read(1):
        raise ValueError(f"trailing bytes: {need}, found more")

    array: NDArray[Any] = np.ndarray(shape, dtype, buffer=body)
    return _to_native(array)


def _read_header(stream: BufferedIOBase) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    if not magic:
        raise ValueError("empty file")
    if len(magic) < 4:
        raise ValueError(f"truncated header: 4 bytes expected, {len(magic)} found")
    if magic[:2] != b"\0\0":
        raise ValueError(f"not an IDX file: it begins with {magic!r}, not with two zero bytes")
    code, ndim = magic[2:]
    if code not in _DTYPES:
        raise ValueError(f"not an IDX file: unknown dtype code 0x{code:02x}")
    if ndim > _MAX_NDIM:
        raise ValueError(f"{ndim} dimensions, at most {_MAX_NDIM} are supported")

    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise ValueError(f"truncated header: {4 + 4 * ndim} bytes expected, {4 + len(sizes)} found")
    dtype, shape = np.dtype(_DTYPES[code]), struct.unpack(f">{ndim}I", sizes)

    # NumPy leaves zeros out when it checks that strides fit, so (0, 2**32 - 1, 2**32 - 1) is too big.
    if math.prod(max(n, 1) for n in shape) * dtype.itemsize > sys.maxsize:
        raise ValueError(f"too big to address: the header says {dtype.name} of shape {shape}")
    return dtype, shape


def _read_up_to(stream: BufferedIOBase, size: int) -> bytearray:
    body = bytearray()
    while chunk := stream.read(min(_CHUNK, size - len(body))):
        body += chunk
    return body


def _to_native(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.isnative:
        return array
    return array.byteswap(inplace=True).view(array.dtype.newbyteorder())
