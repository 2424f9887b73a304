"""Settings that hold for every test, and data that several stages read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from promethios.user_friendly_governance_training_generator import main as generate
from tests.longest_first import Schedule, place

if TYPE_CHECKING:
    from promethios.configs.run_config import ModelSection

# The same examples at every run, and no time limit that a busy machine could break.
settings.register_profile("promethios", deadline=None, derandomize=True)
settings.load_profile("promethios")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Schedule | None:
    return Schedule(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real dataset of 300 training examples, written by the real command in under a second."""
    folder = tmp_path_factory.mktemp("data") / "governance"
    assert generate(["--output_dir", str(folder), "--num_examples", "300"]) == 0
    return folder


BACKBONE_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def write_backbone() -> Callable[..., ModelSection]:
    """Write a small randomly initialised backbone, in the form in which real ones are published, and return the model
    section that starts from it. "qwen3" has spare embedding rows and a padding token, "llama" and "mistral" have none.
    """
    return _write_backbone


def _write_backbone(
    folder: Path, kind: str = "qwen3", *, tied: bool = False, context_length: int = 1536, **tokenizer_changes: Any
) -> ModelSection:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        MistralConfig,
        MistralForCausalLM,
        PreTrainedTokenizerFast,
        Qwen3Config,
        Qwen3ForCausalLM,
    )

    from promethios.configs.run_config import ModelSection

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    corpus = ["How much may I take?", "Hand over to a person who is sure.", "Say what is known, and what is not."] * 9
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False))
    bpe.add_special_tokens(["<|im_start|>", "<|im_end|>", "<|begin|>"])
    tokens = {"bos_token": "<|begin|>", "eos_token": "<|im_end|>", "chat_template": BACKBONE_TEMPLATE}
    tokens |= {"pad_token": "<|begin|>"} if kind == "qwen3" else {}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, **(tokens | tokenizer_changes))
    llama_3_rope = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    config_class, model_class, own = {
        "llama": (LlamaConfig, LlamaForCausalLM, {"rope_parameters": llama_3_rope, "rms_norm_eps": 1e-5}),
        "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": None}),
        "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 16}),
    }[kind]
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    config = config_class(
        **shape,
        **own,
        vocab_size=512 if kind == "qwen3" else len(tokenizer),
        num_hidden_layers=3,
        max_position_embeddings=context_length,
        tie_word_embeddings=tied,
        initializer_range=0.2,
    )
    model_class(config).to(torch.bfloat16).save_pretrained(folder, max_shard_size="20KB")
    tokenizer.save_pretrained(folder)
    return ModelSection(
        from_pretrained=str(folder),
        vocab_size=512,
        **shape,
        num_layers=3,
        head_dim=own.get("head_dim"),
        context_length=context_length,
        qk_norm=kind == "qwen3",
        tie_word_embeddings=tied,
        anchor_size=16,
        anchor_heads=2,
        num_principles=7,
        veritas_rank=8,
        tool_rank=8,
    )
