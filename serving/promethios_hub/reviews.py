"""Reviews: what engines hand over, what reviewers do with it. Their SQL stands here, search in search.py, counts in
review_statistics.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, and_, case, func, select, true, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from promethios.data.feedback_records import ACTIONS
from promethios_hub import webhooks
from promethios_hub.intake import Gathered
from promethios_hub.refusals import bad_request, conflict, not_found
from promethios_hub.search import matching, relevance, telling_words_of, words_of
from promethios_hub.tables import reviews
from promethios_serving.openai_errors import RequestRefused

State = Literal["waiting", "assigned", "done"]
STATES: Final = ("waiting", "assigned", "done")
MAX_PAGE: Final = 200
_SIMILAR_CANDIDATES: Final = 400
"""Of all that share a word with a question, only the newest so many are ranked: ranking 100,000 takes seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReview:
    """A review as it is kept. `messages` is empty and `response` None once its content was forgotten (retention).

    decision, probability, threshold, response: the model's; principles: those it looked at, the heaviest first, with
    their weights; None where the model does not tell. action, final_decision, final_response: the reviewer's.
    """

    number: int
    id: str
    arrived_at: datetime
    asked_at: datetime
    tenant: str | None
    subject: Mapping[str, Any]
    request_id: str | None
    engine: str | None
    model: Mapping[str, Any]
    domain: str | None
    reviewed_because: str
    propensity: float | None
    decision: str
    probability: float
    threshold: float
    probabilities: Mapping[str, float]
    uncertainty: Mapping[str, float]
    principles: Sequence[Mapping[str, Any]] | None
    governance_state: Mapping[str, Any] | None
    experiment: Mapping[str, Any] | None
    messages: Sequence[Mapping[str, str]]
    response: str | None
    question: str
    state: State
    version: int
    reviewer: str | None
    assigned_at: datetime | None
    action: str | None
    final_decision: str | None
    final_response: str | None
    decided_at: datetime | None
    forgotten: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """What a user may know of a review: its state, and the reviewer's decision and response, None until then."""

    id: str
    state: State
    decision: str | None
    response: str | None


@dataclass(frozen=True, slots=True)
class Added:
    """The ids of a batch that were new, and how many records were known and at most gained their response."""

    new: frozenset[str]
    merged: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some reviews, the one that waits longest first; `next` is the `after` of the following page, None at the end."""

    items: list[StoredReview]
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a reviewer made of an answer: an action of promethios.data.feedback_records.ACTIONS, and what it changes."""

    action: str
    decision: str | None = None
    response: str | None = None


