"""Start-up, the cost of a call, memory: the report's figures, each within its range."""

import footprint
import pytest

from fastsoftmax import _core


def test_footprint(request):
    small = request.config.getoption("benchmark_disable")
    figures = footprint.measure(
        1 if small else 5, _core.available_threads(), n=2_000 if small else 60_000
    )
    for name, value in figures.items():
        if value is None:
            continue
        print(f"{name}: {value:.3g}")
        assert 0 <= value < 60_000, name
    memory = figures[footprint.memory_name("float32")]
    if memory is None:
        pytest.skip("only Linux tells the memory of a fit")
    assert memory < 5  # X of 2,000 images has 6
