"""load_mnist on the real files, on small fake ones and over a local server; load_digits."""

import gzip
import hashlib
import http.server
import logging
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fastsoftmax.datasets import _mnist, load_digits, load_mnist

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(*shape: int, fill: bytes) -> bytes:
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 0x08, len(shape), *shape) + fill


def pixels(n: int) -> bytes:
    return bytes(i % 256 for i in range(n * 784))


FAKE = {
    "train-images-idx3-ubyte": idx(3, 28, 28, fill=pixels(3)),
    "train-labels-idx1-ubyte": idx(3, fill=bytes([9, 0, 4])),
    "t10k-images-idx3-ubyte": idx(2, 28, 28, fill=pixels(2)),
    "t10k-labels-idx1-ubyte": idx(2, fill=bytes([7, 9])),
}
FAKE_GZ = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in FAKE.items()}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test away from the user's cache, from proxies and from the network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("FASTSOFTMAX_DATA", raising=False)
    monkeypatch.setattr(_mnist, "MIRRORS", ())
    return tmp_path / "cache" / "fastsoftmax"


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def tree(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def assert_is_fake(data: tuple[_mnist.Data, _mnist.Data]) -> None:
    (X_train, y_train), (X_test, y_test) = data
    assert X_train.tobytes() == pixels(3)
    assert y_train.tolist() == [9, 0, 4]
    assert X_test.tobytes() == pixels(2)
    assert y_test.tolist() == [7, 9]


# The real files.


def test_mnist_is_the_mnist_everyone_has(mnist_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSOFTMAX_DATA", str(mnist_dir))
    (X_train, y_train), (X_test, y_test) = load_mnist(download=False)

    for X, y, n in [(X_train, y_train, 60000), (X_test, y_test, 10000)]:
        assert X.shape == (n, 784)
        assert X.dtype == np.uint8
        assert X.flags.c_contiguous
        assert X.flags.writeable
        assert y.shape == (n,)
        assert y.dtype == np.int64
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(y_train).tolist() == counts
    assert X_train.mean() == pytest.approx(33.318421449829934, rel=1e-14)
    assert [hashlib.sha256(array.tobytes()).hexdigest()[:16] for array in (X_train, X_test)] == [
        "741c988805d008ac",
        "6d87418db22cc802",
    ]
    assert y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert y_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


# The forms of the result.


def test_normalize_and_one_hot(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", FAKE)
    (X, y), (X_test, y_test) = load_mnist(folder, normalize=True, one_hot=True)

    assert X.dtype == X_test.dtype == y.dtype == y_test.dtype == np.float32
    assert X.flags.c_contiguous
    assert (X.min(), X.max()) == (0, 1)
    grey = np.frombuffer(pixels(3), np.uint8).reshape(3, 784)
    np.testing.assert_array_equal(X, grey.astype(np.float32) / np.float32(255))
    assert y.shape == (3, 10)
    assert y.argmax(axis=1).tolist() == [9, 0, 4]
    assert y.sum(axis=1).tolist() == [1, 1, 1]


def test_empty_set(tmp_path: Path) -> None:
    files = FAKE | {NAMES[2]: idx(0, 28, 28, fill=b""), NAMES[3]: idx(0, fill=b"")}
    _, (X, y) = load_mnist(write(tmp_path / "data", files), normalize=True, one_hot=True)
    assert X.shape == (0, 784)
    assert y.shape == (0, 10)


# Where the files are sought.


@pytest.mark.parametrize(
    "spell",
    [
        lambda name: name,
        lambda name: f"{name}.gz",
        lambda name: name.replace("-idx", ".idx"),
        lambda name: name.replace("-idx", ".idx") + ".gz",
    ],
    ids=["raw", "gz", "dotted", "dotted-gz"],
)
def test_spellings(tmp_path: Path, spell: Callable[[str], str]) -> None:
    files = {
        spell(name): gzip.compress(content) if spell(name).endswith(".gz") else content
        for name, content in FAKE.items()
    }
    assert_is_fake(load_mnist(write(tmp_path / "data", files), download=False))


def test_data_home_is_the_only_place(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(cache, FAKE)
    monkeypatch.setenv("FASTSOFTMAX_DATA", str(write(tmp_path / "named", FAKE)))
    with pytest.raises(FileNotFoundError, match="elsewhere lacks") as caught:
        load_mnist(tmp_path / "elsewhere", download=False)
    assert "cache" not in str(caught.value)


def test_environment_comes_before_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(cache, dict.fromkeys(NAMES, b"not to be read"))
    monkeypatch.setenv("FASTSOFTMAX_DATA", str(write(tmp_path / "named", FAKE)))
    assert_is_fake(load_mnist(download=False))


def test_incomplete_environment_gives_way_to_cache(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(cache, FAKE_GZ)
    monkeypatch.setenv(
        "FASTSOFTMAX_DATA", str(write(tmp_path / "named", {NAMES[0]: b"not to be read"}))
    )
    assert_is_fake(load_mnist(download=False))


def test_home_directory_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(tmp_path / "digits", FAKE)
    assert_is_fake(load_mnist("~/digits", download=False))


def test_missing_files_are_listed(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = write(tmp_path / "named", {name: FAKE[name] for name in NAMES[:3]})
    monkeypatch.setenv("FASTSOFTMAX_DATA", str(named))
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist(download=False)
    message = str(caught.value)
    assert f"{named} lacks {NAMES[3]};" in message
    assert f"{cache} lacks {', '.join(NAMES)}." in message
    assert "data_home" in message
    assert "FASTSOFTMAX_DATA" in message
    assert not cache.exists()


# What the files hold.


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (NAMES[0], idx(3, 28, 27, fill=bytes(3 * 28 * 27)), r"\(n, 28, 28\).*\(3, 28, 27\)"),
        (NAMES[0], idx(3, 784, fill=bytes(3 * 784)), r"\(n, 28, 28\).*\(3, 784\)"),
        (NAMES[0], b"\0\0\x09" + idx(3, 28, 28, fill=pixels(3))[3:], "uint8 images.*found int8"),
        (NAMES[1], b"\0\0\x09" + idx(3, fill=bytes(3))[3:], "uint8 labels.*found int8"),
        (NAMES[1], idx(3, 1, fill=bytes(3)), r"\(n,\).*\(3, 1\)"),
        (NAMES[1], idx(3, fill=bytes([0, 10, 1])), "must be 0 to 9, found 10"),
        (NAMES[3], idx(2, fill=bytes([255, 1])), "must be 0 to 9, found 255"),
        (NAMES[2], FAKE[NAMES[2]][:-1], "truncated"),
        (NAMES[2], FAKE[NAMES[3]], "found uint8 of shape"),
    ],
)
def test_wrong_content_is_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    folder = write(tmp_path / "data", FAKE | {name: content})
    with pytest.raises(ValueError, match=reason) as caught:
        load_mnist(folder)
    assert str(folder / name) in str(caught.value)


@pytest.mark.parametrize("n", [2, 4])
def test_unequal_counts_are_refused(tmp_path: Path, n: int) -> None:
    folder = write(tmp_path / "data", FAKE | {NAMES[1]: idx(n, fill=bytes(n))})
    with pytest.raises(ValueError, match=f"holds 3 images but .* holds {n} labels") as caught:
        load_mnist(folder)
    assert str(folder / NAMES[0]) in str(caught.value)
    assert str(folder / NAMES[1]) in str(caught.value)


# The download.


class Server:
    """An HTTP server on this machine; a path it does not hold is a 404."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        files, asked = self.files, self.asked

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                if self.path not in files:
                    self.send_error(404)
                    return
                self.send_response(200)
                # Without a length, the client sees nothing wrong in a body that ends early.
                if not self.path.startswith("/no-length/"):
                    self.send_header("Content-Length", str(len(files[self.path])))
                self.end_headers()
                # A client that has read too much hangs up.
                try:
                    self.wfile.write(files[self.path])
                except OSError:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def put(self, folder: str, files: dict[str, bytes]) -> None:
        self.files.update({f"/{folder}/{name}": content for name, content in files.items()})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that two mirrors point to, with the fake files in the registry."""
    pytest.importorskip("pooch")
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    use_mirrors(monkeypatch, f"{server.url}/first/", f"{server.url}/second/")
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def use_mirrors(monkeypatch: pytest.MonkeyPatch, *mirrors: str) -> None:
    pins = {
        name: _mnist._Pin(len(content), hashlib.sha256(content).hexdigest())
        for name, content in FAKE_GZ.items()
    }
    monkeypatch.setattr(_mnist, "REGISTRY", pins)
    monkeypatch.setattr(_mnist, "MIRRORS", mirrors)
    monkeypatch.setattr(_mnist, "TIMEOUT", 5.0)


def test_download_once(server: Server, cache: Path) -> None:
    server.put("first", FAKE_GZ)
    assert_is_fake(load_mnist())
    assert server.asked == [f"/first/{name}.gz" for name in NAMES]
    assert tree(cache) == sorted(FAKE_GZ)
    assert_is_fake(load_mnist())
    assert_is_fake(load_mnist(download=False))
    assert len(server.asked) == 4


def test_pooch_is_silent_and_then_as_before(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pooch

    # pooch's logger has no parent, so caplog must be handed to it.
    monkeypatch.setattr(pooch.get_logger(), "handlers", [caplog.handler])
    monkeypatch.setattr(pooch.get_logger(), "level", logging.DEBUG)
    server.put("first", FAKE_GZ)
    load_mnist()
    assert caplog.records == []
    assert pooch.get_logger().level == logging.DEBUG


def test_download_of_the_missing_only(server: Server, tmp_path: Path, cache: Path) -> None:
    server.put("first", FAKE_GZ)
    folder = write(tmp_path / "data", {name: FAKE[name] for name in NAMES[:3]})
    assert_is_fake(load_mnist(folder))
    assert server.asked == [f"/first/{NAMES[3]}.gz"]
    assert tree(folder) == sorted([*NAMES[:3], f"{NAMES[3]}.gz"])
    assert not cache.exists()


def test_nothing_is_written_to_the_named_directory(
    server: Server, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put("first", FAKE_GZ)
    named = write(tmp_path / "named", {NAMES[0]: FAKE[NAMES[0]]})
    monkeypatch.setenv("FASTSOFTMAX_DATA", str(named))
    assert_is_fake(load_mnist())
    assert tree(named) == [NAMES[0]]
    assert tree(cache) == sorted(FAKE_GZ)


def same_length_but_wrong(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("folder", ["with-length", "no-length"])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (same_length_but_wrong, "SHA256 hash .* does not match"),
        (lambda content: content[:-1], "expected [0-9]+ bytes, got [0-9]+"),
        (lambda content: b"", "expected [0-9]+ bytes, got 0"),
        (lambda content: content + b"x", "expected [0-9]+ bytes, got more"),
        (lambda content: content + bytes(1 << 24), "expected [0-9]+ bytes, got more"),
        (lambda content: b"<!doctype html><title>Sign in</title>", "expected [0-9]+ bytes, got"),
        (None, "404"),
    ],
    ids=["wrong", "short", "empty", "long", "endless", "html", "absent"],
)
def test_spoilt_file_is_not_kept(
    server: Server,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[bytes], bytes] | None,
    reason: str,
    folder: str,
) -> None:
    bad = f"{NAMES[1]}.gz"
    use_mirrors(monkeypatch, f"{server.url}/{folder}/", f"{server.url}/second/")
    files = {name: content for name, content in FAKE_GZ.items() if name != bad}
    server.put(folder, files | ({bad: spoil(FAKE_GZ[bad])} if spoil else {}))

    with pytest.raises(ConnectionError, match=reason) as caught:
        load_mnist()
    assert str(caught.value).startswith(f"{bad} could not be downloaded:")
    assert tree(cache) == [f"{NAMES[0]}.gz"]

    # The second mirror is asked for what the first spoilt, and only for that.
    server.put("second", FAKE_GZ)
    assert_is_fake(load_mnist())
    assert server.asked[-3:] == [f"/second/{bad}", *(f"/{folder}/{n}.gz" for n in NAMES[2:])]
    assert tree(cache) == sorted(FAKE_GZ)


def test_body_shorter_than_announced(server: Server, cache: Path) -> None:
    class Lying(bytes):
        def __len__(self) -> int:
            return super().__len__() + 10

    server.put("first", FAKE_GZ | {f"{NAMES[0]}.gz": Lying(FAKE_GZ[f"{NAMES[0]}.gz"][:-10])})
    with pytest.raises(ConnectionError, match=r"10 more expected|IncompleteRead"):
        load_mnist()
    assert tree(cache) == []


def test_silent_server_is_given_up(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put("first", FAKE_GZ)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_mirrors(
            monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}/", f"{server.url}/first/"
        )
        monkeypatch.setattr(_mnist, "TIMEOUT", 0.1)
        assert_is_fake(load_mnist())


def test_dead_mirrors_are_explained(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pooch")
    # Port 1 of this machine has no listener.
    mirrors = "http://127.0.0.1:1/a/", "http://127.0.0.1:1/b/"
    use_mirrors(monkeypatch, *mirrors)
    folder = tmp_path / "data"
    with pytest.raises(ConnectionError) as caught:
        load_mnist(folder)
    message = str(caught.value)
    assert message.startswith(f"{NAMES[0]}.gz could not be downloaded:")
    for expected in (*mirrors, *NAMES, str(folder), "data_home", "FASTSOFTMAX_DATA"):
        assert expected in message
    assert message.count("refused") == len(mirrors)
    assert max(map(len, message.splitlines()[:-1])) < 200
    assert tree(folder) == []
    assert not cache.exists()


def test_error_of_the_disk_is_not_blamed_on_the_mirror(server: Server, tmp_path: Path) -> None:
    server.put("first", FAKE_GZ)
    write(tmp_path, {"file": b""})
    with pytest.raises(OSError, match="file") as caught:
        load_mnist(tmp_path / "file" / "data")
    assert not isinstance(caught.value, ConnectionError)
    assert server.asked == []


def test_download_needs_pooch(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pip install 'fastsoftmax\[data\]'") as caught:
        load_mnist()
    assert "needs pooch" in str(caught.value)
    assert caught.value.name == "pooch"
    write(cache, FAKE_GZ)
    assert_is_fake(load_mnist())


def test_import_is_light() -> None:
    code = (
        "import sys, fastsoftmax.datasets._mnist, fastsoftmax.datasets._digits\n"
        "print(sorted({'sklearn', 'pooch', 'requests', 'scipy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


# scikit-learn's digits.


def test_digits() -> None:
    (X_train, y_train), (X_test, y_test) = load_digits()
    assert X_train.shape == (1437, 64)
    assert X_test.shape == (360, 64)
    assert X_train.dtype == X_test.dtype == np.uint8
    assert y_train.dtype == y_test.dtype == np.int64
    assert X_train.flags.c_contiguous
    assert X_test.flags.c_contiguous
    assert X_train.max() == X_test.max() == 16
    counts = [136, 154, 151, 135, 143, 143, 151, 153, 138, 133]
    assert np.bincount(y_train).tolist() == counts
    # The split is the same for every release of scikit-learn, to the byte.
    arrays = X_train, y_train.astype(np.uint8), X_test, y_test.astype(np.uint8)
    assert [hashlib.sha256(array.tobytes()).hexdigest()[:16] for array in arrays] == [
        "194fbb7c383202d2",
        "95f02b01ab83ad74",
        "9f958e31e037f4fd",
        "2c204469afa19173",
    ]


def test_digits_normalize_and_one_hot() -> None:
    (X, y), (X_test, y_test) = load_digits()
    (Z, hot), (Z_test, hot_test) = load_digits(normalize=True, one_hot=True)
    for grey, scaled in [(X, Z), (X_test, Z_test)]:
        assert scaled.dtype == np.float32
        np.testing.assert_array_equal(scaled * 16, grey)
    for labels, rows in [(y, hot), (y_test, hot_test)]:
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, labels[:, None] == np.arange(10))
