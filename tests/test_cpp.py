"""The C++ suite: configured, built and run by CTest, with no Python of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def build_dir() -> Path:
    """A build directory that later runs use again."""
    return ROOT / "build" / "pytest"


def run(*command: str) -> None:
    # cmake and ninja may be scripts of this environment without being on the path.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    assert shutil.which(command[0], path=path), f"{command[0]} is missing: pip install '.[test]'"
    done = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


def test_cpp_suite(build_dir: Path) -> None:
    run("cmake", "-S", str(ROOT), "-B", str(build_dir), "-G", "Ninja", "-DFASTSOFTMAX_WERROR=ON")
    run("cmake", "--build", str(build_dir))
    run("ctest", "--test-dir", str(build_dir), "--output-on-failure")
