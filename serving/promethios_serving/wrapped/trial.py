"""One request of an experiment: what its arm did with it, watched from outside, as the record that goes to the hub."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import Message, Send

from promethios.telemetry.header import DECISIONS
from promethios_serving.governance_response import DECISION_HEADER, DECISION_ID_HEADER
from promethios_serving.wrapped.experiment import Arm

TRIAL: Final = "promethios.trial"
"""Key of a request's ASGI scope: the Trial that it is."""
_TAIL: Final = 8192
_PROMPT_TOKENS: Final = re.compile(rb'"(?:prompt|input)_tokens":\s*(\d+)')
_COMPLETION_TOKENS: Final = re.compile(rb'"(?:completion|output)_tokens":\s*(\d+)')
_ERROR_CODE: Final = re.compile(rb'"error":\s*\{.*?"code":\s*"(\w{1,64})"', re.DOTALL)


@dataclass(slots=True, kw_only=True)
class Trial:
    """A request at one arm. started, first and ended: seconds of the monotonic clock."""

    experiment: str
    arm: Arm
    unit: str
    tenant: str | None
    started: float = field(default_factory=time.perf_counter)
    id: str | None = None
    decision: str | None = None
    _status: int | None = None
    _first: float | None = None
    _ended: float | None = None
    _tail: bytes = b""

    def decided(self, decision_id: str, decision: str) -> None:
        """Take down the decision."""
        self.id, self.decision = decision_id, decision

    def watched(self, send: Send | None) -> Send:
        """Return a `send` that takes down what passes; with None, nobody else sees it."""

        async def watch(message: Message) -> None:
            self._see(message)
            if send is not None:
                await send(message)

        return watch

    def outcome(self) -> dict[str, Any] | None:
        """Return the record for the hub; None when there is none to tell: refused before a decision, or not run."""
        if self.id is None or self.decision not in DECISIONS:
            return None
        if self.arm.shadow and self._ended is None:  # this server was ended
            return None
        prompt, completion = self._tokens(_PROMPT_TOKENS), self._tokens(_COMPLETION_TOKENS)
        return {
            "id": self.id,
            "experiment": self.experiment,
            "arm": self.arm.name,
            "unit": self.unit,
            "tenant": self.tenant,
            "shadow": self.arm.shadow,
            "time": datetime.now(UTC).isoformat(),
            "decision": self.decision,
            "latency_s": (self._ended or time.perf_counter()) - self.started,
            "first_token_s": None if self._first is None else self._first - self.started,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "cost_usd": self._cost(prompt, completion),
            "error": self._error(),
        }

    def _see(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = Headers(raw=message["headers"])
            if self.decision is None and DECISION_ID_HEADER in headers:  # a native engine's
                self.decided(headers[DECISION_ID_HEADER], headers[DECISION_HEADER])
        elif message["type"] == "http.response.body":
            body = message.get("body", b"")
            if body and self._first is None:
                self._first = time.perf_counter()
            self._tail = (self._tail + body)[-_TAIL:]
            if not message.get("more_body", False):
                self._ended = time.perf_counter()

    def _error(self) -> str | None:
        if self._ended is None:
            return "incomplete"  # the client left
        found = _ERROR_CODE.search(self._tail)
        if found:
            return found.group(1).decode()
        return None if self._status == 200 else f"http_{self._status}"

    def _tokens(self, pattern: re.Pattern[bytes]) -> int | None:
        found = pattern.findall(self._tail)
        return int(found[-1]) if found else None

    def _cost(self, prompt: int | None, completion: int | None) -> float | None:
        if self.arm.prices is None or prompt is None or completion is None:
            return None
        price_in, price_out = self.arm.prices
        return (prompt * price_in + completion * price_out) / 1e6
