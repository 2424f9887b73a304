"""Settings that hold for every test."""

from __future__ import annotations

from hypothesis import settings

# The same examples at every run, and no time limit that a busy machine could break.
settings.register_profile("promethios", deadline=None, derandomize=True)
settings.load_profile("promethios")
