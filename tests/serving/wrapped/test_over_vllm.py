"""Wrapped mode in front of the real engine: as one of an experiment's native arms, and as any other server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from promethios_serving.settings import Settings
from promethios_serving.wrapped.app import WrappedServer
from tests.serving.wrapped.servers import chat, serving_app

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_the_engine_answers_through_it(
    server: Any, telemetry_file: Path, tmp_path: Path, native: bool, stream: bool
) -> None:
    path = tmp_path / "experiment.yaml"
    arm = f"{{weight: 1, native: {str(native).lower()}, upstream: '{server.url}/v1', model: promethios}}"
    path.write_text(f"name: x\narms: {{engine: {arm}}}\n", encoding="utf-8")
    settings = Settings(experiment_file=path, telemetry_file=telemetry_file, drain_file=tmp_path / "drain")
    with serving_app(WrappedServer(settings)) as url:
        body = chat(stream=stream, max_tokens=8, governance={"domain": "legal"})
        response = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
    assert response.status_code == 200, response.text
    assert response.headers.get_list("x-promethios-decision-id", split_commas=True)[0].startswith("gov-")
    assert len(response.headers.get_list("x-promethios-decision", split_commas=True)) == 1
    assert '"domain": "legal"' in response.text
    assert ('"scores"' in response.text) is native  # only the engine has scores
    assert ('"certified": false' in response.text) is not native
