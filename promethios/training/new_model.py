"""The model that a training starts from: fresh, or from a model folder; sharded from the start under ZeRO-3.

Built whole on every rank, the 8B preset would need 32 GB of host memory for each of 8 ranks before it is sharded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedTokenizerFast
from transformers.initialization import no_init_weights
from transformers.integrations import deepspeed as zero3_state
from transformers.modeling_utils import set_zero3_state
from transformers.utils import logging

from promethios.configs.run_config import ModelSection
from promethios.model.adapters import ADAPTER_MARK, add_adapters
from promethios.model.build import sentinel_config
from promethios.model.configuration import PromethiosConfig
from promethios.model.governance_sentinel_8b import NEW_PARAMETERS, VALUE_FUNCTION, PromethiosForCausalLM
from promethios.model.pretrained import convert_backbone
from promethios.model.principles import anchors, mean_embeddings, principle_token_ids, write_principles
from promethios.training.stages import StageRun


def stage_model(
    section: ModelSection,
    stage: StageRun,
    tokenizer: PreTrainedTokenizerFast,
    deepspeed_config: dict[str, Any],
) -> PromethiosForCausalLM:
    """Return the model that a stage trains, with what it does not train standing still."""
    if stage.start is None:
        return new_model(sentinel_config(section, tokenizer), deepspeed_config, principle_token_ids(tokenizer))
    # Shards are made in the format of training, the rest in fp32, from which DeepSpeed takes its master weights.
    sharded = deepspeed_config["zero_optimization"]["stage"] == 3
    half = torch.bfloat16 if stage.training.bf16 else torch.float16 if stage.training.fp16 else torch.float32
    model = model_from(stage.start, section, half if sharded else torch.float32)
    set_trainable(model, stage.train, stage.lora_rank)
    return model


def prepare_backbone(section: ModelSection, stage: StageRun, *, anew: bool) -> None:
    """Convert the pretrained backbone, once, on rank 0; the others wait.

    anew: a training begins, so that what an earlier one left is not taken for its start.
    """
    assert stage.backbone is not None
    wanted = (anew and stage.start == stage.backbone) or not stage.backbone.is_dir()
    with PartialState().main_process_first():
        if wanted and PartialState().is_main_process:
            with unsharded(), torch.random.fork_rng():
                torch.manual_seed(stage.training.seed)
                convert_backbone(section, stage.backbone)


def new_model(
    config: PromethiosConfig, deepspeed_config: dict[str, Any], sentences: Mapping[str, Sequence[int]]
) -> PromethiosForCausalLM:
    """Return the model with fresh weights, its constitutional slots started from the principles' sentences.

    deepspeed_config: without "auto", as the Trainer has filled it in. sentences: `principle_token_ids`.
    """
    if deepspeed_config["zero_optimization"]["stage"] < 3:
        model = PromethiosForCausalLM(config)
    else:
        model = _new_sharded_model(config, deepspeed_config)
    with _whole(model.model.embed_tokens):
        states = mean_embeddings(model.model.embed_tokens, sentences)
    for anchor in anchors(model).values():
        with _whole(anchor):
            write_principles(anchor, config.principles or {}, states)
    return model


def _new_sharded_model(config: PromethiosConfig, deepspeed_config: dict[str, Any]) -> PromethiosForCausalLM:
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


def model_from(folder: Path, section: ModelSection, dtype: torch.dtype) -> PromethiosForCausalLM:
    """Return the model of a backbone's or an earlier stage's folder in the training form.

    Sharded under ZeRO-3, as long as the Trainer's arguments are alive. The reserved rows come out of the table, the
    value function out of its own file.
    """
    config = PromethiosConfig.from_pretrained(folder)
    config.value_function, config.reserved_rows = section.value_embedding == "smooth", True
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the report of fresh weights: they are set below
    try:
        model: PromethiosForCausalLM = PromethiosForCausalLM.from_pretrained(
            folder, config=config, dtype=dtype, local_files_only=True
        )
    finally:
        logging.set_verbosity(verbosity)
    assert model.reserved_rows is not None
    with torch.no_grad(), _whole(model.model.embed_tokens, model.reserved_rows):
        table = model.model.embed_tokens.weight
        model.reserved_rows.weight.copy_(table[model.reserved.first : model.reserved.end])
    if model.value_embedding is not None:
        with _whole(model.value_embedding):
            model.value_embedding.load_state_dict(load_file(folder / VALUE_FUNCTION))
    return model


def set_trainable(model: PromethiosForCausalLM, train: str, lora_rank: int) -> None:
    """Let move what a stage trains: "full" everything; "modules" all that the backbone does not have; "lora" adapters
    of this rank besides.
    """
    if train == "full":
        return
    if train == "lora":
        add_adapters(model, lora_rank)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(part in name for part in (*NEW_PARAMETERS, ADAPTER_MARK)))


@contextlib.contextmanager
def unsharded() -> Iterator[None]:
    """Load models whole in this context, also where ZeRO-3 would shard them."""
    config = zero3_state._hf_deepspeed_config_weak_ref
    zero3_state.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        zero3_state._hf_deepspeed_config_weak_ref = config


@contextlib.contextmanager
def _whole(*modules: nn.Module) -> Iterator[None]:
    """Gather the parameters of some modules where they are sharded; changes made on rank 0 are kept."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    if not any(hasattr(parameter, "ds_id") for parameter in parameters):
        yield
        return
    from deepspeed import zero

    with zero.GatheredParameters(parameters, modifier_rank=0):
        yield