class ReviewStore:
    """The reviews in the database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._dialect = engine.dialect.name
        self._intake = Gathered(self._add_all)

    async def add(self, records: Sequence[Mapping[str, Any]]) -> Added:
        """Keep records of engines, all or none. A known id gains its response if it has none; nothing else changes.

        records: rows of the table without number, state and what a reviewer fills in (`records.row_of`).
        """
        return await self._intake.add(records)

    async def _add_all(self, batches: Sequence[Sequence[Mapping[str, Any]]]) -> list[Added]:
        """Keep several batches in one transaction; returns what became of each."""
        # in one order, so that two hubs with the same reviews do not wait for each other for ever
        rows = sorted(_merged([record for batch in batches for record in batch]).values(), key=itemgetter("id"))
        insert = (postgresql if self._dialect == "postgresql" else sqlite).insert(reviews)
        upsert = insert.on_conflict_do_update(
            index_elements=[reviews.c.id],
            set_={"response": insert.excluded.response},
            where=and_(
                reviews.c.response.is_(None),
                insert.excluded.response.is_not(None),
                reviews.c.forgotten.is_(False),
                reviews.c.tenant.is_not_distinct_from(insert.excluded.tenant),
            ),
        )
        async with self._engine.begin() as connection:
            ids = [row["id"] for row in rows]
            known = set(await connection.scalars(select(reviews.c.id).where(reviews.c.id.in_(ids))))
            await connection.execute(upsert, [{**row, **_NEW} for row in rows])
        added = []
        for batch in batches:
            new = frozenset(record["id"] for record in batch) - known
            known |= new
            added.append(Added(new=new, merged=len(batch) - len(new)))
        return added

    async def page(
        self,
        *,
        states: Sequence[State] = ("waiting", "assigned"),
        domain: str | None = None,
        reason: str | None = None,
        tenant: str | None = None,
        query: str = "",
        after: int = 0,
        limit: int = 50,
    ) -> Page:
        """Return reviews in the order of their arrival; done ones newest first. `query`: words of the question."""
        newest_first = tuple(states) == ("done",)
        wanted: list[ColumnElement[bool]] = [reviews.c.state.in_(states)]
        if domain is not None:
            wanted.append(reviews.c.domain == domain if domain else reviews.c.domain.is_(None))
        if reason is not None:
            wanted.append(reviews.c.reviewed_because == reason)
        if tenant is not None:
            wanted.append(reviews.c.tenant == tenant)
        if words := words_of(query):
            wanted.append(matching(self._dialect, words, every=True))
        if after:
            wanted.append(reviews.c.number < after if newest_first else reviews.c.number > after)
        order = reviews.c.number.desc() if newest_first else reviews.c.number
        limit = max(1, min(limit, MAX_PAGE))
        async with self._engine.connect() as connection:
            found = await connection.execute(select(reviews).where(*wanted).order_by(order).limit(limit + 1))
        items = [StoredReview(**row._mapping) for row in found]
        return Page(items[:limit], items[limit - 1].number if len(items) > limit else None)

    async def get(self, review_id: str) -> StoredReview:
        """Return a review. Raises RequestRefused (404)."""
        async with self._engine.connect() as connection:
            return await _get(connection, review_id)

    async def reply(self, review_id: str, tenant: str | None = None) -> Reply:
        """Return what a user may know of a review, of one tenant or of all; users ask often, so no more is read.

        Raises RequestRefused (404). An audit is one that is not there: clients must not tell audited answers apart.
        """
        columns = (reviews.c.id, reviews.c.state, reviews.c.final_decision, reviews.c.final_response)
        wanted = select(*columns).where(reviews.c.id == review_id, reviews.c.reviewed_because != "audit")
        if tenant is not None:
            wanted = wanted.where(reviews.c.tenant == tenant)
        async with self._engine.connect() as connection:
            row = (await connection.execute(wanted)).one_or_none()
        if row is None:
            raise _no_review(review_id)
        return Reply(row.id, row.state, row.final_decision, row.final_response)

    async def assign(self, review_id: str, reviewer: str, version: int) -> StoredReview:
        """Give an open review to a reviewer. Raises RequestRefused: 404, and 409 when it has changed since."""
        changed = {"state": "assigned", "reviewer": reviewer, "assigned_at": datetime.now(UTC)}
        return await self._change(review_id, version, changed)

    async def release(self, review_id: str, reviewer: str, version: int) -> StoredReview:
        """Put an assigned review back into the queue, whoever has it. Raises RequestRefused: 404, 409."""
        return await self._change(review_id, version, {"state": "waiting", "reviewer": None, "assigned_at": None})

    async def decide(self, review_id: str, decision: Decision, reviewer: str, version: int) -> StoredReview:
        """Settle an open review, and leave word for the webhook in the same transaction.

        Raises RequestRefused: 404; 409, also for approving a text that is not there; 400 for a decision that its
        action does not allow (ACTIONS).
        """
        async with self._engine.begin() as connection:
            review = await _get(connection, review_id)
            final_decision, final_response = _settled(review, decision)
            changed = {
                "state": "done",
                "reviewer": reviewer,
                "action": decision.action,
                "final_decision": final_decision,
                "final_response": final_response,
                "decided_at": datetime.now(UTC),
            }
            decided = await _changed(connection, review_id, version, changed)
            await webhooks.enqueue(connection, decided)
            return decided

    async def similar(self, review_id: str, *, tenant: str | None = None, limit: int = 5) -> list[StoredReview]:
        """Return settled reviews of alike questions, those of the same domain first; of one tenant, or of all."""
        review = await self.get(review_id)
        words = telling_words_of(review.question)
        if not words:
            return []
        same_domain = case((reviews.c.domain == review.domain, 0), else_=1)
        candidates = (
            select(reviews.c.number)
            .where(
                reviews.c.state == "done",
                reviews.c.forgotten.is_(False),
                reviews.c.id != review_id,
                true() if tenant is None else reviews.c.tenant == tenant,
                matching(self._dialect, words, every=False),
            )
            .order_by(reviews.c.number.desc())
            .limit(_SIMILAR_CANDIDATES)
        )
        ranked = (
            select(reviews)
            .where(reviews.c.number.in_(candidates.scalar_subquery()))
            .order_by(same_domain, relevance(self._dialect, words).desc(), reviews.c.number.desc())
            .limit(limit)
        )
        async with self._engine.connect() as connection:
            return [StoredReview(**row._mapping) for row in await connection.execute(ranked)]

    async def open_counts(self, tenant: str | None = None) -> tuple[int, int, float]:
        """Return how many reviews wait, how many are assigned, and the age of the oldest of both in seconds."""
        query = select(reviews.c.state, func.count(), func.min(reviews.c.arrived_at)).where(reviews.c.state != "done")
        if tenant is not None:
            query = query.where(reviews.c.tenant == tenant)
        async with self._engine.connect() as connection:
            found = {
                state: (count, oldest)
                for state, count, oldest in await connection.execute(query.group_by(reviews.c.state))
            }
        oldest = min((oldest for _, oldest in found.values()), default=None)
        age = 0.0 if oldest is None else (datetime.now(UTC) - oldest).total_seconds()
        return found.get("waiting", (0, None))[0], found.get("assigned", (0, None))[0], age

    async def _change(self, review_id: str, version: int, values: Mapping[str, Any]) -> StoredReview:
        async with self._engine.begin() as connection:
            return await _changed(connection, review_id, version, values)


_NEW: Final = {"state": "waiting", "version": 1, "forgotten": False}


def _merged(records: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return one record an id: a batch may hold an answer's first record and the one with its response."""
    merged: dict[str, Mapping[str, Any]] = {}
    for record in records:
        known = merged.setdefault(record["id"], record)
        if known["response"] is None and record["response"] is not None:
            merged[record["id"]] = {**known, "response": record["response"]}
    return merged


