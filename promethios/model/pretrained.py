"""A pretrained backbone (Llama, Mistral, Qwen3) as a model folder of ours that behaves exactly the same at step 0.

    Hugging Face folder or hub id -> tokenizer with the reserved tokens, embedding rows for them, governance modules
    with closed gates, heads of zero, slots started from the principles' sentences

The reserved tokens take the embedding's spare rows where there are enough (Qwen3 has 267); otherwise rows are appended,
up to a multiple of 256 (Llama). The backbone's chat template and its end of turn stay as they are. Without a header the
logits of the old vocabulary are bit for bit the backbone's.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from huggingface_hub.errors import StrictDataclassError
from tokenizers import AddedToken
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast
from transformers.utils import logging

from promethios.configs.run_config import ModelSection
from promethios.errors import ConfigError
from promethios.model.build import sentinel_config
from promethios.model.configuration import PromethiosConfig
from promethios.model.governance_sentinel_8b import NEW_PARAMETERS, PromethiosForCausalLM
from promethios.model.principles import anchors, mean_hidden_states, principle_token_ids, write_principles
from promethios.model.tokenizer import PAD, reserved_ids
from promethios.telemetry.header import RESERVED_TOKENS

QK_NORM: Final = {"LlamaForCausalLM": False, "MistralForCausalLM": False, "Qwen3ForCausalLM": True}
"""The architectures that can be read, and whether each normalises queries and keys."""
ROW_MULTIPLE: Final = 256
MIN_WORDS: Final = 256
"""A real vocabulary has more, if only for the bytes."""
NOISE: Final = 0.1
"""Of a new row around the mean row, as a share of the table's own spread."""
_KEPT: Final = ("rms_norm_eps", "rope_parameters", "attention_bias", "mlp_bias", "hidden_act")
_SHAPE: Final = {
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "context_length": "max_position_embeddings",
    "tie_word_embeddings": "tie_word_embeddings",
}


def convert_backbone(section: ModelSection, folder: Path) -> None:
    """Write the model folder that training of `section.from_pretrained` starts from, whole or not at all.

    Raises ConfigError naming what of the backbone cannot be used and what to do.
    """
    source = str(section.from_pretrained)
    backbone = _read_config(source)
    tokenizer, num_tokens = extended_tokenizer(source)
    if num_tokens > backbone.vocab_size:
        raise _unusable(source, f"its tokenizer has {num_tokens} tokens for {backbone.vocab_size} embedding rows")
    vocab_size = vocabulary_rows(backbone.vocab_size, len(tokenizer))
    _check_shape(section, backbone, vocab_size, source)
    config = _promethios_config(section, backbone, tokenizer)
    model = _read_weights(source, config, backbone.vocab_size)
    _add_rows(model, num_tokens, vocab_size, config.pad_token_id)
    for number, states in mean_hidden_states(model.eval(), principle_token_ids(tokenizer)).items():
        write_principles(anchors(model)[number], config.principles or {}, states)
    staging = folder.with_name(f".{folder.name}.staging")
    shutil.rmtree(staging, ignore_errors=True)
    model.generation_config = _generation_config(source, tokenizer)
    model.save_pretrained(staging)
    tokenizer.save_pretrained(staging)
    shutil.rmtree(folder, ignore_errors=True)
    staging.replace(folder)


