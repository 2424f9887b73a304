"""Examples and prompts as token ids: prompt | header | decision | response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from promethios.data.example import Example
from promethios.errors import ModelFolderError
from promethios.model.tokenizer import reserved_ids
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import HeaderDomain
from promethios.telemetry.state import GovernanceState


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """One training sequence.

    ids: prompt, header, decision, response, end of turn. decision_position: index of the header's last id, where the
    scores are read; the decision id follows it, and the ids after that are what the language loss covers.
    """

    ids: list[int]
    decision_position: int


class PromptEncoder:
    """Turns messages, telemetry and domain into token ids with one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.reserved = reserved_ids(tokenizer)

    @classmethod
    def load(cls, folder: Path) -> PromptEncoder:
        """Load a model folder's tokenizer. Raises ModelFolderError when it is missing."""
        if not (folder / "tokenizer.json").is_file():
            raise ModelFolderError(f"{folder}: tokenizer.json is missing; give a folder written by `promethios train`")
        return cls(AutoTokenizer.from_pretrained(folder, local_files_only=True))

    def prompt(
        self, messages: Sequence[Mapping[str, Any]], state: GovernanceState | None, domain: HeaderDomain | None
    ) -> list[int]:
        """Return the chat prompt up to the assistant's turn, then the header: what the model decides on."""
        text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        chat = self.reserved.scrub(self.tokenizer.encode(text, add_special_tokens=False))
        return chat + self.reserved.header(state, domain)

    def example_prompt(self, example: Example) -> list[int]:
        """Return an example's prompt and header."""
        domain = load_ontology().domain(example.header_domain).header if example.header_domain else None
        return self.prompt(example.messages[:-1], example.state, domain)

    def example(self, example: Example) -> EncodedExample:
        """Return one example as a training sequence."""
        prompt = self.example_prompt(example)
        response = self.tokenizer.encode(example.messages[-1]["content"], add_special_tokens=False)
        ids = [*prompt, self.reserved.decision(example.decision), *response, self.tokenizer.eos_token_id]
        return EncodedExample(ids, len(prompt) - 1)
