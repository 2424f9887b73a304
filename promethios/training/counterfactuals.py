"""Twins of training examples: what must not change the decision, or only in one direction, when nothing else changes.

Twins of telemetry are made here; twins of text come from the split `train_pairs`. A twin is prompt and header, without
a response, and takes part in the losses on twins only. The same examples and seed give the same
twins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final

from promethios.data.competence import VIEWS
from promethios.data.draws import Picks, uniforms
from promethios.data.example import Example
from promethios.model.encoding import EncodedExample, PromptEncoder
from promethios.telemetry.state import CHANNEL_BY_NAME, NUMBER_STEPS, GovernanceState, Reading, stale_level
from promethios.training.packing import RAISED, Target, Twin

RAISE_STEPS: Final = (5, 15)
"""A number is raised by 0.05 to 0.15, a word by one. Further up, a reading that no other supports looks corrupted, and
the exact posterior itself is not monotone: it rises by more than 0.01 after 3 % of raises of any size, 2 % of these."""
_COLUMNS: Final = 2


def add_counterfactuals(
    encoder: PromptEncoder,
    examples: Sequence[Example],
    targets: Sequence[Target],
    pairs: Sequence[Example],
    *,
    share: float,
    sequence_length: int,
    seed: int,
) -> list[Target]:
    """Return the targets with twins that add about `share` of the targets' tokens.

    examples [n]: what the targets [n] were encoded from. pairs: examples of `train_pairs`, both members of each. Half
    of the tokens go to twins of text, as far as there are any, the rest to twins of telemetry. An example that has no
    room for a twin in a sequence gets none, nor does one with self-questions: its twin would differ in those too.
    """
    budget = share * sum(target.num_tokens for target in targets)
    of_text = list(_within(budget / 2, _text_targets(encoder, pairs, sequence_length, seed)))
    left = budget - sum(target.num_tokens for target in of_text)
    result = list(targets)
    order = uniforms(1, len(examples), "counterfactuals", seed, "order")[0].argsort(kind="stable").tolist()
    numbers = uniforms(len(examples), _COLUMNS, "counterfactuals", seed, "telemetry")
    for index in order:
        if left <= 0:
            break
        target = targets[index]
        if target.encoded.question_positions:
            continue
        twin = _telemetry_twin(encoder, examples[index], Picks(numbers[index].tolist()))
        if twin is not None and len(target.encoded.ids) + len(twin.ids) <= sequence_length:
            result[index] = dataclasses.replace(target, twin=twin)
            left -= len(twin.ids)
    return result + of_text


def counterfactual_state(state: GovernanceState, picks: Picks) -> tuple[GovernanceState, str] | None:
    """Return telemetry with one view of competence changed, and the kind of change; None when none can be.

    A stale view gets another value and keeps its age; without a stale one, a fresh one is raised. Three examples in
    ten have a stale view.
    """
    stale = [name for name in VIEWS if _level(state, name) > 0]
    fresh = [name for name in VIEWS if _level(state, name) == 0 and not _is_highest(getattr(state, name))]
    if stale:
        name = picks.of(stale)
        value, kind = _other(name, getattr(state, name), picks), "stale"
    elif fresh:
        name = picks.of(fresh)
        value, kind = _higher(name, getattr(state, name), picks), RAISED
    else:
        return None
    changed = Reading(value, getattr(state, name).age_s)
    return dataclasses.replace(state, **{name: changed}), kind


def _telemetry_twin(encoder: PromptEncoder, example: Example, picks: Picks) -> Twin | None:
    changed = counterfactual_state(example.state, picks) if example.state is not None else None
    if changed is None:
        return None
    state, kind = changed
    return Twin(encoder.example_prompt(dataclasses.replace(example, state=state)), kind)


def _level(state: GovernanceState, name: str) -> int:
    """Return a channel's stale level, -1 when it is missing."""
    reading: Reading | None = getattr(state, name)
    return -1 if reading is None else stale_level(CHANNEL_BY_NAME[name], reading)


def _is_highest(reading: Reading) -> bool:
    words = CHANNEL_BY_NAME["model"].values
    return reading.value == words[0] if isinstance(reading.value, str) else reading.value >= 1.0


def _higher(name: str, reading: Reading, picks: Picks) -> float | str:
    words = CHANNEL_BY_NAME[name].values
    if words:
        return words[words.index(str(reading.value)) - 1]  # words run from the best to the worst
    low, high = RAISE_STEPS
    return min(1.0, float(reading.value) + picks.of(range(low, high + 1)) / NUMBER_STEPS)


def _other(name: str, reading: Reading, picks: Picks) -> float | str:
    words = CHANNEL_BY_NAME[name].values
    if words:
        return picks.of([word for word in words if word != reading.value])
    return picks.of([step / NUMBER_STEPS for step in range(NUMBER_STEPS + 1) if step / NUMBER_STEPS != reading.value])


def _text_targets(
    encoder: PromptEncoder, pairs: Sequence[Example], sequence_length: int, seed: int
) -> Iterable[Target]:
    """Yield the pairs of text in an order of the seed, each as a target that teaches nothing but the comparison."""
    members: dict[str, dict[str, Example]] = {}
    for example in pairs:
        if example.pair is not None:
            members.setdefault(example.pair.id, {})[example.pair.member] = example
    complete = [pair for pair in members.values() if set(pair) == {"a", "b"}]
    for index in uniforms(1, len(complete), "counterfactuals", seed, "text")[0].argsort(kind="stable").tolist():
        first, second = complete[index]["a"], complete[index]["b"]
        ids, twin_ids = encoder.example_prompt(first), encoder.example_prompt(second)
        if first.pair is not None and len(ids) + len(twin_ids) <= sequence_length:
            yield Target(EncodedExample(ids, len(ids) - 1), None, twin=Twin(twin_ids, first.pair.kind))


def _within(budget: float, targets: Iterable[Target]) -> Iterable[Target]:
    for target in targets:
        if budget <= 0:
            return
        budget -= target.num_tokens
        yield target
