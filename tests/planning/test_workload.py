from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from promethios.configs.run_config import load_run_config
from promethios.data.example import read_examples
from promethios.data.folder import split_path
from promethios.errors import ConfigError, DatasetError
from promethios.model.encoding import PromptEncoder
from promethios.model.tokenizer import train_tokenizer
from promethios.planning.workload import count_packs, dataset_workload, estimated_workload, optimizer_steps
from promethios.training.contrasts import draw_contrasts
from promethios.training.counterfactuals import add_counterfactuals
from promethios.training.headers import draw_headers
from promethios.training.packing import PackedDataset, Target, encode_targets, pack


@pytest.mark.parametrize("sequence_length", [256, 300, 2048])
def test_packs_are_counted_as_training_fills_them(sequence_length: int) -> None:
    lengths = random.Random(sequence_length).choices(range(20, 257), k=2000)
    targets = cast(list[Target], [SimpleNamespace(num_tokens=length) for length in lengths])
    assert count_packs(lengths, sequence_length) == len(pack(targets, sequence_length))


@pytest.mark.parametrize("name", ["nano", "8b"])
def test_a_dataset_has_the_tokens_and_packs_that_training_makes_of_it(name: str, small_dataset: Path) -> None:
    config = load_run_config(name)
    training = config.training
    examples = read_examples(split_path(small_dataset, "train"))
    pairs = read_examples(split_path(small_dataset, "train_pairs"))
    texts = (message["content"] for example in examples for message in example.messages)
    encoder = PromptEncoder(train_tokenizer(texts, config.model.vocab_size))
    length = training.sequence_length
    shares = {"response_share": training.response_share, "self_question_share": training.self_question_share}
    targets = encode_targets(encoder, examples, length, **shares)
    share, seed = training.counterfactual_share, training.seed
    targets = add_counterfactuals(encoder, examples, targets, pairs, share=share, sequence_length=length, seed=seed)
    num_tokens = training.header_share * sum(len(target.encoded.ids) for target in targets if target.values)
    targets += draw_headers(encoder, examples, num_tokens=num_tokens, seed=seed)
    contrasts = read_examples(split_path(small_dataset, "train_contrasts"))
    num_tokens *= training.contrast_share / training.header_share
    targets += draw_contrasts(encoder, contrasts, num_tokens=num_tokens, sequence_length=length, seed=seed)
    truth = PackedDataset(targets, length)
    planned = dataset_workload(config.model, training, small_dataset)
    assert planned.tokens == pytest.approx(truth.num_tokens, rel=0.05)
    assert planned.packs == pytest.approx(len(truth), rel=0.1, abs=1)  # two long examples just fit, or just do not


@pytest.mark.parametrize("name", ["nano", "8b", "llama_3_1_8b"])
def test_the_documented_means_are_the_generators(name: str, small_dataset: Path) -> None:
    config = load_run_config(name)
    counted = dataset_workload(config.model, config.training, small_dataset)
    estimated = estimated_workload(config.model, config.training, counted.examples)
    assert estimated.tokens == pytest.approx(counted.tokens, rel=0.05)
    assert estimated.packs == pytest.approx(counted.packs, rel=0.05, abs=1)
    assert estimated.predicted_share == pytest.approx(counted.predicted_share, rel=0.05)


@pytest.mark.parametrize(
    ("packs", "ranks", "steps"),
    [
        (10_000, 8, 120),  # one example in each sequence: 10,000 x 3 / 256 = 117, and an epoch's last step is smaller
        (9_984, 8, 117),  # 39 whole steps an epoch
        (600, 8, 9),
        (600, 16, 6),
        (1, 8, 3),
    ],
)
def test_steps_are_counted_as_the_trainer_counts_them(packs: int, ranks: int, steps: int) -> None:
    training = load_run_config("8b", {"training.gradient_accumulation_steps": "32"}).training
    assert optimizer_steps(training, packs, ranks, training.epochs) == steps


def test_max_steps_overrules_the_epochs() -> None:
    training = load_run_config("8b", {"training.max_steps": "50"}).training
    assert optimizer_steps(training, 10_000, 8, 3.0) == 50


def test_an_example_that_no_sequence_holds_is_refused(small_dataset: Path) -> None:
    config = load_run_config("nano", {"training.sequence_length": "128"})
    with pytest.raises(ConfigError, match=r"sequence_length is 128, but the longest example has about \d+"):
        dataset_workload(config.model, config.training, small_dataset)


@pytest.mark.parametrize(
    "line", ["{", "{}", '{"messages": [], "governance": {}}', '{"messages": [1], "governance": 2}']
)
def test_a_line_that_is_no_example_is_named(line: str, tmp_path: Path) -> None:
    good: dict[str, Any] = {
        "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}],
        "governance": {"state": None, "domain": None},
    }
    (tmp_path / "train.jsonl").write_text(json.dumps(good) + "\n" + line + "\n", encoding="utf-8")
    config = load_run_config("nano")
    with pytest.raises(DatasetError, match=r"train\.jsonl:2: no example"):
        dataset_workload(config.model, config.training, tmp_path)


def test_no_examples_are_refused() -> None:
    config = load_run_config("nano")
    with pytest.raises(ConfigError, match="--num_examples 0: give at least 1"):
        estimated_workload(config.model, config.training, 0)
