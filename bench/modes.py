"""What the name of a mode says of it."""

from __future__ import annotations

REFERENCES = ("tight", "minima")  # not contenders: what these are compared with


def reads_bytes(mode: str) -> bool:
    """X is uint8; else it is float32."""
    return "uint8" in mode


def is_core(mode: str) -> bool:
    """Ours without the checks of what users call."""
    return mode.startswith("core")
