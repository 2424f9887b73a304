"""Whatever the OpenAPI document allows, and much that it does not, gets an answer that the document describes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis

from promethios_hub.app import create_app
from promethios_hub.settings import HubSettings
from tests.hub.servers import HubProcess
from tests.openapi_fuzzing import CHECKS, fuzzing

random.seed(0)
schema = schemathesis.openapi.from_dict(create_app(HubSettings()).openapi())


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    folder: Path = tmp_path_factory.mktemp("hub")
    process = HubProcess({"PROMETHIOS_HUB_DATABASE_URL": f"sqlite:///{folder / 'hub.db'}"}, folder / "hub.log")
    process.start()
    yield process
    process.stop()
    assert "Traceback" not in process.log()


@schema.parametrize()
@fuzzing(25)
def test_every_answer_is_one_that_the_document_describes(case: Any, hub: HubProcess) -> None:
    if str((case.query or {}).get("wait_s", "")).isdecimal():
        case.query["wait_s"] = 0  # nobody will decide
    response = case.call(base_url=hub.url)
    case.validate_response(response, checks=CHECKS)
