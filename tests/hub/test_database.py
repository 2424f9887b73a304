from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import StatementError

from promethios.errors import ConfigError, ServingError
from promethios_hub.database import database_url as parsed_url
from promethios_hub.database import migrate, migration_settings, open_database
from promethios_hub.records import Record
from promethios_hub.reviews import ReviewStore, StoredReview
from promethios_hub.tables import METADATA, reviews
from tests.hub.documents import review_record

OF_THE_SEARCH = ("review_questions", "reviews_by_question")


def test_the_migrations_lead_to_the_tables_of_the_code(database_url: str) -> None:
    def differences(connection: Connection) -> list[tuple[object, ...]]:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, *_: not str(name).startswith(OF_THE_SEARCH)}
        )
        found = [change for entry in compare_metadata(context, METADATA) for change in _changes(entry)]
        return [change for change in found if change[0] != "modify_comment"]  # comments are for readers of tables.py

    async def compare() -> list[tuple[object, ...]]:
        engine = open_database(parsed_url(database_url))
        await migrate(engine)
        async with engine.connect() as connection:
            found = await connection.run_sync(differences)
        await engine.dispose()
        return found

    assert asyncio.run(compare()) == []


def test_what_an_older_hub_kept_is_still_there(database_url: str) -> None:
    def as_of_the_first_version(connection: Connection) -> None:
        command.upgrade(migration_settings(connection), "0001")
        row = Record.model_validate(review_record(0)).row(redact=False)
        del row["principles"]
        connection.execute(reviews.insert().values(**row, state="waiting", version=1, forgotten=False))

    async def upgraded() -> StoredReview:
        engine = open_database(parsed_url(database_url))
        async with engine.begin() as connection:
            await connection.run_sync(as_of_the_first_version)
        await migrate(engine)
        review = await ReviewStore(engine).get(review_record(0)["id"])
        await engine.dispose()
        return review

    review = asyncio.run(upgraded())
    assert review.question.startswith("Question 0") and review.principles is None


def test_hubs_that_start_at_once_migrate_once(database_url: str) -> None:
    async def start_several() -> None:
        engines = [open_database(parsed_url(database_url)) for _ in range(4)]
        # on SQLite one hub is all there is
        for engine in engines if database_url.startswith("sqlite") else ():
            await migrate(engine)
        if not database_url.startswith("sqlite"):
            await asyncio.gather(*(migrate(engine) for engine in engines))
        for engine in engines:
            await engine.dispose()

    asyncio.run(start_several())


def _changes(entry: object) -> list[tuple[object, ...]]:
    return entry if isinstance(entry, list) else [entry]  # type: ignore[list-item]


def test_a_database_of_a_newer_hub_ends_the_start_with_what_to_do(database_url: str) -> None:
    async def of_a_newer_hub() -> None:
        engine = open_database(parsed_url(database_url))
        await migrate(engine)
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        try:
            await migrate(engine)
        finally:
            await engine.dispose()

    with pytest.raises(ServingError, match=r"newer hub.*9999.*run that version"):
        asyncio.run(of_a_newer_hub())


@pytest.mark.parametrize("url", ["mysql://hub@db/hub", "nothing", ""])
def test_a_database_that_is_not_supported_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigError, match="postgresql"):
        parsed_url(url)


def test_a_database_that_does_not_answer_ends_the_start_without_telling_the_password() -> None:
    engine = open_database(parsed_url("postgresql://hub:secret@127.0.0.1:1/hub"))
    with pytest.raises(ServingError) as raised:
        asyncio.run(migrate(engine))
    assert "127.0.0.1" in str(raised.value) and "secret" not in str(raised.value)


def test_an_error_of_the_database_quotes_no_word_of_a_review(database_url: str) -> None:
    async def store_what_cannot_be() -> None:
        engine = open_database(parsed_url(database_url))
        await migrate(engine)
        row = Record.model_validate(review_record(0)).row(redact=False)
        row["asked_at"] = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))
        try:
            await ReviewStore(engine).add([row])
        finally:
            await engine.dispose()

    with pytest.raises(StatementError) as raised:
        asyncio.run(store_what_cannot_be())
    assert "Please say" not in str(raised.value), "the end of the question"
