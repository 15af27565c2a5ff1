"""What a bug report should tell about this machine and what is installed on it."""

import contextlib
import platform
from importlib.metadata import version

import numpy as np


def collect_versions() -> dict[str, str]:
    """Collect what `show_versions` prints.

    Returns
    -------
    dict of str to str
        Versions of fastsoftmax and of what it builds on, the platform, the CPU, the instruction
        set in use, all that this machine and this build support, and the number of CPUs that this
        process may use.

    Raises
    ------
    ValueError
        If the environment variable ``FASTSOFTMAX_ISA`` names no instruction set of this machine, or
        ``FASTSOFTMAX_CPUS`` no number of CPUs.
    """
    from . import _core

    return {
        "fastsoftmax": version("fastsoftmax"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": version("scikit-learn"),  # without its slow import
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "instruction set": _core.active_isa(),
        "supported": ", ".join(_core.supported_isas()),
        "threads": str(_core.available_threads()),
    }


def show_versions() -> None:
    """Print versions, instruction sets and threads: the facts that a bug report needs.

    Raises
    ------
    ValueError
        If the environment variable ``FASTSOFTMAX_ISA`` names no instruction set of this machine, or
        ``FASTSOFTMAX_CPUS`` no number of CPUs.
    """
    facts = collect_versions()
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}", flush=True)


def _cpu_name() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
