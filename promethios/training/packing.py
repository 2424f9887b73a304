"""Pack examples of different lengths into sequences of one length, so that little of a batch is padding.

Each example keeps its own positions, starting at 0; attention stays inside an example because the model reads restarts
of position_ids as boundaries. Packs are made once and never cross an example. An example and its counterfactual twin
are one item, so the two are always in the same batch, on the same rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import torch
from torch.utils.data import Dataset

from promethios.data.causes import EVIDENCE
from promethios.data.competence import Telemetry, levels_reached
from promethios.data.draws import uniforms
from promethios.data.example import Example
from promethios.errors import ConfigError
from promethios.model.encoding import EncodedExample, PromptEncoder
from promethios.model.governance_sentinel_8b import NUM_LEVELS, REQUEST_READINGS
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import SCORE_NAMES

Number = TypeVar("Number", int, float)

IGNORED = -100
RAISED: Final = "raised"
TWIN_KINDS: Final = (RAISED, "stale", "spoof", "bias")
"""What differs in a twin: a fresh competence reading is raised; a stale one has another value; the text has an attack;
another group is named. After the first, escalation must not rise; after the others it must not move."""


@dataclass(frozen=True, slots=True)
class Twin:
    """A counterfactual of an example: prompt and header only. kind: one of TWIN_KINDS."""

    ids: list[int]
    kind: str


UNKNOWN_REQUEST: Final = (math.nan,) * len(REQUEST_READINGS)


@dataclass(frozen=True, slots=True)
class Target:
    """What an example teaches at its decision position; see `target_vector` for the order.

    values: None when the example itself teaches nothing and only the comparison with its twin does. review_cost: of
    its domain, as a share of review and miss cost together. weight: of the example in the loss; 1 on average.
    domain_slot: the ontology's, for the domain probe; None when it teaches none. request_values: of REQUEST_READINGS.
    competence: P(competence reaches each of `promethios.data.competence.LEVELS`) given the telemetry alone; None when
    it teaches none.
    """

    encoded: EncodedExample
    values: list[float] | None
    review_cost: float = 0.5
    weight: float = 1.0
    twin: Twin | None = None
    domain_slot: int | None = None
    request_values: tuple[float, ...] = UNKNOWN_REQUEST
    competence: Sequence[float] | None = None

    @property
    def num_tokens(self) -> int:
        """Tokens that it takes in a sequence, with its twin."""
        return len(self.encoded.ids) + (len(self.twin.ids) if self.twin else 0)


def target_vector(example: Example) -> list[float]:
    """Return an example's 18 soft targets in SCORE_NAMES order, each in [0, 1]. Raises DatasetError without labels."""
    labels = example.labels()
    return [*labels.soft_label, labels.confidence, *labels.uncertainty, *labels.bias, float(labels.tool)]


def reviewed_vector(example: Example) -> list[float]:
    """Return the 18 targets of a reviewed answer: its decision; what no reviewer judges is NaN and is not taught."""
    return [*example.soft_label, *[math.nan] * (len(SCORE_NAMES) - len(example.soft_label))]


def request_vector(example: Example) -> tuple[float, ...]:
    """Return what the text alone shows, in REQUEST_READINGS order; NaN for what is not known of it."""
    values = (getattr(example, name) for name in REQUEST_READINGS)
    return tuple(math.nan if value is None else value for value in values)


