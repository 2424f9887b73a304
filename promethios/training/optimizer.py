"""Muon for the matrices of the layers and AdamW for the rest, as DeepSpeed runs the two on whole or sharded states.

Muon (Jordan et al., https://kellerjordan.github.io/posts/muon; at scale Liu et al., arXiv 2502.16982) steps along the
nearest orthogonal matrix to a matrix's momentum, so that all of its directions learn at one pace. A model from scratch
needs far fewer examples with it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, Final

import torch
from torch import nn
from transformers import TrainingArguments

from promethios.training.precision import computes_in_bf16

MOMENTUM: Final = 0.95
DEEPSPEEDS_MARK: Final = "use_muon"
"""The attribute by which ZeRO knows the parameters whose gradients it makes orthogonal."""
LAYERS: Final = ".layers."
ADAPTERS: Final = "lora_"


def muon_and_adamw(
    model: nn.Module, args: TrainingArguments, muon_learning_rate: float, decayed: Collection[str]
) -> torch.optim.Optimizer:
    """Return DeepSpeed's optimizer of both; the learning rate's schedule scales the two rates alike.

    decayed: names of the parameters that weight decay applies to. Matrices of embeddings, heads and adapters are
    AdamW's: their rows mean something each, or their product does.
    """
    from deepspeed.runtime.zero.muon.muon_optimizer import MuonWithAuxAdam

    if not args.torch_compile:
        torch.compiler.set_stance("force_eager")  # DeepSpeed compiles Muon's kernels, which needs a C++ compiler
    matrices: list[nn.Parameter] = []
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_matrix = is_muons(name, parameter)
        setattr(parameter, DEEPSPEEDS_MARK, is_matrix)
        if parameter.requires_grad:
            (matrices if is_matrix else decaying if name in decayed else others).append(parameter)
    adamw: dict[str, Any] = {
        DEEPSPEEDS_MARK: False,
        "lr": args.learning_rate,
        "betas": (args.adam_beta1, args.adam_beta2),
        "eps": args.adam_epsilon,
    }
    # The first group's rate is the one that is logged.
    groups = [
        {"params": decaying, "weight_decay": args.weight_decay, **adamw},
        {"params": others, "weight_decay": 0.0, **adamw},
        {
            "params": matrices,
            DEEPSPEEDS_MARK: True,
            "lr": muon_learning_rate,
            "momentum": MOMENTUM,
            "weight_decay": args.weight_decay,
            # "standard" runs in bf16; "gram", which is quicker, in fp16, or in fp32 where a CPU has neither.
            "ns_method": "standard" if args.use_cpu and computes_in_bf16() else "gram",
        },
    ]
    optimizer: torch.optim.Optimizer = MuonWithAuxAdam(
        [group for group in groups if group["params"]],
        adam_optimizer=torch.optim.AdamW,
        adam_optimizer_kwargs={"fused": True},
    )
    return optimizer


def is_muons(name: str, parameter: nn.Parameter) -> bool:
    """Return whether a parameter is a matrix of a layer; under ZeRO-3 its own shape is elsewhere."""
    shape = getattr(parameter, "ds_shape", parameter.shape)
    return len(shape) == 2 and math.prod(shape) > max(shape) and LAYERS in name and ADAPTERS not in name
