"""The C++ suite: configured, built and run by CTest, with no Python of its own."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import joblib
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def build_dir() -> Path:
    """The one of pyproject.toml, where pip may have compiled the core: most of the time it takes."""
    return ROOT / "build" / str(sys.implementation.cache_tag)


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
    # Not with the cache of pip's build, whose tools are gone with its environment, but with its compiler:
    # objects that the same commands have made stay.
    options = []
    cache = build_dir / "CMakeCache.txt"
    if "CXX" not in os.environ and cache.exists():
        found = re.findall(r"^CMAKE_CXX_COMPILER:.*$", cache.read_text(), re.MULTILINE)
        options += [f"-D{entry}" for entry in found]
    options += shlex.split(os.environ.get("CMAKE_ARGS", ""))
    run("cmake", "--fresh", "-S", str(ROOT), "-B", str(build_dir), "-G", "Ninja", *options)
    run("cmake", "--build", str(build_dir))
    n_jobs = str(joblib.cpu_count())  # of those that this process may use
    run("ctest", "--test-dir", str(build_dir), "--output-on-failure", "--parallel", n_jobs)
