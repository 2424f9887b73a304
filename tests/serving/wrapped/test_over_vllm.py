"""The real engine as a native arm of an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from promethios_serving.settings import Settings
from promethios_serving.wrapped.app import WrappedServer
from tests.serving.wrapped.servers import Hub, chat, serving_app

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("stream", [True, False])
def test_a_native_engine_decides_itself_and_its_outcome_is_told(
    server: Any, hub: Hub, telemetry_file: Path, tmp_path: Path, stream: bool
) -> None:
    path = tmp_path / "experiment.yaml"
    arm = f"{{weight: 1, native: true, upstream: '{server.url}/v1', model: promethios}}"
    path.write_text(f"name: x\narms: {{engine: {arm}}}\n", encoding="utf-8")
    settings = Settings(
        experiment_file=path,
        telemetry_file=telemetry_file,
        hub_url=hub.url,
        spool_dir=tmp_path / "spool",
        drain_file=tmp_path / "drain",
    )
    with serving_app(WrappedServer(settings)) as url:
        body = chat(stream=stream, max_tokens=8, governance={"domain": "legal"})
        response = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
        (outcome,) = hub.wait_for(1)
    assert response.status_code == 200, response.text
    assert '"domain": "legal"' in response.text
    assert '"scores"' in response.text  # only the engine has scores
    assert outcome["id"] == response.headers["x-promethios-decision-id"]
    assert outcome["decision"] == response.headers["x-promethios-decision"]
