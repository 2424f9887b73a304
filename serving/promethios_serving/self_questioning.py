"""Hidden rounds: while the model is uncertain, it asks itself and answers, before it decides. Off by default.

The loop, its threshold and its tokens are those that the model was trained and is evaluated with. A round costs a few
generated tokens and one more pass over the header; everything before it is in the prefix cache. `engine_hook` runs it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promethios.model.encoding import PromptEncoder
from promethios.model.self_questioning import MAX_QUESTION_TOKENS, asks_again
from promethios.telemetry.header import NUM_UNCERTAINTY, SCORE_NAMES
from promethios_serving.tag_redactor import TagRedactor

_FIRST = SCORE_NAMES.index("uncertainty:0")


@dataclass(frozen=True, slots=True)
class SelfQuestions:
    """How one model asks itself. max_rounds: 1 or 2. sampling: vLLM's SamplingParams of a round."""

    encoder: PromptEncoder
    max_rounds: int
    sampling: Any

    @classmethod
    def of(cls, folder: Path, max_rounds: int) -> SelfQuestions | None:
        """Return those of a model folder; None when no rounds are wanted. Needs vLLM."""
        if max_rounds == 0:
            return None
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = SamplingParams(
            max_tokens=MAX_QUESTION_TOKENS,
            temperature=0.0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        return cls(PromptEncoder.load(folder), max_rounds, sampling)

    @property
    def tokens(self) -> int:
        """How much of the context one round may take."""
        return len(self.encoder.self_question([])) + MAX_QUESTION_TOKENS

    def again(self, scores: Sequence[Sequence[float]]) -> bool:
        """Return whether another round follows. scores: before the first round and after each one so far."""
        largest = [_largest_uncertainty(each) for each in scores]
        return len(scores) <= self.max_rounds and asks_again(largest)

    def opening(self) -> list[int]:
        """Return the ids after which the model asks."""
        return [self.encoder.ask_id]

    def round(self, spoken: Sequence[int]) -> tuple[list[int], str]:
        """Return a round's ids and its text, from what the model said. The text holds no governance tag."""
        end_of_turn = self.encoder.tokenizer.eos_token_id
        said = [token_id for token_id in spoken if token_id != end_of_turn]
        text = self.encoder.tokenizer.decode(said, skip_special_tokens=True)
        return self.encoder.self_question(said), TagRedactor().feed(text, final=True)


def _largest_uncertainty(scores: Sequence[float]) -> float:
    return 1.0 / (1.0 + math.exp(-max(scores[_FIRST : _FIRST + NUM_UNCERTAINTY])))
