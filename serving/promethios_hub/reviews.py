"""Reviews: what engines hand over, what reviewers do with it. All SQL about reviews stands here and in search.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Date, String, and_, case, cast, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from promethios.data.feedback import ACTIONS
from promethios_hub import webhooks
from promethios_hub.intake import Gathered
from promethios_hub.refusals import bad_request, conflict, not_found
from promethios_hub.search import matching, relevance, telling_words_of, words_of
from promethios_hub.tables import reviews

State = Literal["waiting", "assigned", "done"]
STATES: Final = ("waiting", "assigned", "done")
MAX_PAGE: Final = 200
_SIMILAR_CANDIDATES: Final = 400
"""Of all that share a word with a question, only the newest so many are ranked: ranking 100,000 takes seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReview:
    """A review as it is kept. `messages` is empty and `response` None once its content was forgotten (retention).

    decision, probability, threshold, response: the model's. action, final_decision, final_response: the reviewer's.
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
class Added:
    """How many records of a batch were new, and how many were known and at most gained their response."""

    accepted: int
    merged: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some reviews, the one that waits longest first; `next` is the `after` of the following page, None at the end."""

    items: list[StoredReview]
    next: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a reviewer made of an answer: an action of promethios.data.feedback.ACTIONS, and what it changes."""

    action: str
    decision: str | None = None
    response: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day (UTC, ISO date): reviews that arrived, reviews that were decided."""

    date: str
    arrived: int
    done: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewStatistics:
    """The state of the review work.

    days: oldest first, without gaps. open_by_domain: domain -> open reviews. open_by_age: (label, count).
    agreement: model decision -> (approved or edited, decided). median_minutes: from arrival to decision, None if none.
    """

    days: list[Day]
    waiting: int
    assigned: int
    open_by_domain: dict[str, int]
    open_by_age: list[tuple[str, int]]
    agreement: dict[str, tuple[int, int]]
    median_minutes: float | None
    oldest_waiting_s: float | None


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
                reviews.c.response.is_(None), insert.excluded.response.is_not(None), reviews.c.forgotten.is_(False)
            ),
        )
        async with self._engine.begin() as connection:
            ids = [row["id"] for row in rows]
            known = set(await connection.scalars(select(reviews.c.id).where(reviews.c.id.in_(ids))))
            await connection.execute(upsert, [{**row, **_NEW} for row in rows])
        added = []
        for batch in batches:
            new = {record["id"] for record in batch} - known
            known |= new
            added.append(Added(accepted=len(new), merged=len(batch) - len(new)))
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

    async def assign(self, review_id: str, reviewer: str, version: int) -> StoredReview:
        """Give an open review to a reviewer. Raises RequestRefused: 404, and 409 when it has changed since."""
        changed = {"state": "assigned", "reviewer": reviewer, "assigned_at": datetime.now(UTC)}
        return await self._change(review_id, version, changed)

    async def release(self, review_id: str, reviewer: str, version: int) -> StoredReview:
        """Put an assigned review back into the queue, whoever has it. Raises RequestRefused: 404, 409."""
        return await self._change(review_id, version, {"state": "waiting", "reviewer": None, "assigned_at": None})

    async def decide(self, review_id: str, decision: Decision, reviewer: str, version: int) -> StoredReview:
        """Settle an open review, and leave word for the webhook in the same transaction.

        Raises RequestRefused: 404, 409, and 400 for a decision that its action does not allow (ACTIONS).
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

    async def similar(self, review_id: str, limit: int = 5) -> list[StoredReview]:
        """Return settled reviews of alike questions, those of the same domain first."""
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

    async def statistics(self, days: int = 14) -> ReviewStatistics:
        """Count the work of the last `days` days (UTC), today included."""
        now = datetime.now(UTC)
        first = (now - timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
        is_open = reviews.c.state != "done"
        async with self._engine.connect() as connection:

            async def counted(column: ColumnElement[Any], *wanted: ColumnElement[bool]) -> dict[Any, int]:
                query = select(column, func.count()).where(*wanted).group_by(column)
                return {row[0]: row[1] for row in await connection.execute(query)}

            arrived = await counted(self._date(reviews.c.arrived_at), reviews.c.arrived_at >= first)
            done = await counted(self._date(reviews.c.decided_at), reviews.c.decided_at >= first)
            states = await counted(reviews.c.state, is_open)
            domains = await counted(func.coalesce(reviews.c.domain, ""), is_open)
            ages = await counted(_age_label(now), is_open)
            decided = await connection.execute(
                select(reviews.c.decision, reviews.c.action, func.count())
                .where(reviews.c.decided_at >= first, reviews.c.state == "done")
                .group_by(reviews.c.decision, reviews.c.action)
            )
            agreement = _agreement([tuple(row) for row in decided])
            recent = await connection.execute(
                select(reviews.c.arrived_at, reviews.c.decided_at)
                .where(reviews.c.decided_at >= first)
                .order_by(reviews.c.decided_at.desc())
                .limit(2001)
            )
            minutes = sorted((end - start).total_seconds() / 60 for start, end in recent)
            oldest = (await connection.execute(select(func.min(reviews.c.arrived_at)).where(is_open))).scalar_one()
        dates = [(first + timedelta(days=day)).date().isoformat() for day in range(days)]
        return ReviewStatistics(
            days=[Day(date=date, arrived=arrived.get(date, 0), done=done.get(date, 0)) for date in dates],
            waiting=states.get("waiting", 0),
            assigned=states.get("assigned", 0),
            open_by_domain=dict(sorted(domains.items())),
            open_by_age=[(label, ages.get(label, 0)) for label, _ in _AGES] + [(_OLDER, ages.get(_OLDER, 0))],
            agreement=agreement,
            median_minutes=minutes[len(minutes) // 2] if minutes else None,
            oldest_waiting_s=None if oldest is None else (now - oldest).total_seconds(),
        )

    async def _change(self, review_id: str, version: int, values: Mapping[str, Any]) -> StoredReview:
        async with self._engine.begin() as connection:
            return await _changed(connection, review_id, version, values)

    def _date(self, column: ColumnElement[Any]) -> ColumnElement[str]:
        if self._dialect == "postgresql":
            return cast(cast(func.timezone("UTC", column), Date), String)  # faster than to_char
        return func.strftime("%Y-%m-%d", column)


_NEW: Final = {"state": "waiting", "version": 1, "forgotten": False}
_AGES: Final = (("under 10 min", 10), ("10 to 60 min", 60), ("1 to 8 h", 480), ("8 to 24 h", 1440))
_OLDER: Final = "over 24 h"


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
        raise not_found(f"there is no review {review_id[:80]!r}")
    return StoredReview(**row._mapping)


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
    """Return the final decision and response, by the rules of ACTIONS. Raises RequestRefused (400)."""
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
    return settled


def _age_label(now: datetime) -> ColumnElement[str]:
    whens = [(reviews.c.arrived_at > now - timedelta(minutes=minutes), label) for label, minutes in _AGES]
    return case(*whens, else_=_OLDER)


def _agreement(counts: Sequence[tuple[Any, ...]]) -> dict[str, tuple[int, int]]:
    agreement: dict[str, tuple[int, int]] = {}
    for decision, action, count in counts:
        agreed, total = agreement.get(decision, (0, 0))
        agreement[decision] = (agreed + (count if action in ("approve", "edit") else 0), total + count)
    return agreement
