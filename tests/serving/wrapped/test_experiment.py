from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from promethios.errors import ConfigError
from promethios_serving.wrapped.experiment import Arm, Experiment, assign, read_experiment, unit_of
from promethios_serving.wrapped.upstream import UpstreamAddress

TWO_ARMS = """
name: native_against_gpt
arms:
  native: {weight: 3, upstream: "http://engine:8000/v1/", native: true}
  gpt: {weight: 1, upstream: "https://api.example.com/v1", model: gpt-x, key_env: GPT_KEY,
        input_usd_per_million: 2.0, output_usd_per_million: 8}
  candidate: {shadow: true, upstream: "http://candidate:8000/v1"}
"""


def arm(name: str, weight: float) -> Arm:
    return Arm(name=name, address=UpstreamAddress("http://x/v1"), weight=weight)


def experiment(**weights: float) -> Experiment:
    return Experiment(name="an_experiment", arms=tuple(arm(name, weight) for name, weight in weights.items()))


def units(count: int) -> list[str]:
    return [unit_of("acme", f"session-{i}") for i in range(count)]


def test_a_unit_always_gets_the_same_arm() -> None:
    shared = experiment(a=1, b=1)
    assert [assign(shared, unit) for unit in units(200)] == [assign(shared, unit) for unit in units(200)]


def test_the_assignment_is_the_same_on_every_machine_and_in_every_release() -> None:
    names = "".join(assign(experiment(a=1, b=1), unit).name for unit in units(16))
    assert names == "bbabbbbbbbbabbbb"


def test_units_are_shared_out_by_weight() -> None:
    counts = Counter(assign(experiment(a=3, b=1), unit).name for unit in units(10_000))
    assert 7300 < counts["a"] < 7700  # three standard deviations are 130


def test_a_shadow_is_never_assigned() -> None:
    names = {assign(experiment(first_shadow=0, a=1, last_shadow=0), unit).name for unit in units(500)}
    assert names == {"a"}


def test_another_experiment_shares_the_same_units_out_anew() -> None:
    one, other = experiment(a=1, b=1), Experiment(name="another", arms=experiment(a=1, b=1).arms)
    same = sum(assign(one, unit).name == assign(other, unit).name for unit in units(10_000))
    assert 4800 < same < 5200


def test_growing_an_arms_weight_moves_nobody_out_of_it() -> None:
    small, large = experiment(new=1, old=9), experiment(new=5, old=5)
    assert all(assign(large, unit).name == "new" for unit in units(2000) if assign(small, unit).name == "new")


def test_a_unit_hides_tenant_and_session_and_keeps_them_apart() -> None:
    assert "acme" not in unit_of("acme", "x")
    assert len({unit_of("a", "bc"), unit_of("ab", "c"), unit_of(None, "abc"), unit_of("None", "abc")}) == 4


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(TWO_ARMS, encoding="utf-8")
    native, gpt, candidate = read_experiment(path, {"GPT_KEY": "sk-1"}).arms
    assert (native.native, native.address.url, native.prices) == (True, "http://engine:8000/v1", None)
    assert (gpt.address.model, gpt.address.key, gpt.prices) == ("gpt-x", "sk-1", (2.0, 8.0))
    assert candidate.shadow and not gpt.shadow
    assert "sk-1" not in str(gpt.public())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("weight: 3", "weigth: 3", "arms.native.weigth; did you mean 'weight'"),
        ("weight: 3", "weight: 0", "arms.native.weight: 0.0 is not allowed"),
        ("weight: 3", "weight: -1", "arms.native.weight: -1 is not allowed"),
        ("shadow: true", "shadow: true, weight: 1", "one of weight and shadow"),
        ("http://engine:8000/v1/", "engine:8000", "an http:// or https:// URL"),
        ("GPT_KEY", "OTHER_KEY", "arms.gpt.key_env: 'OTHER_KEY' is not allowed"),
        (", output_usd_per_million: 8", "", "arms.gpt.output_usd_per_million is missing"),
        ("name: native_against_gpt", "", "name is missing"),
        ("name: native_against_gpt", "name: Native against GPT", "up to 64 letters"),
        ("weight: 3", "shadow: true", None),
        (TWO_ARMS, "name: x\narms: {a: {shadow: true, upstream: 'http://x/v1'}}", "at least one arm that is no shadow"),
        (TWO_ARMS, "name: x\narms: {}", "at least one arm"),
        (TWO_ARMS, "name: [", "experiment.yaml:1"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, old: str, new: str, said: str | None) -> None:
    path = tmp_path / "experiment.yaml"
    assert old in TWO_ARMS
    text = TWO_ARMS.replace(",\n        input", ", input") if old.startswith(", output") else TWO_ARMS
    path.write_text(text.replace(old, new), encoding="utf-8")
    if said is None:
        assert read_experiment(path, {"GPT_KEY": "sk-1"}).arms[0].shadow
        return
    with pytest.raises(ConfigError) as caught:
        read_experiment(path, {"GPT_KEY": "sk-1"})
    assert said in str(caught.value) and str(path) in str(caught.value)
