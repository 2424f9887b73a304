from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from promethios_hub.app import create_app
from promethios_hub.settings import HubSettings
from promethios_serving.settings import Settings
from promethios_serving.wrapped.app import WrappedServer
from tests.serving.wrapped.servers import MockUpstream, chat, serving_app

ROUTE = "/v1/chat/completions"


@pytest.fixture
def real_hub(tmp_path: Path) -> Iterator[httpx.Client]:
    """The real hub on an SQLite file."""
    app = create_app(HubSettings(database_url=f"sqlite:///{tmp_path / 'hub.db'}"))
    with serving_app(app) as url, httpx.Client(base_url=url, timeout=20) as client:
        yield client


def until(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (result := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return result


def test_the_hub_shows_an_experiment_that_ran_here_and_its_reviews(
    real_hub: httpx.Client,
    upstream: MockUpstream,
    other_upstream: MockUpstream,
    telemetry_file: Path,
    tmp_path: Path,
) -> None:
    created = real_hub.post("/v1/experiments", json={"name": "ab", "control": "a", "arms": ["a", "b"]})
    assert created.status_code == 201, created.text
    path = tmp_path / "experiment.yaml"
    arms = f"a: {{weight: 1, upstream: '{upstream.url}'}}, b: {{weight: 1, upstream: '{other_upstream.url}'}}"
    path.write_text(f"name: ab\narms: {{{arms}}}\n", encoding="utf-8")
    settings = Settings(
        experiment_file=path,
        telemetry_file=telemetry_file,
        hub_url=str(real_hub.base_url),
        spool_dir=tmp_path / "spool",
        drain_file=tmp_path / "drain",
        audit_rate=1.0,
    )
    with serving_app(WrappedServer(settings)) as url, httpx.Client(base_url=url, timeout=20) as client:
        asked = (chat(governance={"subject": {"session": f"session-{i}"}}) for i in range(20))
        answers = [client.post(ROUTE, json=body).raise_for_status().json() for body in asked]
        reviews = until(lambda: len(data := real_hub.get("/v1/reviews").json()["data"]) == 20 and data)
        arms_shown = until(lambda: all_told(real_hub.get("/v1/experiments/ab").json()["report"]))
    for place, answer in enumerate(answers):
        said = real_hub.put(f"/v1/outcomes/{answer['governance']['id']}/resolved", json={"resolved": place < 7})
        assert said.status_code == 200, said.text
    assert sum(map(resolved_sessions, real_hub.get("/v1/experiments/ab").json()["report"])) == pytest.approx(7)
    assert {review["experiment"]["arm"] for review in reviews} == {"a", "b"}
    assert {arm["arm"] for arm in arms_shown} == {"a", "b"}
    assert not any((tmp_path / "spool").rglob("rejected/*"))


def resolved_sessions(arm: dict[str, Any]) -> float:
    (found,) = (each for each in arm["comparisons"] if each["metric"] == "resolved")
    return float(found["value"]["estimate"] * found["units"])


def all_told(report: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    return report if sum(arm["units"] for arm in report) == 20 else None
