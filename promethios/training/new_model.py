"""A freshly initialised model, sharded from the start under ZeRO-3.

Built whole on every rank, the 8B preset would need 32 GB of host memory for each of 8 ranks before it is sharded.
"""

from __future__ import annotations

from typing import Any

from transformers.initialization import no_init_weights
from transformers.modeling_utils import set_zero3_state

from promethios.model.configuration import PromethiosConfig
from promethios.model.governance_sentinel_8b import PromethiosForCausalLM


def new_model(config: PromethiosConfig, deepspeed_config: dict[str, Any]) -> PromethiosForCausalLM:
    """Return the model with fresh weights; `deepspeed_config` without "auto", as the Trainer has filled it in."""
    if deepspeed_config["zero_optimization"]["stage"] < 3:
        return PromethiosForCausalLM(config)
    import deepspeed
    from deepspeed import zero

    deepspeed.init_distributed()  # takes over the Trainer's process group
    with zero.Init(config_dict_or_path=deepspeed_config), set_zero3_state(), no_init_weights():
        model = PromethiosForCausalLM(config)
    # During construction there are only shards, nothing to initialise: gather one module after the other.
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own:
            with zero.GatheredParameters(own, modifier_rank=0):
                model._init_weights(module)
    return model
