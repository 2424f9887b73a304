"""Requests in which words have been replaced by others at random: as little to be read as words that were never seen.

The phrases of a generated corpus are finite, and a model that knows them all is sure of itself about a text that it
cannot read. Where words are lost, what is still to be read and how much was lost decide: the true posterior stays the
label, and its mean over what the lost words may have been is what the loss then asks for. Replacing words at random is
an old regulariser (word dropout: Iyyer et al., ACL 2015).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from promethios.data.draws import uniforms
from promethios.model.encoding import PromptEncoder
from promethios.training.packing import Target

HIGHEST_RATE: Final = 0.5
"""Of a request's ids that are replaced, at most; each noisy request has a rate of its own, down to none."""


def add_noise(encoder: PromptEncoder, targets: Sequence[Target], *, share: float, seed: int) -> list[Target]:
    """Return the targets, a share of the examples with ids of their requests replaced by those of any, in twins alike.

    What is no text stays: marks of roles and turns, header, response. The same for the same seed.
    """
    marks = set(encoder.tokenizer.added_tokens_decoder)
    requests = (target.encoded.ids[: target.encoded.request_position] for target in targets)
    words = [index for request in requests for index in request if index not in marks]
    chances = uniforms(len(targets), 2, "noise", seed).tolist()
    result = list(targets)
    for index, (target, (chance, level)) in enumerate(zip(targets, chances, strict=True)):
        if target.values is None or chance >= share:
            continue
        length = target.encoded.request_position + 1
        lost, other = uniforms(2, length, "noise", seed, index).tolist()
        request = [
            words[int(other[place] * len(words))] if lost[place] < level * HIGHEST_RATE and old not in marks else old
            for place, old in enumerate(target.encoded.ids[:length])
        ]
        encoded = dataclasses.replace(target.encoded, ids=request + target.encoded.ids[length:])
        twin = target.twin and dataclasses.replace(target.twin, ids=request + target.twin.ids[length:])
        result[index] = dataclasses.replace(target, encoded=encoded, twin=twin)
    return result
