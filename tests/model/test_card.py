from __future__ import annotations

from typing import Any

import pytest

from promethios.model.card import model_card

CONFIG = {"num_hidden_layers": 4, "hidden_size": 192, "vocab_size": 3072, "anchor_layers": [1, 3, 4]}
REPORT: dict[str, Any] = {"scores": {}, "gates": [], "certificate": {"confidence": 0.95, "domains": {}}}


@pytest.mark.parametrize(
    ("backbone", "origin"),
    [(None, "from scratch"), ("Qwen/Qwen3-8B", "from the pretrained backbone `Qwen/Qwen3-8B`, whose licence")],
)
def test_the_card_says_what_the_weights_come_from(backbone: str | None, origin: str) -> None:
    run = {"steps": 9, "config": {"model": {"from_pretrained": backbone}}}
    lineage = {"training_run": run, "dataset_sha256": "d" * 64, "weights_sha256": "w" * 64}
    assert origin in model_card(CONFIG, REPORT, lineage)
