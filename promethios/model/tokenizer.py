"""Tokenizers: a byte-level BPE trained on the corpus, or a pretrained one, each with the reserved tokens.

Special tokens come first, the reserved tokens next and contiguous, then bytes and merges.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from promethios.errors import ConfigError
from promethios.telemetry.header import RESERVED_TOKENS, ReservedIds

BOS, PAD, EOT = "<|bos|>", "<|pad|>", "<|eot|>"
ROLES: Final = ("system", "user", "assistant", "tool")
SPECIAL_TOKENS: Final = (BOS, PAD, EOT, *(f"<|{role}|>" for role in ROLES))

# Text that looks like a special token is broken up, so a message cannot end its own turn or speak for another role.
# (Reserved governance ids need no such care here: serving removes them from every prompt at token level.)
CHAT_TEMPLATE: Final = (
    "{{ bos_token }}"
    "{% if tools %}<|system|>Tools: {{ tools | tojson | replace('<|', '< |') }}<|eot|>{% endif %}"
    "{% for message in messages %}"
    "{% set role = 'system' if message['role'] == 'developer' else message['role'] %}"
    "{% if role not in ['system', 'user', 'assistant', 'tool'] %}"
    "{{ raise_exception('message role must be system, developer, user, assistant or tool, not ' ~ role) }}{% endif %}"
    "<|{{ role }}|>{{ (message['content'] or '') | replace('<|', '< |') }}<|eot|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

MIN_VOCABULARY: Final = len(SPECIAL_TOKENS) + len(RESERVED_TOKENS) + 256


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of at most `vocab_size` ids on the corpus; a small corpus gives fewer.

    Raises ConfigError when special, reserved and byte tokens alone do not fit.
    """
    if vocab_size < MIN_VOCABULARY:
        raise ConfigError(
            f"model.vocab_size {vocab_size} is too small: special, reserved and byte tokens need {MIN_VOCABULARY}"
        )
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[*SPECIAL_TOKENS, *RESERVED_TOKENS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=BOS, eos_token=EOT, pad_token=PAD)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def reserved_ids(tokenizer: PreTrainedTokenizerFast) -> ReservedIds:
    """Return where the tokenizer's reserved ids lie. Raises ConfigError when they are absent or not contiguous."""
    found = tokenizer.convert_tokens_to_ids(list(RESERVED_TOKENS))
    if found != list(range(found[0] or 0, (found[0] or 0) + len(RESERVED_TOKENS))):
        raise ConfigError("the tokenizer does not hold the reserved governance tokens as one contiguous block")
    return ReservedIds(found[0])
