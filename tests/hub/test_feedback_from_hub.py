from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from promethios.feedback import main
from tests.hub.conftest import key
from tests.hub.documents import review_record
from tests.hub.servers import HubProcess


def test_a_hubs_settled_reviews_become_a_feedback_folder(
    tmp_path: Path, access_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = HubProcess(
        {
            "PROMETHIOS_HUB_DATABASE_URL": f"sqlite:///{tmp_path / 'hub.db'}",
            "PROMETHIOS_HUB_ACCESS_FILE": str(access_file),
        },
        tmp_path / "hub.log",
    )
    hub.start()
    try:
        records = {"reviews": [review_record(number) for number in range(2)]}
        httpx.post(f"{hub.url}/v1/reviews", json=records, headers=key("engine")).raise_for_status()
        body = {"version": 1, "action": "edit", "response": "Better."}
        decide = f"{hub.url}/v1/reviews/gov-000000000000/decide"
        httpx.post(decide, json=body, headers=key("reviewer")).raise_for_status()
        export = ["export", "--hub", hub.url, "--output_dir", str(tmp_path / "feedback")]
        monkeypatch.setenv("PROMETHIOS_HUB_KEY", "key-reviewer")
        assert main(export) == 2
        assert "a key of scope admin" in capsys.readouterr().err
        monkeypatch.setenv("PROMETHIOS_HUB_KEY", "key-admin")
        assert main(export) == 0
        assert "1 records, 1 reviewed answers" in capsys.readouterr().out
    finally:
        hub.stop()
    assert main(export) == 2
    assert "does not answer" in capsys.readouterr().err