def vocabulary_rows(rows: int, num_tokens: int) -> int:
    """Return the rows of the embedding for `num_tokens` ids: its own when it has spare ones, else a round number."""
    return rows if num_tokens <= rows else -(-num_tokens // ROW_MULTIPLE) * ROW_MULTIPLE


def extended_tokenizer(source: str) -> tuple[PreTrainedTokenizerFast, int]:
    """Return the backbone's tokenizer with the reserved tokens after its own, and how many it had before.

    A tokenizer without padding gets a token for it. Raises ConfigError when it cannot end a turn or shape a chat.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, KeyError) as error:
        raise _unusable(source, f"its tokenizer cannot be read: {_one_line(error)}") from None
    if not tokenizer.is_fast or tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False) < MIN_WORDS:
        # Without its files, transformers makes up an empty tokenizer instead of failing.
        raise _unusable(source, "it has no fast tokenizer (tokenizer.json)")
    if tokenizer.eos_token_id is None:
        raise _unusable(source, "its tokenizer has no end-of-sequence token; set eos_token in tokenizer_config.json")
    if not tokenizer.chat_template:
        raise _unusable(source, "its tokenizer has no chat template; take the backbone's instruction-tuned version")
    num_tokens = len(tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": PAD})
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in RESERVED_TOKENS])
    reserved_ids(tokenizer)  # contiguous, or ConfigError
    return tokenizer, num_tokens


def _read_config(source: str) -> Any:
    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError, StrictDataclassError) as error:
        if Path(source).is_dir():
            raise _unusable(source, f"config.json cannot be read: {_one_line(error)}") from None
        raise ConfigError(
            f"model.from_pretrained {source!r} is no folder here, and as a hub id it cannot be fetched "
            f"({_one_line(error)}); download it where there is a network (`hf download {source} --local-dir DIR`) "
            "and give that folder"
        ) from None
    architecture = (config.architectures or ["none"])[0]
    if architecture not in QK_NORM:
        raise _unusable(source, f"its architecture is {architecture}; allowed are {', '.join(QK_NORM)}")
    for problem in _config_problems(config):
        raise _unusable(source, problem)
    return config


def _config_problems(config: Any) -> Iterator[str]:
    window = getattr(config, "sliding_window", None)
    if window is not None and window < config.max_position_embeddings:
        yield f"it attends to a sliding window of {window} tokens; only full attention is supported"
    if getattr(config, "quantization_config", None) is not None:
        yield "its weights are quantised; give the original ones"


def _check_shape(section: ModelSection, backbone: Any, vocab_size: int, source: str) -> None:
    """Raise ConfigError with every key of the `model` section that is not the backbone's."""
    head_dim = getattr(backbone, "head_dim", None) or backbone.hidden_size // backbone.num_attention_heads
    wanted = {name: getattr(backbone, theirs) for name, theirs in _SHAPE.items()}
    wanted |= {"vocab_size": vocab_size, "qk_norm": QK_NORM[backbone.architectures[0]]}
    found = {name: getattr(section, name) for name in wanted}
    if (section.head_dim or section.hidden_size // section.num_attention_heads) != head_dim:
        wanted["head_dim"], found["head_dim"] = head_dim, section.head_dim
    wrong = [f"{name}: {value} (not {found[name]})" for name, value in wanted.items() if found[name] != value]
    if wrong:
        raise _unusable(source, f"the model section has another shape; write {', '.join(wrong)}")


def _promethios_config(section: ModelSection, backbone: Any, tokenizer: PreTrainedTokenizerFast) -> PromethiosConfig:
    config = sentinel_config(section, tokenizer)
    for name in _KEPT:
        if hasattr(backbone, name):
            setattr(config, name, copy.deepcopy(getattr(backbone, name)))
    return config


def _read_weights(source: str, config: PromethiosConfig, rows: int) -> PromethiosForCausalLM:
    """Load the backbone's weights into our class, whose decoder has the same names; the rest starts fresh."""
    config = copy.deepcopy(config)
    config.vocab_size = rows
    config.pad_token_id = None  # it may lie in a row that is not there yet
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the report of fresh weights: they are meant to be
    try:
        model, report = PromethiosForCausalLM.from_pretrained(
            source, config=config, dtype="auto", use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        raise _unusable(source, f"its weights cannot be read: {_one_line(error)}") from None
    finally:
        logging.set_verbosity(verbosity)
    missing = sorted(name for name in report["missing_keys"] if not any(part in name for part in NEW_PARAMETERS))
    wrong = [*missing, *sorted(report["unexpected_keys"]), *sorted(map(str, report["mismatched_keys"]))]
    if wrong:
        raise _unusable(source, f"its weights are not those of its config.json: {', '.join(wrong[:5])}")
    loaded: PromethiosForCausalLM = model
    return loaded


@torch.no_grad()
def _add_rows(model: PromethiosForCausalLM, num_tokens: int, vocab_size: int, pad_id: int | None) -> None:
    """Grow both tables to `vocab_size`, and give the reserved tokens their first embeddings.

    A new row is the mean row and a little noise: where the backbone has seen no token, none is nearer than another.
    Number rows come from the value function, scaled to the norm that rows have.
    """
    old = model.model.embed_tokens.weight[:num_tokens].float()
    mean, spread, norm = old.mean(0), old.std(0), old.norm(dim=-1).mean()
    rows = model.model.embed_tokens.weight.shape[0]
    model.resize_token_embeddings(vocab_size, mean_resizing=False)
    model.config.pad_token_id = pad_id
    table = model.model.embed_tokens.weight
    table[rows:] = mean.to(table)
    if not model.config.tie_word_embeddings:
        head = model.lm_head.weight
        head[rows:] = head[:num_tokens].float().mean(0).to(head)  # never the likeliest, as no token is
    noise = torch.randn(len(RESERVED_TOKENS), table.shape[1], generator=torch.Generator().manual_seed(0))
    reserved = (mean + NOISE * spread * noise).to(table)
    table[model.reserved.first : model.reserved.end] = reserved
    if model.reserved_rows is not None:
        model.reserved_rows.weight.copy_(reserved)
    if model.value_embedding is not None:
        scale = norm / model.value_embedding.rows().float().norm(dim=-1).mean()
        for parameter in model.value_embedding.down.parameters():
            parameter.mul_(scale)


def _generation_config(source: str, tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    """Return the backbone's own generation settings (it may end a turn in several ways), or the plain ones."""
    try:
        config = GenerationConfig.from_pretrained(source)
    except OSError:
        config = GenerationConfig()
    config.bos_token_id, config.pad_token_id = tokenizer.bos_token_id, tokenizer.pad_token_id
    config.eos_token_id = config.eos_token_id or tokenizer.eos_token_id
    return config


def _unusable(source: str, problem: str) -> ConfigError:
    return ConfigError(f"model.from_pretrained {source!r} cannot be used: {problem}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
