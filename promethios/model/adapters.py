"""LoRA adapters on attention and MLP (arXiv 2106.09685): added in place for a stage of training, merged in every save.

The model keeps its class and its names, so the Trainer, DeepSpeed and the checkpoints know nothing of adapters, and a
saved folder never holds any: W + B A is written where W stood. Alpha equals the rank, so the product needs no scale.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import torch
from torch import nn

TARGETS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ADAPTER_MARK: Final = ".lora_"
"""Stands in the name of every parameter of an adapter."""
_ADAPTER: Final = "default"
_BASE: Final = ".base_layer."


def add_adapters(model: nn.Module, rank: int) -> None:
    """Add an adapter of this rank to every projection of attention and MLP; B is zero, so nothing changes yet.

    Everything but the adapters stops training; the caller opens again what else is to move.
    """
    from peft import LoraConfig, inject_adapter_in_model  # the served model has no adapters and needs no peft

    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS)), model, _ADAPTER)


@contextlib.contextmanager
def without_adapters(model: nn.Module) -> Iterator[None]:
    """Switch the adapters off, if there are any: the weights as they were before."""
    adapted: list[Any] = [module for module in model.modules() if hasattr(module, "lora_A")]
    try:
        for module in adapted:
            module.enable_adapters(False)
        yield
    finally:
        for module in adapted:
            module.enable_adapters(True)


def merge_adapters(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a model's state with its adapters merged, under the names of a model without adapters."""
    merged = {name: tensor for name, tensor in state.items() if ADAPTER_MARK not in name and _BASE not in name}
    for name, weight in state.items():
        if _BASE not in name:
            continue
        module, parameter = name.split(_BASE)
        if parameter == "weight":
            a, b = (state[f"{module}{ADAPTER_MARK}{factor}.{_ADAPTER}.weight"].float() for factor in "AB")
            weight = (weight.float() + b @ a).to(weight.dtype)
        merged[f"{module}.{parameter}"] = weight
    return merged