def encode_targets(
    encoder: PromptEncoder,
    examples: Sequence[Example],
    sequence_length: int,
    review_weights: Sequence[float] | None = None,
    *,
    response_share: float = 1.0,
    self_question_share: float = 0.0,
) -> list[Target]:
    """Encode examples. Raises ConfigError naming one that is longer than a sequence.

    review_weights: the examples are reviewed answers, and these are their weights in the loss. Their domain may be what
    the probe guessed, so they do not teach it. response_share, self_question_share: of the examples, which hold their
    response and their self-questions; an example's id decides, the same in every run.
    """
    domains = load_ontology().domains
    review_costs = {name: domain.escalation_threshold for name, domain in domains.items()}
    most_careful = min(review_costs.values())
    taught = examples if review_weights is None else ()  # a reviewed answer tells its decision only
    reached = levels_reached(Telemetry.of([example.state for example in taught])).tolist()
    targets = []
    for index, example in enumerate(examples):
        asks = uniforms(1, 1, "self_questions", example.id).item() < self_question_share
        encoded = encoder.example(example, self_questions=asks)
        if uniforms(1, 1, "responses", example.id).item() >= response_share:
            encoded = encoded.without_response()
        if len(encoded.ids) > sequence_length:
            raise ConfigError(
                f"example {example.id} has {len(encoded.ids)} tokens, more than training.sequence_length"
                f" {sequence_length}; raise it"
            )
        review_cost = review_costs.get(example.domain or "", most_careful)
        if review_weights is None:
            domain = domains.get(example.domain or "")
            slot = None if domain is None else domain.slot
            targets.append(
                Target(
                    encoded,
                    target_vector(example),
                    review_cost,
                    domain_slot=slot,
                    request_values=request_vector(example),
                    competence=reached[index],
                )
            )
        else:
            targets.append(Target(encoded, reviewed_vector(example), review_cost, review_weights[index]))
    return targets


def pack(targets: Sequence[Target], sequence_length: int) -> list[list[Target]]:
    """Fill sequences by first-fit over examples in decreasing length; the same input gives the same packs."""
    order = sorted(range(len(targets)), key=lambda i: (-targets[i].num_tokens, i))
    packs: list[list[Target]] = []
    # Free space -> indices of packs that have exactly that much left; lengths are small integers.
    with_space: dict[int, list[int]] = {}
    for i in order:
        length = targets[i].num_tokens
        space = next((s for s in range(length, sequence_length + 1) if with_space.get(s)), None)
        if space is None:
            index, space = len(packs), sequence_length
            packs.append([])
        else:
            index = with_space[space].pop()
        packs[index].append(targets[i])
        with_space.setdefault(space - length, []).append(index)
    return packs


class PackedDataset(Dataset[list[Target]]):
    """Packs as a map-style dataset, one pack an item."""

    def __init__(self, targets: Sequence[Target], sequence_length: int) -> None:
        self.packs = pack(targets, sequence_length)
        self.num_tokens = sum(target.num_tokens for target in targets)
        self.num_predicted = sum(len(target.encoded.language_positions) for target in targets)

    def __len__(self) -> int:
        return len(self.packs)

    def __getitem__(self, index: int) -> list[Target]:
        return self.packs[index]


