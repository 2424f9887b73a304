"""A small synthetic world for the evaluation: telemetry shows competence, wording shows difficulty, both count."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from promethios.data.example import Example
from promethios.data.folder import CARD, CEILINGS, SPLITS, write_dataset
from promethios.ontology.decision import decide
from promethios.telemetry.state import GovernanceState, Reading

IN_DOMAIN = ("healthcare", "legal", "finance", "general")
HELD_OUT = ("insurance", "public_services")
KINDS = ("", " from somewhere abroad", " of somebody else")
RESPONSES = {
    "answer": "Here is what to do next: pay the bill and keep the letter for your own records.",
    "caveat": "You can usually pay the bill now, though the terms may differ, so please check the letter first.",
    "clarify": "Happy to help with the letter. Could you tell me which of the two dates is the right one?",
    "escalate": "A person from our team should look at this letter with you, so I am handing it over to them now.",
}


def make_example(rng: np.random.Generator, index: int, split: str) -> Example:
    """Draw one example; its true log-odds of escalation are difficulty minus competence."""
    competence, hard = rng.normal(), rng.random() < 0.5
    log_odds = 1.2 * (2.0 if hard else -2.0) - 1.5 * competence - 0.4
    p = float(1.0 / (1.0 + np.exp(-log_odds)))
    kind = index % len(KINDS)
    rest = (1.0 - p) * np.roll([0.7, 0.2, 0.1], kind)
    soft_label = (*(float(share) for share in rest), p)

    def reading(age_s: float = 0.0) -> Reading:
        return Reading(float(1.0 / (1.0 + np.exp(-competence - 0.3 * rng.normal()))), age_s)

    stale = rng.random() < 0.15
    state = GovernanceState(
        trust=reading(),
        verify=Reading(float(rng.random()), 900.0) if stale else reading(),
        attest=Reading(float(rng.uniform(0.3, 1.0))),
        bound=reading(),
        emotion=Reading("CALM"),
    )
    domains = HELD_OUT if split == "test_held_out_domains" else IN_DOMAIN
    domain = domains[index % len(domains)]
    decision = decide(soft_label, 0.4, degraded=state.is_degraded())
    wording = "the dates in the letter contradict each other" if hard else "the letter gives one clear date"
    return Example(
        id=f"{split}-{index:05d}",
        messages=(
            {"role": "user", "content": f"I have a question about a bill{KINDS[kind]}: {wording}. What should I do?"},
            {"role": "assistant", "content": RESPONSES[decision]},
        ),
        state=None if rng.random() < 0.05 else state,
        header_domain=domain if rng.random() < 0.9 else None,
        decision=decision,
        behaviour="medium_confidence",
        escalate=int(rng.random() < p),
        soft_label=soft_label,
        confidence=1.0 - p,
        uncertainty=(float(hard), 0.0, 0.0, 0.0, 0.0, 0.0),
        bias=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        tool=int(rng.random() < 0.2),
        norms=(),
        family=f"{domain}/{split}-{index % 23}",
        domain=domain,
        split=split,
    )


@pytest.fixture(scope="session")
def make_examples() -> Callable[[int, str], list[Example]]:
    """Return a maker of `num` examples of a split."""

    def make(num: int, split: str) -> list[Example]:
        rng = np.random.default_rng([num, SPLITS.index(split)])
        return [make_example(rng, index, split) for index in range(num)]

    return make


@pytest.fixture(scope="session")
def model_scores() -> Callable[..., np.ndarray]:
    """Return a scorer that knows the world up to noise, on a scale that needs calibration (times 2, plus 1)."""

    def score(examples: list[Example], noise: float = 0.3) -> np.ndarray:
        rng = np.random.default_rng(len(examples))
        scores = np.zeros((len(examples), 18), np.float32)
        for row, example in zip(scores, examples, strict=True):
            p = example.soft_label[3]
            rest = np.log(np.array(example.soft_label[:3]) / (1.0 - p))
            row[:3] = rest
            row[3] = 2.0 * (np.log(p / (1.0 - p)) + noise * rng.normal()) + 1.0
            row[4] = np.log(example.confidence / (1.0 - example.confidence))
            row[5] = 4.0 * example.uncertainty[0] - 2.0
        return scores

    return score


@pytest.fixture
def dataset(tmp_path: Path, make_examples: Callable[[int, str], list[Example]]) -> Path:
    """Write a whole dataset folder."""
    sizes = {"train": 1200, "validation": 20, "calibration": 500, "test": 600, "test_held_out_domains": 200}
    contents = {
        f"{split}.jsonl": "".join(example.to_json_line() + "\n" for example in make_examples(size, split))
        for split, size in sizes.items()
    }
    ceilings: dict[str, Any] = {"test": {"ceilings": {"telemetry_only": {"auroc": 0.75}, "both": {"auroc": 0.95}}}}
    folder = tmp_path / "data"
    write_dataset(folder, {**contents, CARD: "# card\n", CEILINGS: json.dumps(ceilings)})
    return folder


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """Write a model folder that passes the checks; its weights are never loaded."""
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"model_type": "promethios", "architectures": ["PromethiosForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder
