"""Numbers as people say them."""

from __future__ import annotations

from typing import Final

_COUNTS: Final = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_SIZES: Final = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def count(number: float) -> str:
    """Return 8.07 B, 1.21 M, 120."""
    return next((f"{number / scale:.2f} {unit}" for scale, unit in _COUNTS if number >= scale), f"{number:.0f}")


def size(number_of_bytes: float) -> str:
    """Return 16.14 GB (10^9 bytes), 4.97 MB, 120 B."""
    found = (f"{number_of_bytes / scale:.2f} {unit}" for scale, unit in _SIZES if number_of_bytes >= scale)
    return next(found, f"{number_of_bytes:.0f} B")


def duration(seconds: float) -> str:
    """Return 0.4 s, 34 s, 12 min, 5.6 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
