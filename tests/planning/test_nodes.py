from __future__ import annotations

import pytest

from promethios.errors import ConfigError
from promethios.planning.nodes import parse_node


@pytest.mark.parametrize(
    ("text", "name", "count", "machines"),
    [
        ("8xa100-40gb", "8xa100-40gb", 8, 1),
        ("8xA100-40GB", "8xa100-40gb", 8, 1),
        ("h200-141gb", "1xh200-141gb", 1, 1),
        ("16xh100-80gb", "16xh100-80gb", 16, 2),
        ("cpu", "cpu", 1, 1),
        ("2xcpu", "2xcpu", 2, 1),
    ],
)
def test_a_node_is_a_number_of_accelerators(text: str, name: str, count: int, machines: int) -> None:
    node = parse_node(text)
    assert (node.name, node.count, node.machines) == (name, count, machines)


@pytest.mark.parametrize("text", ["8xa100", "x", "", "0xcpu", "8 x cpu", "-1xcpu"])
def test_an_unknown_node_is_answered_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown accelerator .* give COUNTxACCELERATOR, for example 8xa100-40gb"):
        parse_node(text)


def test_the_nearest_accelerator_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'a100-40gb'"):
        parse_node("8xa100-40g")


def test_what_tensors_can_fill_is_less_than_the_memory() -> None:
    assert parse_node("8xa100-40gb").usable_bytes == 38_380_000_000
    assert parse_node("cpu").usable_bytes is None
