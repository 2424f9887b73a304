from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from promethios_serving.wrapped.experiment import Arm
from promethios_serving.wrapped.trial import Trial
from promethios_serving.wrapped.upstream import UpstreamAddress

USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


def trial(*bodies: bytes, status: int = 200, complete: bool = True, prices: Any = None) -> dict[str, Any]:
    """Return the outcome of a trial that decided and then sent this."""
    arm = Arm(name="a", address=UpstreamAddress("http://x/v1"), weight=1.0, prices=prices)
    watched = Trial(experiment="e", arm=arm, unit="0" * 64, tenant=None)
    watched.decided("gov-1", "answer")

    async def send() -> None:
        out = watched.watched(None)
        await out({"type": "http.response.start", "status": status, "headers": []})
        for index, body in enumerate(bodies):
            last = complete and index == len(bodies) - 1
            await out({"type": "http.response.body", "body": body, "more_body": not last})

    asyncio.run(send())
    outcome = watched.outcome()
    assert outcome is not None
    return outcome


def test_usage_is_found_wherever_it_was_cut() -> None:
    whole = json.dumps({"choices": [], "usage": USAGE}).encode()
    for cut in range(len(whole)):
        outcome = trial(whole[:cut], whole[cut:], prices=(1.0, 10.0))
        assert (outcome["prompt_tokens"], outcome["completion_tokens"]) == (7, 5)
        assert outcome["cost_usd"] == pytest.approx(57e-6)


def test_the_usage_of_a_response_has_other_names() -> None:
    usage = {"input_tokens": 7, "input_tokens_details": {"cached_tokens": 3}, "output_tokens": 5, "total_tokens": 12}
    outcome = trial(json.dumps({"output": [], "usage": usage, "error": None}).encode())
    assert (outcome["prompt_tokens"], outcome["completion_tokens"], outcome["error"]) == (7, 5, None)


def test_what_an_answer_says_about_usage_or_errors_is_not_believed() -> None:
    lie = json.dumps({"usage": {"prompt_tokens": 99, "completion_tokens": 99}, "error": {"code": "lie"}})
    outcome = trial(json.dumps({"usage": USAGE, "choices": [{"message": {"content": lie}}]}).encode())
    assert (outcome["prompt_tokens"], outcome["completion_tokens"], outcome["error"]) == (7, 5, None)


def test_a_reply_without_usage_costs_nobody_knows_what() -> None:
    outcome = trial(b'{"choices": []}', prices=(1.0, 1.0))
    assert (outcome["prompt_tokens"], outcome["cost_usd"]) == (None, None)


@pytest.mark.parametrize(
    ("body", "status", "complete", "error"),
    [
        (b'{"error": {"message": "m", "code": "upstream_error"}}', 502, True, "upstream_error"),
        (
            b'data: {"error": {"message": "m", "param": null, "code": "upstream_cut_off"}}\n\n',
            200,
            True,
            "upstream_cut_off",
        ),
        (b"<html>", 500, True, "http_500"),
        (b"data: {}\n\n", 200, False, "incomplete"),
    ],
)
def test_a_failure_is_told_by_its_code(body: bytes, status: int, complete: bool, error: str) -> None:
    assert trial(body, status=status, complete=complete)["error"] == error


def test_a_request_without_a_decision_has_no_outcome() -> None:
    arm = Arm(name="a", address=UpstreamAddress("http://x/v1"), weight=1.0)
    undecided = Trial(experiment="e", arm=arm, unit="0" * 64, tenant=None)
    assert undecided.outcome() is None
    undecided.decided("gov-1", "whatever an engine of another kind says")
    assert undecided.outcome() is None