async def _get(connection: AsyncConnection, review_id: str) -> StoredReview:
    row = (await connection.execute(select(reviews).where(reviews.c.id == review_id))).one_or_none()
    if row is None:
        raise _no_review(review_id)
    return StoredReview(**row._mapping)


def _no_review(review_id: str) -> RequestRefused:
    return not_found(f"there is no review {review_id[:80]!r}")


async def _changed(
    connection: AsyncConnection, review_id: str, version: int, values: Mapping[str, Any]
) -> StoredReview:
    """Change an open review of a known version: the condition and the change are one statement."""
    statement = (
        update(reviews)
        .where(reviews.c.id == review_id, reviews.c.version == version, reviews.c.state != "done")
        .values(**values, version=version + 1)
    )
    if (await connection.execute(statement)).rowcount == 0:
        current = await _get(connection, review_id)
        if current.state == "done":
            raise conflict(f"review {review_id} was settled by {current.reviewer}; look at it again")
        raise conflict(f"review {review_id} has changed: it is at version {current.version}, not {version}")
    return await _get(connection, review_id)


def _settled(review: StoredReview, decision: Decision) -> tuple[str | None, str | None]:
    """Return the final decision and response, by the rules of ACTIONS. Raises RequestRefused (400, 409)."""
    action, response = decision.action, decision.response
    if action == "approve":
        allowed = decision.decision in (None, review.decision) and response in (None, review.response)
        settled: tuple[str | None, str | None] = review.decision, review.response
    elif action == "edit":
        allowed = decision.decision in (None, review.decision) and bool(response) and response != review.response
        settled = review.decision, response
    elif action == "override":
        allowed = decision.decision is not None and decision.decision != review.decision
        settled = decision.decision, response
    else:
        allowed = decision.decision is None and response is None
        settled = None, None
    if not allowed:
        raise bad_request(f"{action} means: {ACTIONS[action]}; the model's decision is {review.decision!r}", "action")
    if action == "approve" and review.response is None:
        raise conflict(
            f"review {review.id} has no text to approve: the answer has not arrived, or was cut short; look again, or"
            " choose edit, override or reject"
        )
    return settled
