from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from promethios.errors import ConfigError
from promethios.hub import main
from promethios_hub import metrics
from promethios_hub.__main__ import main as serve
from promethios_hub.app import create_app
from promethios_hub.settings import PREFIX, HubSettings

README = (Path(__file__).parents[2] / "serving" / "promethios_hub" / "README.md").read_text(encoding="utf-8")


def test_every_setting_is_documented_and_every_documented_one_exists() -> None:
    documented = set(re.findall(r"^\| `(PROMETHIOS_HUB_\w+)", README, re.MULTILINE))
    assert documented == {PREFIX + field.name.upper() for field in fields(HubSettings)}


def test_every_metric_is_documented_and_every_documented_one_exists() -> None:
    source = Path(metrics.__file__).read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(promethios_hub_\w+)", README, re.MULTILINE))
    assert documented == set(re.findall(r'"(promethios_hub_\w+)"', source))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PROMETHIOS_HUB_RETENTION_DAYS", "a week", "whole number"),
        ("PROMETHIOS_HUB_BODY_TIMEOUT_S", "0", "above 0"),
        ("PROMETHIOS_HUB_BODY_TIMEOUT_S", "soon", "above 0"),
        ("PROMETHIOS_HUB_REDACT", "perhaps", "0 or 1"),
        ("PROMETHIOS_HUB_WEBHOOK_URL", "example.com", "https://"),
        ("PROMETHIOS_HUB_WEBHOOK_SECRET", "whsec_QQ==", "PROMETHIOS_HUB_WEBHOOK_URL"),
        ("PROMETHIOS_HUB_RETENTION_DAY", "7", "did you mean PROMETHIOS_HUB_RETENTION_DAYS"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(name: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        HubSettings.from_environment({name: value})


def test_variables_of_kubernetes_and_of_engines_are_not_ours() -> None:
    environment = {"PROMETHIOS_HUB_PORT_8080_TCP": "tcp://10.0.0.1:8080", "PROMETHIOS_HUB_URL": "http://hub:8080"}
    assert HubSettings.from_environment(environment) == HubSettings()


def test_a_hub_without_keys_is_not_opened_to_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(["--host", "0.0.0.0"], {}) == 2
    assert "PROMETHIOS_HUB_ACCESS_FILE" in capsys.readouterr().err


def test_a_wrong_port_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "99999"]) == 2
    assert "--port 99999" in capsys.readouterr().err


def test_a_body_that_is_too_large_is_refused_by_the_hub_s_own_setting(tmp_path: Path) -> None:
    hub = TestClient(create_app(HubSettings(database_url=f"sqlite:///{tmp_path}/hub.db", max_body_bytes=10)))
    error = hub.post("/v1/reviews", content=b"x" * 11, headers={"host": "localhost"}).json()["error"]
    assert error["code"] == "request_too_large"
    (named,) = re.findall(r"PROMETHIOS_\w+", error["message"])
    assert HubSettings.from_environment({named: "10"}) == HubSettings(max_body_bytes=10)


def test_a_body_that_does_not_arrive_is_refused_by_the_hub_s_own_setting(tmp_path: Path) -> None:
    settings = HubSettings(database_url=f"sqlite:///{tmp_path}/hub.db", body_timeout_s=0.01)
    sent: list[Any] = []

    async def never() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "PUT",
        "path": "/v1/outcomes/x/resolved",
        "headers": [(b"host", b"localhost")],
        "query_string": b"",
    }
    asyncio.run(create_app(settings)(scope, never, send))
    assert sent[0]["status"] == 408
    (named,) = re.findall(r"PROMETHIOS_\w+", json.loads(sent[1]["body"])["error"]["message"])
    assert HubSettings.from_environment({named: "0.01"}) == HubSettings(body_timeout_s=0.01)


def test_a_database_of_a_newer_hub_ends_the_start_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promethios_hub.__main__._DATABASE_WAIT_S", 0.1)
    environment = {"PROMETHIOS_HUB_DATABASE_URL": f"sqlite:///{tmp_path}/hub.db"}
    assert serve(["migrate"], environment) == 0
    with sqlite3.connect(tmp_path / "hub.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    assert serve([], environment) == 2
    said = capsys.readouterr().err
    assert "newer hub" in said and "waiting" not in said
