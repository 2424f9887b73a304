"""Ways to cheat, and how a dataset is kept from allowing them: near-duplicates across splits, and shortcut classifiers.

`promethios generate` refuses a dataset in which a prompt comes back, nearly word for word, in a split that has other
families or other items. What MinHash would estimate is computed exactly: a prefix filter (Chaudhuri et al. 2006,
Bayardo et al. 2007) leaves so few candidates that every one can be compared.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from promethios.data.example import Example
from promethios.data.splits import PLANS
from promethios.errors import DatasetError

SHINGLE_WORDS: Final = 5
MAX_SIMILARITY: Final = 0.7
"""Jaccard similarity of two prompts' shingles from which on one repeats the other."""

SHORTCUT_CEILINGS: Final = {"words": 0.80, "length": 0.74, "domain": 0.73, "template": 0.73}
"""Declared bounds: the accuracy on `test` that no classifier may exceed which sees only the words of the prompt (as a
bag), only its length, only its domain, only its surface template. A test of this repository fits each of them."""

Shingle = tuple[str, ...]
Place = tuple[int, int]

_WORD: Final = re.compile(r"[\w'-]+")


def check_no_repeats(examples: Mapping[str, Sequence[Example]]) -> None:
    """Raise DatasetError when a prompt stands nearly unchanged in two splits that have other families or other items.

    examples: by split. Attacks are taken as a part of the prompt. Splits of the same families and items may share a
    prompt: those of training, and the tests, each of which is measured alone.
    """
    apart: defaultdict[tuple[str, int | None], list[Example]] = defaultdict(list)
    for name, split in examples.items():
        apart[PLANS[name].use, PLANS[name].items].extend(split)
    parts = list(apart.values())
    for first, second, similarity in near_duplicates([[example.prompt for example in part] for part in parts]):
        known, repeated = (parts[part][index] for part, index in (first, second))
        raise DatasetError(
            f"{known.id} and {repeated.id} are nearly the same prompt (Jaccard {similarity:.2f} of "
            f"{SHINGLE_WORDS}-word shingles, below {MAX_SIMILARITY} is allowed): {repeated.prompt!r:.100}; "
            "make their families, phrases or items differ, or take another --seed"
        )


def near_duplicates(
    parts: Sequence[Sequence[str]], threshold: float = MAX_SIMILARITY
) -> Iterator[tuple[Place, Place, float]]:
    """Yield (place, place in a later part, Jaccard similarity) for every two texts at `threshold` or above.

    parts: of texts; those of one part are not compared with each other. A place is a part and an index into it. Two
    sets with Jaccard t or more share one of the n - ceil(t n) + 1 rarest members of either, so only those are indexed.
    """
    ids: dict[Shingle, int] = {}
    sets = [[{ids.setdefault(s, len(ids)) for s in _shingles(text)} for text in texts] for texts in parts]
    counts = np.bincount([shingle for part in sets for shingles in part for shingle in shingles], minlength=len(ids))
    rarity = np.argsort(np.argsort(counts, kind="stable"), kind="stable").tolist()
    index: defaultdict[int, list[Place]] = defaultdict(list)
    for number, part in enumerate(sets):
        rarest = [_rarest(shingles, rarity, threshold) for shingles in part]
        for j, shingles in enumerate(part):
            candidates = {place for rank in rarest[j] for place in index.get(rank, ())}
            for earlier, i in sorted(candidates):
                shared = len(sets[earlier][i] & shingles)
                similarity = shared / (len(sets[earlier][i]) + len(shingles) - shared)
                if similarity >= threshold:
                    yield (earlier, i), (number, j), similarity
        for j, ranks in enumerate(rarest):
            place = (number, j)
            for rank in ranks:
                index[rank].append(place)


def _shingles(text: str) -> Iterator[Shingle]:
    """Return every run of SHINGLE_WORDS words; of a shorter text, the whole."""
    words = _WORD.findall(text.lower())
    if len(words) < SHINGLE_WORDS:
        return iter([tuple(words)])
    return zip(*(words[start:] for start in range(SHINGLE_WORDS)), strict=False)


def _rarest(shingles: set[int], rarity: Sequence[int], threshold: float) -> list[int]:
    places = sorted(rarity[shingle] for shingle in shingles)
    # Rounded up with a little less than the threshold, so that the last bit of a product costs no pair.
    return places[: len(places) - math.ceil(threshold * len(places) - 1e-9) + 1]
