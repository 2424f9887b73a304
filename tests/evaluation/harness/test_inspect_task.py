"""The Inspect task, run by Inspect itself with its offline model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration


def evaluate(data: Path, log_dir: Path, reply: Any) -> dict[str, dict[str, float]]:
    """Return scorer -> metric -> value when the model replies `reply(conversation)`."""
    from inspect_ai import eval as inspect_eval
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    from promethios.evaluation.harness.inspect_task import decision

    def output(messages: Any, tools: Any, tool_choice: Any, config: Any) -> ModelOutput:
        said = ModelOutput.from_content("mockllm", reply("\n".join(message.text for message in messages)))
        # Without it the mock counts tokens, with a vocabulary from the network.
        said.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return said

    model = get_model("mockllm/model", custom_outputs=output, memoize=False)
    (log,) = inspect_eval(decision(str(data)), model=model, log_dir=str(log_dir), display="none")
    assert log.status == "success" and log.results is not None
    assert log.eval.task == "promethios/decision"
    return {score.name: {name: metric.value for name, metric in score.metrics.items()} for score in log.results.scores}


def test_a_model_that_reads_the_telemetry_is_right_everywhere(questions: Path, tmp_path: Path) -> None:
    scores = evaluate(questions, tmp_path, lambda text: "Escalate." if "trust: 0.2" in text else "answer")
    assert scores["escalation"]["accuracy"] == scores["one_of_four"]["accuracy"] == 1.0
    assert scores["escalation"]["healthcare"] == scores["escalation"]["general"] == 1.0


def test_the_standard_error_is_clustered_by_family(questions: Path, tmp_path: Path) -> None:
    families = [f"May I take {index} tablets?" for index in range(0, 20, 5)]
    scores = evaluate(
        questions,
        tmp_path,
        # Everything wrong in one family of five, right in the others: four mistakes that are one.
        lambda text: (
            ("answer" if "trust: 0.2" in text else "escalate")
            if any(family in text for family in families)
            else ("escalate" if "trust: 0.2" in text else "answer")
        ),
    )
    unclustered = math.sqrt(0.8 * 0.2 / 19)
    assert scores["escalation"]["accuracy"] == pytest.approx(0.8)
    assert scores["escalation"]["stderr"] > 1.5 * unclustered


def test_a_reply_without_a_decision_counts_as_an_escalation(questions: Path, tmp_path: Path) -> None:
    scores = evaluate(questions, tmp_path, lambda text: "I am not sure.")
    assert scores["escalation"]["accuracy"] == pytest.approx(0.25)


def test_a_file_without_decisions_is_scored_on_handing_over_alone(questions: Path, tmp_path: Path) -> None:
    questions.write_text(questions.read_text().replace('"decision": "answer"', '"decision": null'))
    assert set(evaluate(questions, tmp_path, lambda text: "answer")) == {"escalation"}
