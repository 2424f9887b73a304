from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from promethios.configs.run_config import load_run_config, preset_names
from promethios.errors import ConfigError


@pytest.mark.parametrize("name", preset_names())
def test_every_shipped_configuration_loads_and_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    config = load_run_config(name)
    path = tmp_path / "copy.yaml"
    path.write_text(yaml.safe_dump(config.to_mapping()))
    assert load_run_config(str(path)) == config


def test_the_8b_preset_keeps_the_seeds_keys() -> None:
    config = load_run_config("8b")
    assert (config.model.hidden_size, config.model.num_layers, config.model.num_attention_heads) == (4096, 24, 32)
    assert config.model.governance_layers == [8, 16, 24]
    assert config.training.learning_rate == 5e-5
    assert (
        config.training.batch_size * config.training.gradient_accumulation_steps * 8 == 16
    )  # packs, some 234 examples
    assert config.governance.hitl_escalation_threshold == 0.4


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.learnin_rate", "1e-4", r"unknown key training\.learnin_rate; did you mean 'learning_rate'"),
        ("model.hidden_size", "100", r"model\.hidden_size 100 is not a multiple of num_attention_heads 3"),
        ("model.hidden_size", "wide", r"model\.hidden_size is 'wide', allowed is a whole number"),
        ("model.num_layers", "0", r"model\.num_layers is 0, it must be above 0"),
        ("model.num_key_value_heads", "2", r"2 does not divide num_attention_heads 3"),
        ("model.governance_layers", "[1, 9]", r"layer numbers run from 1 to num_layers 4"),
        ("model.num_principles", "5", r"model\.num_principles is 5, but .* framework \w+ has 6 principles"),
        ("model.value_embedding", "bin", r"model\.value_embedding is 'bin'; did you mean 'bins'"),
        ("model.head_dim", "9", r"model\.head_dim gives an odd head size"),
        ("model.governance_modules", "off and on", r"is 'off and on', allowed is true or false"),
        ("training.stages", "modules", r"training\.stages is 'modules', allowed is a list of mappings"),
        ("training.stages", "[modules]", r"training\.stages\[0\] must be a mapping, got 'modules'"),
        ("training.stages", "[{train: lora}]", r"training\.stages needs model\.from_pretrained"),
        ("training.preservation", "{}", r"training\.preservation needs model\.from_pretrained"),
        ("training.bf16", "yes please", r"training\.bf16 is 'yes please', allowed is true or false"),
        ("training.fp16", "true", r"training\.bf16 are both true; choose one"),
        ("training.sequence_length", "4096", r"longer than model\.context_length 2048"),
        ("training.zero_stage", "4", r"allowed are 0, 1, 2, 3"),
        ("training.decision_loss", "focal", "allowed are soft_label, defer"),
        ("training.counterfactual_share", "1.5", "from 0 to 1"),
        ("training.response_share", "1.5", "from 0 to 1"),
        ("training.noise_share", "2", "from 0 to 1"),
        ("training.header_share", "-0.1", "from 0 to 1"),
        ("preference.beta", "0", "above 0"),
        ("preference.replay_share", "1", "at least 0 and below 1"),
        ("preference.batch_size", "1", "at least 2"),
        ("training.max_steps", "-5", r"training\.max_steps is -5, it must be above 0"),
        (
            "training.loss_weights.decisions",
            "1",
            r"unknown key training\.loss_weights\.decisions; did you mean 'decision'",
        ),
        ("training.learning_rate", ".nan", r"training\.learning_rate is nan, allowed is a number"),
        ("governance.hitl_escalation_threshold", "0.5", r"the ontology's costs give 0\.4"),
        ("governance.domain_trust_requirements", "{helthcare: 0.75}", r"did you mean 'healthcare'"),
        ("governance.domain_trust_requirements", "{legal: 0.7}", r"the ontology requires 0\.8"),
        ("seed", "1", r"--set seed: give section\.key=value"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(key: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_run_config("nano", {key: value})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.stages", "[]", r"training\.stages is empty"),
        (
            "training.stages",
            "[{train: heads}]",
            r"training\.stages\[0\]\.train is 'heads'; allowed: modules, lora, full",
        ),
        ("training.stages", "[{train: full, epochs: 0}]", r"training\.stages\[0\]\.epochs is 0.*, it must be above 0"),
        ("training.stages", "[{epochs: 1}]", r"key training\.stages\[0\]\.train is missing"),
        ("training.preservation", "{weight: -1}", r"training\.preservation\.weight must not be negative"),
        ("training.preservation", "{wight: 1}", r"unknown key training\.preservation\.wight; did you mean 'weight'"),
    ],
)
def test_a_wrong_stage_is_named_with_what_is_allowed(key: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_run_config("qwen3_8b", {key: value})


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("model: {vocab_size: 600}\ntraining: {learning_rate: 1e-3}\n")
    with pytest.raises(ConfigError, match=r"c\.yaml: key model\.hidden_size is missing"):
        load_run_config(str(path))


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'nano'"):
        load_run_config("nanno")


def test_broken_yaml_names_the_file_and_the_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("model: {\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml:2: "):
        load_run_config(str(path))


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("training:\n  epochs: 1\n  epochs: 2\n")
    with pytest.raises(ConfigError, match=r"twice\.yaml:3"):
        load_run_config(str(path))
