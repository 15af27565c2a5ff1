"""Strict .npz archives: atomic writing, and the refusal of whatever write_npz has not written."""

import io
import itertools
import os
import stat
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastsoftmax._npz import read_npz, write_npz
from fastsoftmax._replacement import check_writable

ARRAYS = {
    "matrix": np.arange(9, dtype=np.float32).reshape(3, 3),
    "names": np.array(["", "Zürich", "🙂"]),
    "text": np.array(b"some bytes"),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 4)),
}


def assert_same_arrays(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        assert_array_equal(array, expected[name], strict=True)


def pack(arrays, path, compression=zipfile.ZIP_STORED):
    """Write arrays, or the raw bytes of members, with no care."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in arrays.items():
            archive.writestr(f"{name}.npy", array if isinstance(array, bytes) else npy(array))
    return path


def npy(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


def npy_with_header(text, data=b""):
    header = text.ljust(117).encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def refuse(path, pattern):
    with pytest.raises(ValueError, match=pattern):
        read_npz(path)


def test_round_trip(tmp_path):
    write_npz(tmp_path / "a", ARRAYS)
    arrays = read_npz(tmp_path / "a")
    assert_same_arrays(arrays, ARRAYS)
    for array in arrays.values():
        assert array.flags.writeable
        assert array.flags.aligned
        assert array.flags.owndata


def test_numpy_reads_it_too(tmp_path):
    write_npz(tmp_path / "a", ARRAYS)
    with np.load(tmp_path / "a", allow_pickle=False) as archive:
        assert_same_arrays(dict(archive), ARRAYS)


def test_pack_makes_what_write_npz_makes(tmp_path):
    assert_same_arrays(read_npz(pack(ARRAYS, tmp_path / "a")), ARRAYS)


# Writing.


def test_same_arrays_same_bytes(tmp_path):
    write_npz(tmp_path / "a", ARRAYS)
    write_npz(tmp_path / "b", ARRAYS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_path_is_used_as_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("plain", Path("with.dots.bin"), str(tmp_path / "ü"), "x" * 255):
        write_npz(path, ARRAYS)
        assert_same_arrays(read_npz(path), ARRAYS)
    assert {p.name for p in tmp_path.iterdir()} == {"plain", "with.dots.bin", "ü", "x" * 255}


def test_permissions_are_those_of_any_new_file(tmp_path):
    write_npz(tmp_path / "a", ARRAYS)
    (tmp_path / "other").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_permissions_of_a_file_outlive_its_contents(tmp_path):
    path = tmp_path / "a"
    write_npz(path, ARRAYS)
    path.chmod(0o600)
    write_npz(os.fsencode(path), ARRAYS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_symbolic_link_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a")
    write_npz(tmp_path / "link", ARRAYS)
    assert (tmp_path / "link").is_symlink()
    assert stat.S_ISREG((tmp_path / "a").lstat().st_mode)


def test_readers_never_see_a_part_of_a_file(tmp_path):
    path = tmp_path / "a"
    versions = [{"x": np.full(5000, value)} for value in (0, 1)]
    write_npz(path, versions[0])
    stop = threading.Event()

    def write():
        for arrays in itertools.cycle(versions):
            write_npz(path, arrays)
            if stop.is_set():
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            assert len(np.unique(read_npz(path)["x"])) == 1
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize("function", ["os.fsync", "os.replace", "numpy.lib.format.write_array"])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left"), MemoryError(), KeyboardInterrupt()]
)
def test_failure_keeps_the_old_file_and_leaves_nothing_behind(
    tmp_path, monkeypatch, function, error
):
    (tmp_path / "a").write_bytes(b"old")

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(function, fail)
    with pytest.raises(type(error)):
        write_npz(tmp_path / "a", ARRAYS)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_objects_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="Object arrays"):
        write_npz(tmp_path / "a", {"x": np.array([None])})
    assert list(tmp_path.iterdir()) == []


def test_disk_errors_name_the_file(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"No space left on device: .*/a"):
        write_npz(tmp_path / "a", ARRAYS)


@pytest.mark.parametrize("name", ["missing/model", ".", "", "file/model", "fifo"])
def test_places_that_cannot_be_written(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    os.mkfifo("fifo")
    for function in (check_writable, lambda path: write_npz(path, ARRAYS)):
        with pytest.raises(OSError, match="cannot be written") as caught:
            function(name)
        assert caught.value.filename == name
    assert {p.name for p in tmp_path.iterdir()} == {"file", "fifo"}
    assert stat.S_ISFIFO(os.stat("fifo").st_mode)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any file")
def test_a_read_only_file_is_not_replaced(tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(b"kept")
    path.chmod(0o444)
    for function in (check_writable, lambda path: write_npz(path, ARRAYS)):
        with pytest.raises(PermissionError, match="cannot be written"):
            function(path)
    assert path.read_bytes() == b"kept"


def test_check_writable_leaves_no_trace(tmp_path):
    check_writable(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old").write_bytes(b"old")
    check_writable(tmp_path / "old")
    assert (tmp_path / "old").read_bytes() == b"old"


# Reading.


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "missing")
    refuse(tmp_path, "not a regular file")


@pytest.mark.parametrize("data", [b"", b"PK", b"<html>", bytes(1000)])
def test_no_archive(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    refuse(path, "a damaged archive, or none")


def test_compressed_members(tmp_path):
    refuse(pack(ARRAYS, tmp_path / "f", zipfile.ZIP_DEFLATED), "compressed")


def test_zip_bomb_is_not_unpacked(tmp_path):
    bomb = ARRAYS | {"matrix": npy_with_header("", bytes(1 << 24))}
    path = pack(bomb, tmp_path / "f", zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    refuse(path, "compressed")


def test_duplicate_member(tmp_path):
    path = pack(ARRAYS, tmp_path / "f")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("matrix.npy", npy(ARRAYS["matrix"]))
    refuse(path, "matrix.npy is there twice")


def test_member_that_is_no_array(tmp_path):
    path = pack(ARRAYS, tmp_path / "f")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "hello")
    refuse(path, "readme.txt")


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickle_is_refused_unread(tmp_path):
    mark = tmp_path / "unpickled"
    for name in ARRAYS:
        array = np.array([Bomb(mark)], dtype=object)
        refuse(
            pack(ARRAYS | {name: npy(array)}, tmp_path / "f"),
            f"{name}.npy: .*neither numbers nor text",
        )
    assert not mark.exists()


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 3), }", bytes(35)),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 3), }", bytes(37)),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-3, -3), }", bytes(36)),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (10**9, 10**9), }", bytes(36)),
        (f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**62}, 4), }}", b""),
        (f"{{'descr': '<f4', 'fortran_order': False, 'shape': (0, {10**30}), }}", b""),
        ("{'descr': '<U0', 'fortran_order': False, 'shape': (9, 9), }", b""),
        ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3, 3), }", bytes(36)),
        ("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (3, 3), }", bytes(72)),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (3, 3), }", bytes(72)),
        ("{'descr': '<c8', 'fortran_order': False, 'shape': (3, 3), }", bytes(72)),
        ("{'descr': '<f4', 'fortran_order': 0, 'shape': (3, 3), }", bytes(36)),
        ("{'descr': '<f4', 'shape': (3, 3), }", bytes(36)),
        ("[" * 100, b""),
        ("print('hello')", b""),
        ("", b""),
    ],
)
def test_hostile_npy_header(tmp_path, header, data):
    member = npy_with_header(header, data)
    refuse(pack(ARRAYS | {"matrix": member}, tmp_path / "f"), "matrix.npy")


def test_deeply_nested_npy_header(tmp_path):
    text = ("-" * 9000).encode()
    member = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    refuse(pack(ARRAYS | {"matrix": member}, tmp_path / "f"), "matrix.npy")


@pytest.mark.parametrize("version", [(2, 0), (3, 0)])
def test_other_npy_versions(tmp_path, version):
    member = npy(ARRAYS["matrix"], version=version)
    refuse(pack(ARRAYS | {"matrix": member}, tmp_path / "f"), "version 1.0")


def test_big_endian_and_fortran_order_become_native(tmp_path):
    def foreign(array):
        return np.asarray(array, array.dtype.newbyteorder(">"), order="F")

    path = pack({name: foreign(array) for name, array in ARRAYS.items()}, tmp_path / "f")
    arrays = read_npz(path)
    assert_same_arrays(arrays, ARRAYS)  # the types of native order
    for array in arrays.values():
        assert array.flags.c_contiguous


def test_members_that_share_their_bytes(tmp_path):
    # Many directory entries for one member: a bomb without any compression.
    data = pack({"x": np.zeros(1000)}, tmp_path / "one").read_bytes()
    start = data.index(b"PK\1\2")
    entry, end = data[start : data.index(b"PK\5\6")], data[data.index(b"PK\5\6") :]
    entries = b"".join(entry.replace(b"x.npy", b"%c.npy" % letter) for letter in b"xyz")
    end = end[:12] + len(entries).to_bytes(4, "little") + end[16:]
    (tmp_path / "many").write_bytes(data[:start] + entries + end)
    refuse(tmp_path / "many", "members are larger than the file")


def test_encrypted_member(tmp_path):
    data = bytearray(pack({"x": np.zeros(3)}, tmp_path / "f").read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "f").write_bytes(data)
    refuse(tmp_path / "f", "x.npy is encrypted")


def test_text_beyond_unicode(tmp_path):
    text = np.array([ord("a"), 0x110000], dtype=np.uint32).view("U1")
    refuse(pack({"x": text}, tmp_path / "f"), "x.npy: .*beyond Unicode")


def test_damaged_contents(tmp_path):
    data = bytearray(pack({"x": np.zeros(3)}, tmp_path / "f").read_bytes())
    data[data.index(b"PK\1\2") - 1] ^= 1  # the last byte of the array
    (tmp_path / "f").write_bytes(data)
    refuse(tmp_path / "f", "CRC")
