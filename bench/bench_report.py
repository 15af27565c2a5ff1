"""The report itself: written from the committed results, and calls that cannot be carried out."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import libraries
import measure
import numpy as np
import problems
import pytest
import targets
import worker
from measure import OWN

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


def test_every_aim_has_its_contest():
    kinds = {p.name: p.kind for section in problems.FULL.values() for p in section}
    everybody = [libraries.load(name) for name in libraries.NAMES]
    for problem, mode, other, _ in targets.CONTESTS:
        assert mode in libraries.load(OWN).modes[kinds[problem]]
        peers = {
            name for one in everybody for name in (one.title, *one.modes.get(kinds[problem], ()))
        }
        assert other in {
            *peers,
            "fastest peer",
            "1 thread",
            "read bandwidth",
            "copy bandwidth",
            "FMA peak",
        }


def test_a_quick_report(tmp_path):
    """Workers, contests, races, limits and all that is written."""
    some = "^(softmax 60000x10|digits, C=1|MNIST, 2,000 images, 3 C|predict 1 row)$"
    done = report("--quick", "--rounds", 1, "--output", tmp_path, "--name", "it", "--problem", some)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "it.md").read_text()
    assert "### softmax 60000x10" in text and "### MNIST, 2,000 images, 3 C" in text  # noqa: PT018
    results = json.loads((tmp_path / "it.json").read_text())
    contests = [c for section in ("kernels", "inference") for c in results[section]["contests"]]
    for found in [*contests, *results["optimum"]["races"], *results["optimum"]["paths"]]:
        ours = [row for row in found["rows"] if row["library"] == OWN]
        assert ours and not any("error" in row for row in ours)  # noqa: PT018
    for found in contests:
        assert {"read", "copy"} <= found["limits"].keys() or len(found["limits"]) == 1


def test_a_wrong_result_is_found_out():
    class Problem:
        def check(self, sample):
            assert sample == 1

    problem = Problem()
    for answer, is_wrong in [
        ({"problem": problem, "sample": 1}, False),
        ({"problem": problem, "sample": 1, "again": 1}, False),
        ({"problem": problem, "sample": 2}, True),
        ({"problem": problem, "sample": 1, "again": 2}, True),
    ]:
        assert measure._checked(lambda: answer)[1].get("is_wrong", False) == is_wrong  # noqa: B023


def test_a_buffer_that_is_used_again_is_spoilt():
    floats, integers, fixed = np.ones(3), np.ones(3, np.int64), np.ones(3)
    fixed.flags.writeable = False
    worker._spoil((floats, integers, fixed, 1.0))
    assert np.isnan(floats).all()
    assert (integers == -1).all()
    assert (fixed == 1).all()


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
