"""Examples and prompts as token ids: prompt | header | decision | response.

With self-questions, hidden rounds of `<|ask|>`, question and answer, end of turn stand between prompt and header: they
tell of the text alone, the decision position stays the header's last id, and prompt and rounds stay prefix-cacheable.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from promethios.data.example import Example
from promethios.errors import ModelFolderError
from promethios.model.tokenizer import reserved_ids
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import ASK, HeaderDomain
from promethios.telemetry.state import GovernanceState


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """One training sequence.

    ids: prompt, self-questions, header, decision, response, end of turn. decision_position: index of the header's last
    id, where the scores are read; the decision id follows it. question_positions: indices of the self-questions' ids
    after each `<|ask|>`, end of turn included. request_position: index of the prompt's last id, which has seen the text
    alone; 0 when nobody asks for it. evidence: index of each remark's last id, and what the remark shows.
    """

    ids: list[int]
    decision_position: int
    question_positions: tuple[int, ...] = ()
    request_position: int = 0
    evidence: tuple[tuple[int, str], ...] = ()

    @property
    def language_positions(self) -> tuple[int, ...]:
        """Indices of the ids that the language loss covers: self-questions and response, each with its end of turn."""
        return (*self.question_positions, *range(self.decision_position + 2, len(self.ids)))

    def without_response(self) -> EncodedExample:
        """Return the sequence up to the header: it teaches the decision and no response."""
        return dataclasses.replace(self, ids=self.ids[: self.decision_position + 1])


class PromptEncoder:
    """Turns messages, telemetry and domain into token ids with one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.reserved = reserved_ids(tokenizer)
        self.ask_id = self.reserved.id(ASK)

    @classmethod
    def load(cls, folder: Path) -> PromptEncoder:
        """Load a model folder's tokenizer. Raises ModelFolderError when it is missing."""
        if not (folder / "tokenizer.json").is_file():
            raise ModelFolderError(f"{folder}: tokenizer.json is missing; give a folder written by `promethios train`")
        return cls(AutoTokenizer.from_pretrained(folder, local_files_only=True))

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return a finished conversation without a header, as the backbone's own template writes it."""
        text = self.tokenizer.apply_chat_template(list(messages), tokenize=False)
        return self.reserved.scrub(self.tokenizer.encode(text, add_special_tokens=False))

    def prompt(
        self, messages: Sequence[Mapping[str, Any]], state: GovernanceState | None, domain: HeaderDomain | None
    ) -> list[int]:
        """Return the chat prompt up to the assistant's turn, then the header: what the model decides on."""
        return self.request(messages) + self.reserved.header(state, domain)

    def request(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return the chat prompt up to the assistant's turn, without a header."""
        return self.reserved.scrub(self.tokenizer.encode(self._request_text(messages), add_special_tokens=False))

    def example_header(self, example: Example) -> list[int]:
        """Return an example's header."""
        domain = load_ontology().domain(example.header_domain).header if example.header_domain else None
        return self.reserved.header(example.state, domain)

    def example_prompt(self, example: Example) -> list[int]:
        """Return an example's prompt and header."""
        return self.request(example.request) + self.example_header(example)

    def example(self, example: Example, *, self_questions: bool = False) -> EncodedExample:
        """Return one example as a training sequence, with its self-questions as hidden rounds or without."""
        ids, evidence = self._request_and_evidence(example)
        request_position = len(ids) - 1
        question_positions: list[int] = []
        for text in example.self_questions if self_questions else ():
            asked = self.self_question(self.tokenizer.encode(text, add_special_tokens=False))
            question_positions += range(len(ids) + 1, len(ids) + len(asked))
            ids += asked
        ids += self.example_header(example)
        decision_position = len(ids) - 1
        response = self.tokenizer.encode(example.response, add_special_tokens=False)
        decision = example.decision or example.labels().decision
        ids += [self.reserved.decision(decision), *response, self.tokenizer.eos_token_id]
        return EncodedExample(ids, decision_position, tuple(question_positions), request_position, evidence)

    def _request_text(self, messages: Sequence[Mapping[str, Any]]) -> str:
        text: str = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return text

    def _request_and_evidence(self, example: Example) -> tuple[list[int], tuple[tuple[int, str], ...]]:
        """Return an example's request, and where its remarks end and what they show; none where a text is not found."""
        if not example.evidence:
            return self.request(example.request), ()
        text = self._request_text(example.request)
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids, ends = encoded["input_ids"], [end for _, end in encoded["offset_mapping"]]
        starts, start = [], 0
        for message in example.request:
            start = text.find(message["content"], start)
            starts.append(start)
            start += len(message["content"])
        scrubbed = self.reserved.scrub(ids)
        if -1 in starts or len(scrubbed) < len(ids):
            return scrubbed, ()
        places = ((bisect_left(ends, starts[item.message] + item.end), item.shows) for item in example.evidence)
        return ids, tuple(places)

    def self_question(self, text_ids: Sequence[int]) -> list[int]:
        """Return a hidden round: `<|ask|>`, the ids of question and answer, end of turn."""
        return [self.ask_id, *text_ids, self.tokenizer.eos_token_id]
