"""Strict .npz archives: stored (uncompressed) arrays of numbers and text, written atomically.

What an archive means is its caller's business. Unlike numpy.load, reading trusts no declared size,
never unpickles, never decompresses, and always reaches the checksum of every member.
"""

import errno
import io
import math
import os
import stat
import sys
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._replacement import Path, replacement

_ENCRYPTED = 0x1  # bit of ZipInfo.flag_bits


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to `path`, all of them or, after any failure, nothing.

    Parameters
    ----------
    path : str or os.PathLike
        Used as it is, with no suffix added. A symbolic link is followed.
    arrays : mapping of str to ndarray
        Names and contents; no object arrays.
    """
    with replacement(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read every array of an archive, each in native byte order and C order.

    Parameters
    ----------
    path : str or os.PathLike
        The archive.

    Returns
    -------
    dict of str to ndarray
        Names, without ``.npy``, and contents.

    Raises
    ------
    OSError
        If the file cannot be opened or read.
    ValueError
        If it is no archive that `write_npz` could have written. The message says what is wrong, but
        not with which file.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("not a regular file")
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                _check_members(archive.infolist(), os.fstat(file.fileno()).st_size)
                return {
                    info.filename.removesuffix(".npy"): _read_member(archive, info)
                    for info in archive.infolist()
                }
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise ValueError(f"a damaged archive, or none ({error})") from error
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # A seek to before the start of the file: a damaged offset, no fault of the disk.
            raise ValueError("a damaged archive") from error


def _check_members(members: list[zipfile.ZipInfo], file_size: int) -> None:
    names: set[str] = set()
    for info in members:
        if info.filename in names:
            raise ValueError(f"{info.filename} is there twice")
        names.add(info.filename)
        if not info.filename.endswith(".npy"):
            raise ValueError(f"unknown member {info.filename!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ValueError(f"{info.filename} is compressed")
        if info.flag_bits & _ENCRYPTED:
            raise ValueError(f"{info.filename} is encrypted")
    # Members that share their bytes make a bomb even without compression.
    if sum(info.file_size for info in members) > file_size:
        raise ValueError("truncated: its members are larger than the file")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    try:
        return _parse_npy(archive.read(info))
    except ValueError as error:
        raise ValueError(f"{info.filename}: {error}") from error


def _parse_npy(data: bytes) -> NDArray[Any]:
    stream = io.BytesIO(data)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("not version 1.0 of the .npy format")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    # NumPy's parser lets SyntaxError, TypeError, RecursionError and more out on hostile headers.
    except Exception as error:
        raise ValueError(f"its .npy header is damaged ({error})") from error
    if dtype.kind not in "biufUS":
        raise ValueError(f"holds {dtype}, which is neither numbers nor text")
    offset = stream.tell()
    size = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or dtype.itemsize == 0 or size != len(data) - offset:
        raise ValueError(
            f"its header declares {dtype} of shape {shape}, but {len(data)} bytes lie there"
        )
    try:
        view: NDArray[Any] = np.ndarray(
            shape, dtype, data, offset, order="F" if fortran_order else "C"
        )
    except OverflowError as error:  # a shape such as (0, 10**30)
        raise ValueError(f"impossible shape {shape}") from error
    array = np.array(view, dtype.newbyteorder("="), order="C")
    if dtype.kind == "U" and np.any(array.reshape(-1).view(np.uint32) > sys.maxunicode):
        raise ValueError("holds text beyond Unicode")  # NumPy would raise SystemError later
    return array
