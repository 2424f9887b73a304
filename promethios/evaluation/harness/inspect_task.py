"""An Inspect AI task on our JSONL files: one decision per request, standard errors clustered by scenario family.

    inspect eval promethios/decision -T data=data/governance/test.jsonl --model openai-api/local/NAME --limit 100

The rule and the telemetry are put into words, so any chat model can be asked. A reply without one of the four words
counts as an escalation, the careful reading.
"""

from __future__ import annotations

from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser, GenerateConfig
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, grouped, scorer, stderr
from inspect_ai.solver import TaskState, generate

from promethios.data.example import Example, read_examples
from promethios.evaluation.chat_baseline import MAX_TOKENS, decision_in, question

UNREADABLE = "escalate"


@task
def decision(data: str = "data/governance/test.jsonl") -> Task:
    """Return the task on one of our JSONL files. Raises DatasetError naming file and line."""
    examples = read_examples(Path(data))
    scorers = [escalation()]
    if all(example.decision for example in examples):
        scorers.append(one_of_four())
    return Task(
        dataset=MemoryDataset([_sample(example) for example in examples], name=Path(data).stem, location=data),
        solver=generate(),
        scorer=scorers,
        config=GenerateConfig(temperature=0.0, max_tokens=MAX_TOKENS),
    )


@scorer(metrics=[accuracy(), stderr(cluster="family"), grouped(accuracy(), "domain", all=False)])
def escalation() -> Scorer:
    """Score whether the model hands over exactly where the expert did, in all and by domain."""

    async def score(state: TaskState, target: Target) -> Score:
        decided = decision_in(state.output.completion) or UNREADABLE
        return _score((decided == "escalate") == state.metadata["escalate"], decided, state)

    return score


@scorer(metrics=[accuracy(), stderr(cluster="family")])
def one_of_four() -> Scorer:
    """Score whether the model's decision is the right one of four."""

    async def score(state: TaskState, target: Target) -> Score:
        decided = decision_in(state.output.completion) or UNREADABLE
        return _score(decided == target.text, decided, state)

    return score


def _sample(example: Example) -> Sample:
    rule, conversation = question(example)
    messages: list[ChatMessage] = [
        ChatMessageSystem(content=rule["content"]),
        ChatMessageUser(content=conversation["content"]),
    ]
    return Sample(
        id=example.id,
        input=messages,
        target=example.decision or ("escalate" if example.truth else "answer"),
        metadata={
            "escalate": example.truth,
            "family": example.family or example.id,
            "domain": example.domain or "none",
        },
    )


def _score(is_right: bool, decided: str, state: TaskState) -> Score:
    return Score(value=CORRECT if is_right else INCORRECT, answer=decided, explanation=state.output.completion)
