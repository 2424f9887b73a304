"""Full-text search over the users' questions: PostgreSQL's text search or SQLite's FTS5, without stemming.

Questions come in any language, so words are compared as they are written, in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, column, func, literal_column, select, table

from promethios_hub.tables import reviews

MAX_WORDS: Final = 16
_WORD: Final = re.compile(r"\w{1,40}")
_SHORTEST: Final = 3
"""Characters of a word that says what a question is about."""
_VECTOR: Final[ColumnElement[Any]] = literal_column("to_tsvector('simple', reviews.question)")
"""Literally as in the index's definition, else PostgreSQL does not use the index."""
_FTS: Final = table("review_questions", column("rowid"), column("rank"))


def words_of(text: str) -> list[str]:
    """Return the words to search for: each once, the first MAX_WORDS."""
    return list(dict.fromkeys(_WORD.findall(text.lower())))[:MAX_WORDS]


def telling_words_of(question: str) -> list[str]:
    """Return the words by which alike questions are found."""
    return words_of(" ".join(word for word in _WORD.findall(question) if len(word) >= _SHORTEST))


def matching(dialect: str, words: Sequence[str], *, every: bool) -> ColumnElement[bool]:
    """Return the condition that a review's question has every one, or any one, of the words."""
    if dialect == "postgresql":
        return _VECTOR.bool_op("@@")(_pg_query(words, every))
    found = select(_FTS.c.rowid).where(literal_column("review_questions").op("MATCH")(_fts_query(words, every)))
    return reviews.c.number.in_(found.scalar_subquery())


def relevance(dialect: str, words: Sequence[str]) -> ColumnElement[Any]:
    """Return how well a question matches, more is better; to order by together with `matching`."""
    if dialect == "postgresql":
        return func.ts_rank(_VECTOR, _pg_query(words, every=False))
    ranks = select(-_FTS.c.rank).where(
        literal_column("review_questions").op("MATCH")(_fts_query(words, every=False)),
        _FTS.c.rowid == reviews.c.number,
    )
    return ranks.correlate(reviews).scalar_subquery()


def _pg_query(words: Sequence[str], every: bool) -> ColumnElement[Any]:
    # quoted, so that no word is taken for an operator
    return func.to_tsquery(literal_column("'simple'"), (" & " if every else " | ").join(f"'{word}'" for word in words))


def _fts_query(words: Sequence[str], every: bool) -> str:
    return (" AND " if every else " OR ").join(f'"{word}"' for word in words)
