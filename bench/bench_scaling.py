"""An epoch against n, d, K, the batch and the threads."""

import libraries
import pytest
import scaling

from fastsoftmax import _core


def pytest_generate_tests(metafunc):
    small = metafunc.config.getoption("benchmark_disable")
    found = [problem for sweep in scaling.problems(quick=small).values() for problem in sweep]
    metafunc.parametrize("problem", found, ids=[problem.name for problem in found])
    metafunc.parametrize("n_threads", sorted({1, _core.available_threads()}))


@pytest.mark.parametrize("mode", ["float32", "uint8"])
def test_scaling(benchmark, problem, n_threads, mode):
    library = libraries.load("fastsoftmax")
    library.set_threads(n_threads)
    problem, run = library.prepare(problem, mode)
    benchmark.group = problem.name
    problem.check(problem.sample(benchmark(run)))
