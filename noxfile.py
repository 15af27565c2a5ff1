"""Development sessions: `nox` runs the linters and the tests on every Python found."""

import nox

nox.needs_version = ">=2024.10"
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "tests", "lowest"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
# The lower bounds of pyproject.toml, to the letter.
LOWEST = [
    "numpy==2.0.0",
    "scipy==1.13.0",
    "scikit-learn==1.6.0",
    "pooch==1.8.0",
    "pandas==2.2.2",
    "polars==1.0.0",
]


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, mypy --strict, clang-format and the rest of .pre-commit-config.yaml."""
    session.install("pre-commit>=4.0")
    session.run("pre-commit", "run", "--all-files", "--show-diff-on-failure")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests, with the newest dependencies."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """The Python tests, with the lowest dependencies."""
    session.install(".[test]", *LOWEST)
    session.run("pytest", "tests/python", *session.posargs)


@nox.session(venv_backend="none")
@nox.parametrize("preset", ["dev", "release", "asan", "ubsan", "tsan"])
def cpp(session: nox.Session, preset: str) -> None:
    """Configure, build and test the C++ core with a CMake preset."""
    session.run("cmake", "--preset", preset)
    session.run("cmake", "--build", "--preset", preset)
    session.run("ctest", "--preset", preset)


@nox.session
def build(session: nox.Session) -> None:
    """Build an sdist, and a wheel from it."""
    session.install("build>=1.2")
    session.run("python", "-m", "build")