@dataclass(frozen=True, slots=True)
class PackCollator:
    """Turn packs into one batch of tensors.

    input_ids, position_ids: [batch, sequence_length]. logit_index [R]: flattened positions whose next id is part of a
    response or a self-question; labels [R]: those ids; label_weights [R]. score_index [N + M]: flattened decision
    positions, the N that are taught first; targets [N, 18], review_costs [N], weights [N]. pairs [P, 2]: rows of
    score_index of an example and of its twin; pair_kinds [P]: indices into TWIN_KINDS. request_index [Q]: flattened
    positions of the requests' last ids; domain_slots [Q]: of their domains, IGNORED where unknown; request_values
    [Q, 3]: in REQUEST_READINGS order, NaN where unknown. evidence_index [E]: flattened positions of the remarks' last
    ids; evidence [E]: what the remarks show, indices into EVIDENCE. telemetry_index [T]: flattened positions of the
    headers' last ids; competence [T, 5]: what the telemetry alone says there.
    """

    sequence_length: int
    pad_id: int

    def __call__(self, packs: Sequence[list[Target]]) -> dict[str, torch.Tensor]:
        """Return the batch."""
        rows = [_Row(row, index * self.sequence_length) for index, row in enumerate(packs)]
        labels = torch.tensor([self._padded(row.next_ids, IGNORED) for row in rows]).flatten()
        label_weights = torch.tensor([self._padded(row.next_weights, 0.0) for row in rows]).flatten()
        logit_index = (labels != IGNORED).nonzero().squeeze(1)
        members = [member for row in rows for member in row.members]
        requests = [place for row in rows for place in row.requests]
        evidence = [place for row in rows for place in row.evidence]
        taught = [(target, position) for target, position, _ in members if target.values is not None]
        read = [(target.competence, position) for target, position, _ in members if target.competence is not None]
        score_index = [position for _, position in taught]
        row_of = {position: row for row, position in enumerate(score_index)}
        pairs, kinds = [], []
        for target, position, twin_position in members:
            if target.twin is None:
                continue
            for place in (position, twin_position):
                if place not in row_of:
                    row_of[place] = len(score_index)
                    score_index.append(place)
            pairs.append((row_of[position], row_of[twin_position]))
            kinds.append(TWIN_KINDS.index(target.twin.kind))
        return {
            "input_ids": torch.tensor([self._padded(row.ids, self.pad_id) for row in rows]),
            "position_ids": torch.tensor(
                [row.positions + list(range(self.sequence_length - len(row.ids))) for row in rows]
            ),
            "logit_index": logit_index,
            "labels": labels[logit_index],
            "label_weights": label_weights[logit_index],
            "score_index": torch.tensor(score_index, dtype=torch.long),
            "targets": torch.tensor([target.values for target, _ in taught]).reshape(-1, len(SCORE_NAMES)),
            "review_costs": torch.tensor([target.review_cost for target, _ in taught]),
            "weights": torch.tensor([target.weight for target, _ in taught]),
            "pairs": torch.tensor(pairs, dtype=torch.long).reshape(-1, 2),
            "pair_kinds": torch.tensor(kinds, dtype=torch.long),
            "request_index": torch.tensor([position for _, position in requests], dtype=torch.long),
            "domain_slots": torch.tensor(
                [IGNORED if target.domain_slot is None else target.domain_slot for target, _ in requests],
                dtype=torch.long,
            ),
            "request_values": torch.tensor([target.request_values for target, _ in requests]).reshape(
                -1, len(REQUEST_READINGS)
            ),
            "evidence_index": torch.tensor([position for position, _ in evidence], dtype=torch.long),
            "evidence": torch.tensor([EVIDENCE.index(shows) for _, shows in evidence], dtype=torch.long),
            "telemetry_index": torch.tensor([position for _, position in read], dtype=torch.long),
            "competence": torch.tensor([competence for competence, _ in read]).reshape(-1, NUM_LEVELS),
        }

    def _padded(self, values: list[Number], padding: Number) -> list[Number]:
        return values + [padding] * (self.sequence_length - len(values))


class _Row:
    """One pack laid out: its ids and, for every target, where its decision and its twin's stand in the batch.

    requests: the targets that teach what their request's text shows, and where the request ends. evidence: where its
    remarks end, and what they show.
    """

    def __init__(self, targets: Sequence[Target], offset: int) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.next_ids: list[int] = []
        self.next_weights: list[float] = []
        self.members: list[tuple[Target, int, int]] = []
        self.requests: list[tuple[Target, int]] = []
        self.evidence: list[tuple[int, str]] = []
        for target in targets:
            encoded = target.encoded
            decision = offset + len(self.ids) + encoded.decision_position
            if target.domain_slot is not None or target.request_values is not UNKNOWN_REQUEST:
                self.requests.append((target, offset + len(self.ids) + encoded.request_position))
            self.evidence += [(offset + len(self.ids) + position, shows) for position, shows in encoded.evidence]
            self._append(encoded.ids, encoded.language_positions, target.weight)
            if target.twin is not None:
                self._append(target.twin.ids, (), 0.0)
            self.members.append((target, decision, offset + len(self.ids) - 1))

    def _append(self, ids: list[int], language_positions: Sequence[int], weight: float) -> None:
        self.ids += ids
        self.positions += range(len(ids))
        next_ids = [IGNORED] * len(ids)
        for position in language_positions:
            next_ids[position - 1] = ids[position]
        self.next_ids += next_ids
        self.next_weights += [weight] * len(next_ids)
