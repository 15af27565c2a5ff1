"""The command as a process of its own: exit codes, signals, pipes, and what it imports."""

import os
import shlex
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import fastsoftmax


def assert_one_complaint(err):
    assert err.startswith("fastsoftmax: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err


def process(*argv, **options):
    """Run Python; return exit code, standard output and standard error."""
    command = [sys.executable, *map(str, argv)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=120, **options
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model"
    assert process("-m", "fastsoftmax", "train", "--epochs", 1, "--output", path)[0] == 0
    return path


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from fastsoftmax.cli import main; main(['train', '--help'])\n"
        "print('heavy:', [m for m in ('sklearn', 'scipy', 'pandas') if m in sys.modules])"
    )
    assert process("-c", code)[1].endswith("heavy: []\n")


def test_module_and_script_are_the_same():
    code, out, err = process("-m", "fastsoftmax", "--version")
    assert (code, out, err) == (0, f"fastsoftmax {fastsoftmax.__version__}\n", "")
    scripts = Path(sys.executable).parent / "fastsoftmax"
    if scripts.exists():
        assert subprocess.check_output([scripts, "--version"], text=True) == out


def test_train_then_predict(tmp_path):
    model = tmp_path / "model"
    code, out, err = process("-m", "fastsoftmax", "train", "--epochs", 3, "--output", model)
    assert (code, err) == (0, "")
    accuracy = out.splitlines()[-1].split()[2]
    code, out, err = process("-m", "fastsoftmax", "predict", model, "digits")
    assert code == 0
    assert len(out.splitlines()) == 360
    assert err == f"accuracy {accuracy}\n"


@pytest.mark.parametrize(
    "argv",
    [
        ["train", "--epochs", "0"],
        ["train", "missing.npz"],
        ["train", "--output", "/missing/model"],
        ["predict", "missing", "digits"],
        [],
    ],
)
def test_bad_input_in_a_process(argv):
    code, out, err = process("-m", "fastsoftmax", *argv)
    assert (code, out) == (2, "")
    assert_one_complaint(err)


def test_labels_that_standard_output_does_not_take(tmp_path):
    data, model = tmp_path / "data.npz", tmp_path / "model"
    np.savez(data, X=np.eye(4), y=["a", "\u1234", "a", "\u1234"])
    assert process("-m", "fastsoftmax", "train", data, "--output", model)[0] == 0
    ascii_only = {"env": os.environ | {"PYTHONIOENCODING": "ascii"}}
    code, out, err = process("-m", "fastsoftmax", "predict", model, data, **ascii_only)
    assert (code, out) == (2, "")
    assert_one_complaint(err)
    assert r"standard output, in ascii, does not take the label '\u1234'" in err
    output = tmp_path / "labels"
    argv = ["-m", "fastsoftmax", "predict", model, data, "--output", output]
    assert process(*argv, **ascii_only)[0] == 0
    assert "\u1234" in output.read_text(encoding="utf-8")


def test_labels_that_utf8_does_not_take(tmp_path):
    data, model, output = tmp_path / "data.npz", tmp_path / "model", tmp_path / "labels"
    np.savez(data, X=np.eye(4), y=["a", "\udcff", "a", "\udcff"])
    assert process("-m", "fastsoftmax", "train", data, "--output", model)[0] == 0
    code, out, err = process("-m", "fastsoftmax", "predict", model, data, "--output", output)
    assert (code, out) == (2, "")
    assert_one_complaint(err)
    assert rf"{output}, in utf-8, does not take the label '\udcff'" in err
    assert not output.exists()


def test_a_pipe_of_something_else_is_not_read_to_its_end():
    train = f"{shlex.quote(sys.executable)} -m fastsoftmax train /dev/stdin"
    command = f"ulimit -v 4000000 2> /dev/null; yes | {train}"
    done = subprocess.run(
        ["/bin/sh", "-c", command], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "neither an .npz nor an .npy file" in done.stderr


@pytest.mark.parametrize("command", ["train", "info"])
@pytest.mark.parametrize("variable", ["FASTSOFTMAX_ISA", "FASTSOFTMAX_CPUS"])
def test_nonsense_in_the_environment(command, variable):
    environment = os.environ | {variable: "nonsense"}
    code, out, err = process("-m", "fastsoftmax", command, env=environment)
    assert (code, out) == (2, "")
    assert_one_complaint(err)
    assert f"{variable}: 'nonsense' is not" in err


def test_scalar_instruction_set_is_shown():
    environment = os.environ | {"FASTSOFTMAX_ISA": "scalar"}
    code, out, _ = process("-m", "fastsoftmax", "train", "--epochs", 1, env=environment)
    assert code == 0
    assert "; scalar, threads" in out


def start(*argv, **options):
    command = [sys.executable, "-m", "fastsoftmax", *map(str, argv)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)


def test_ctrl_c(tmp_path):
    argv = ("train", "--epochs", 10**8, "--output", tmp_path / "model")
    # Shells start what they do not wait for with SIGINT ignored, and a child inherits that.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with start(*argv, stdout=subprocess.PIPE, preexec_fn=heed) as running:
        for _ in range(3):  # lines come one by one, into a pipe too
            running.stdout.readline()
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert err == "fastsoftmax: interrupted\n"
    assert list(tmp_path.iterdir()) == []


def test_pipe_closed_in_the_middle():
    with start("train", "--epochs", 10**8, stdout=subprocess.PIPE) as running:
        running.stdout.readline()
        running.stdout.close()
        err = running.stderr.read()
        assert running.wait(timeout=60) == 141
    assert err == ""


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["info"], ["train"], ["predict"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_pipe_closed_from_the_start(argv, unbuffered, model):
    argv = [*argv, model, "digits"] if argv == ["predict"] else argv
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    reader, writer = os.pipe()
    os.close(reader)
    with start(*argv, stdout=writer, env=environment) as running:
        os.close(writer)
        err = running.stderr.read()
        assert running.wait(timeout=60) == 141
    assert err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("argv", [["--help"], ["info"], ["train"]])
def test_full_disk(argv):
    with Path("/dev/full").open("w") as full, start(*argv, stdout=full) as running:
        err = running.stderr.read()
        assert running.wait(timeout=60) == 2
    assert_one_complaint(err)
    assert "standard output: No space left" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "stderr",
    [
        pytest.param(
            "2>&-",
            marks=pytest.mark.skipif(
                np.lib.NumpyVersion(np.__version__) < "2.1.0",
                reason="NumPy 2.0, which SciPy imports all of, wants a standard error",
            ),
        ),
        "2>/dev/full",
    ],
)
def test_without_standard_error(stderr, model):
    # What would be said there is neither said elsewhere nor counts as a failure.
    def shell(*argv):
        command = shlex.join([sys.executable, "-m", "fastsoftmax", *map(str, argv)])
        return subprocess.run(
            ["sh", "-c", f"{command} {stderr}"], check=False, capture_output=True, text=True
        )

    done = shell("predict", model, "digits")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == process("-m", "fastsoftmax", "predict", model, "digits")[1]
    done = shell("predict", model, "nothing")
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("argv", [["train"], ["info"], ["predict"]])
def test_without_standard_output(argv, model):
    argv = [*argv, model, "digits"] if argv == ["predict"] else argv
    command = shlex.join([sys.executable, "-m", "fastsoftmax", *map(str, argv)])
    done = subprocess.run(
        ["sh", "-c", f"{command} >&-"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "error" not in done.stderr.lower()


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="needs /dev/stdout")
@pytest.mark.parametrize(("stream", "number"), [("output", 1), ("error", 2)])
def test_no_output_replaces_the_file_of_a_stream(stream, number, model, tmp_path):
    log = tmp_path / "log"
    log.write_text("earlier\n")
    command = [sys.executable, "-m", "fastsoftmax", "predict", str(model), "digits", "--output"]
    for output in (f"/dev/fd/{number}", log):
        line = f"{shlex.join([*command, str(output)])} {number}>>{log}"
        assert subprocess.run(["sh", "-c", line], check=False, capture_output=True).returncode == 2
        assert log.read_text().startswith("earlier\n")
        assert number == 1 or f"would replace the file of standard {stream}" in log.read_text()


def test_data_from_a_pipe(model, tmp_path):
    path = tmp_path / "X.npy"
    np.save(path, np.zeros((3, 64), np.uint8))
    command = [sys.executable, "-m", "fastsoftmax", "predict", str(model)]
    piped = subprocess.run(
        [*command, "/dev/stdin"], input=path.read_bytes(), check=True, capture_output=True
    )
    direct = subprocess.run([*command, str(path)], check=True, capture_output=True)
    assert piped.stdout == direct.stdout
