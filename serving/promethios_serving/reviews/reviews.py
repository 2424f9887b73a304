"""Which answers people look at, and when their records are made safe.

escalated   every one; its record is on disk before the first byte of the answer leaves. Where that fails, the request
            is refused: a promise of a person's attention that nobody would keep is worse than no answer.
audit       a random share of the others, with that share as propensity. Its record is written when the answer is
            complete; where that fails, it is dropped and counted. The client does not learn of it.

The answer to an escalated request follows in a second record with the same id, as far as it was spoken.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol

from promethios.telemetry.state import GovernanceState
from promethios_serving import metrics
from promethios_serving.openai_errors import RequestRefused
from promethios_serving.request_context import GovernedRequest
from promethios_serving.reviews.review_record import Because, DecidingModel, review_record
from promethios_serving.reviews.spool import Spool, SpoolFull

_log: Final = logging.getLogger("promethios.reviews")


class Sample(Protocol):
    """A piece of an answer: which of the request's samples it belongs to, and its text."""

    index: int
    text: str


class Reviews:
    """Chooses the answers to review and hands their records to the spool."""

    def __init__(self, spool: Spool, *, engine: str, model: DecidingModel, audit_rate: float) -> None:
        self._spool = spool
        self._engine = engine
        self._model = model
        self._audit_rate = audit_rate
        self._last_words: set[asyncio.Task[None]] = set()

    async def open(self, request: GovernedRequest, state: GovernanceState | None) -> OpenReview | None:
        """Return the review of a request that was just decided; None when nobody looks at it.

        Sets `review_id` of an escalated request. Raises RequestRefused (503) when its record cannot be made safe.
        """
        if request.outcome is None or not request.counted:
            return None
        if request.outcome.decision != "escalate":
            drawn = random.random() < self._audit_rate
            return OpenReview(self, request, state, "audit", self._audit_rate) if drawn else None
        review = OpenReview(self, request, state, "escalated", 1.0)
        try:
            await self.put(review, None)
        except SpoolFull as error:
            metrics.HUB_ERRORS.labels(reason="spool").inc()
            _log.error("the escalation %s is refused: %s", request.id, error)
            message = "this request needs a person's review, which cannot be kept safe right now; try again later"
            raise RequestRefused(HTTPStatus.SERVICE_UNAVAILABLE, "review_unavailable", message) from None
        request.review_id = request.id
        return review

    async def put_answer(self, review: OpenReview, answer: str) -> None:
        """Make an answer's record safe, also while the client's request is being cancelled; count one that is lost."""
        task = asyncio.create_task(self._put_answer(review, answer))
        self._last_words.add(task)  # the event loop alone might let go of it
        task.add_done_callback(self._last_words.discard)
        await asyncio.shield(task)

    async def _put_answer(self, review: OpenReview, answer: str) -> None:
        try:
            await self.put(review, answer)
        except SpoolFull as error:
            metrics.HUB_ERRORS.labels(reason="spool").inc()
            _log.error("the answer to %s is not reviewed (%s): %s", review.request.id, review.because, error)

    async def put(self, review: OpenReview, response: str | None) -> None:
        """Make a record safe. Raises SpoolFull."""
        record = review_record(
            review.request,
            review.state,
            because=review.because,
            propensity=review.propensity,
            response=response,
            engine=self._engine,
            model=self._model,
        )
        await self._spool.put("reviews", record)


@dataclass(frozen=True, slots=True)
class OpenReview:
    """An answer that a person will look at, while it is spoken. texts: of each sample, by its index."""

    reviews: Reviews
    request: GovernedRequest
    state: GovernanceState | None
    because: Because
    propensity: float
    texts: defaultdict[int, str] = field(default_factory=lambda: defaultdict(str))

    def hear(self, samples: Iterable[Sample], *, delta: bool) -> None:
        """Take down what leaves the engine; without `delta`, a sample holds its whole text so far."""
        for sample in samples:
            self.texts[sample.index] = self.texts[sample.index] + sample.text if delta else sample.text

    async def aclose(self) -> None:
        """Hand over the answer, as far as it was spoken; a failure is logged: what was said cannot be unsaid."""
        answer = "\n\n".join(self.texts[index] for index in sorted(self.texts)).strip()
        if answer:
            await self.reviews.put_answer(self, answer)
