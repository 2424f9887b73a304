"""Any language model behind an OpenAI-compatible URL as a system to compare with.

The telemetry is put into words, with what the domain requires and what a miss costs, and the model is asked for one of
the four decisions. It says no probability, so its decision counts as 0 or 1. A reply without one of the four words
counts as an escalation, the careful reading, and the report's notes say how many there were. The request asks for
nothing but a reply, so it is the server's own temperature that holds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from tqdm import tqdm

from promethios.data.chat_endpoint import ChatEndpoint
from promethios.data.example import Example
from promethios.errors import PromethiosError
from promethios.evaluation.decisions import Baseline
from promethios.evaluation.intervals import FloatArray
from promethios.ontology.policy_in_words import policy_in_words
from promethios.telemetry.header import DECISIONS

CONCURRENCY: Final = 8
MAX_TOKENS: Final = 512
"""Room for a model that thinks before it answers, where a harness sets a limit."""

_THOUGHT: Final = re.compile(r"<think>.*?</think>", re.DOTALL)
_WORD: Final = re.compile(r"\b(" + "|".join(DECISIONS) + r")\b", re.IGNORECASE)


class ChatBaseline:
    """Asks a chat endpoint for a decision on each example; remembers how many replies held none."""

    def __init__(self, endpoint: ChatEndpoint) -> None:
        self.endpoint = endpoint
        self.num_unreadable = 0

    def baseline(self) -> Baseline:
        """Return it as a system to compare with."""
        return Baseline("chat", self.endpoint.model, self.predict, kind="compared")

    def note(self) -> str:
        """Return a sentence on the replies that held no decision."""
        return f"{self.num_unreadable} replies of {self.endpoint.model} held none of the four words; read as escalate."

    def predict(self, examples: Sequence[Example]) -> FloatArray:
        """Return 1 for each example [n] that the model escalates and 0 for the others. Raises DatasetError."""
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            replies = pool.map(self._decide, examples)
            try:
                decisions = list(tqdm(replies, total=len(examples), desc="ask", unit="request"))
            except PromethiosError:
                self.endpoint.stopped.set()  # one clear error now, not one for each that still waits
                pool.shutdown(cancel_futures=True)
                raise
        self.num_unreadable += sum(decision is None for decision in decisions)
        return np.array([float(decision in (None, "escalate")) for decision in decisions])

    def _decide(self, example: Example) -> str | None:
        return decision_in(self.endpoint.ask(question(example)))


def question(example: Example) -> list[dict[str, str]]:
    """Return the chat messages that ask for a decision on an example: telemetry in words, then the conversation."""
    instructions = policy_in_words(example.header_domain, example.state)
    conversation = "\n".join(f"{message['role']}: {message['content']}" for message in example.request)
    return [{"role": "system", "content": instructions}, {"role": "user", "content": conversation}]


def decision_in(reply: str) -> str | None:
    """Return the first of DECISIONS that a reply names after its thinking, or None."""
    found = _WORD.search(_THOUGHT.sub("", reply))
    return found.group().lower() if found else None
