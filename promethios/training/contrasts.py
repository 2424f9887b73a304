"""Pairs of requests whose decision hangs on one thing, a cue in the text or which reading is stale: both are taught.

Among examples drawn as they come such cases are few, and what decides them is one of many parts of a sum. Two requests
that differ in nothing else show it alone (counterfactually augmented data: Kaushik et al., ICLR 2020, arXiv 1909.12434;
contrast sets: Gardner et al., arXiv 2004.02709). They are chosen by what can be seen, so their posteriors stay exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from promethios.data.draws import uniforms
from promethios.data.example import Example
from promethios.model.encoding import PromptEncoder
from promethios.training.packing import Target, encode_targets


def draw_contrasts(
    encoder: PromptEncoder, pairs: Sequence[Example], *, num_tokens: float, sequence_length: int, seed: int
) -> list[Target]:
    """Return pairs without their responses, about `num_tokens` long in all, as far as there are any.

    pairs: examples of `train_contrasts`, both members of each, one after the other. The same for the same seed.
    """
    targets = encode_targets(encoder, pairs, sequence_length, response_share=0.0)
    members = list(zip(targets[::2], targets[1::2], strict=True))
    order = uniforms(1, len(members), "contrasts", seed)[0].argsort(kind="stable").tolist()
    ends = itertools.accumulate(first.num_tokens + second.num_tokens for first, second in (members[i] for i in order))
    taken = [index for index, end in zip(order, ends, strict=True) if end <= num_tokens]
    return [target for index in taken for target in members[index]]
