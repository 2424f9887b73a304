"""The forms in which somebody else's test set can come: `promethios evaluate --data ... --format ...`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from promethios.evaluation.external_sets.abstention_item import Benchmark
from promethios.evaluation.external_sets.abstentionbench import read_abstentionbench
from promethios.evaluation.external_sets.bbq import read_bbq
from promethios.evaluation.external_sets.mediq import read_mediq

OWN: Final = "promethios"
"""Our own JSONL format, documented in README.md beside this file."""
BENCHMARKS: Final[Mapping[str, Callable[[Path], Benchmark]]] = {
    "abstentionbench": read_abstentionbench,
    "bbq": read_bbq,
    "mediq": read_mediq,
}
FORMATS: Final = (OWN, *BENCHMARKS)
