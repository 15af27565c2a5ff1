"""The report itself: written from the committed results, and calls that cannot be carried out."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import problems
import pytest
import targets

HERE = Path(__file__).parent
RESULTS = sorted((HERE / "results").glob("*.json"))


def report(*arguments):
    command = [sys.executable, str(HERE / "report.py"), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("results", RESULTS, ids=lambda path: path.stem)
def test_committed_reports_are_those_of_their_results(results, tmp_path):
    shutil.copy(results, tmp_path)
    done = report("--from-json", "--output", tmp_path, "--name", results.stem)
    assert done.returncode == 0, done.stderr
    committed = {path.name: path.read_bytes() for path in results.parent.glob(f"{results.stem}*")}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == committed


def test_every_aim_has_its_problem():
    names = {problem.name for section in problems.FULL.values() for problem in section}
    assert {problem for problem, *_ in targets.CONTESTS} <= names


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--problem", "["], "no regular expression"),
        (["--problem", "nothing"], "is found in no name of these"),
        (["--only", "scaling", "--problem", "batch"], "no meaning for the section scaling"),
        (["--only", "epoch", "--ours"], "no meaning for the section epoch"),
        (["--threads", "0"], "must be at least 1"),
        (["--rounds", "-1"], "must be at least 1"),
        (["--name", "a/b"], "not a path"),
        (["--from-json", "--name", "missing"], "no such file of results"),
        (["--name", "list"], "not a file of results"),
        (["--name", "broken"], "not a file of results"),
        (["--name", "other"], "of another machine: cpu Abacus"),
        (["--name", "threads"], "results of 77 threads"),
    ],
)
def test_calls_that_end_before_they_begin(arguments, complaint, tmp_path):
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "broken.json").write_text("{")
    for name, section in (
        ("other", {"machine": {"cpu": "Abacus"}, "n_threads": 1}),
        ("threads", {"machine": {}, "n_threads": 77}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps({"epoch": section}))
    done = report("--output", tmp_path, *arguments)
    assert done.returncode == 2
    assert complaint in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
