"""Ways to cheat, and how a dataset is kept from allowing them: near-duplicates across splits, and shortcut classifiers.

`promethios generate` refuses a dataset in which a prompt of training comes back, nearly word for word, in a split that
measures. What MinHash would estimate is computed exactly: a prefix filter (Chaudhuri et al. 2006, Bayardo et al. 2007)
leaves so few candidates that every one can be compared.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from promethios.data.example import Example
from promethios.errors import DatasetError

SHINGLE_WORDS: Final = 5
MAX_SIMILARITY: Final = 0.7
"""Jaccard similarity of two prompts' shingles from which on one repeats the other."""

TRAINING_SPLITS: Final = ("train", "train_pairs", "train_contrasts")

SHORTCUT_CEILINGS: Final = {"words": 0.80, "length": 0.74, "domain": 0.73, "template": 0.73}
"""Declared bounds: the accuracy on `test` that no classifier may exceed which sees only the words of the prompt (as a
bag), only its length, only its domain, only its surface template. A test of this repository fits each of them."""

Shingle = tuple[str, ...]

_WORD: Final = re.compile(r"[\w'-]+")


def check_no_repeats(examples: Mapping[str, Sequence[Example]]) -> None:
    """Raise DatasetError when a prompt of a training split stands nearly unchanged in another split.

    examples: of every split. Attacks are taken as a part of the prompt; the twins of a split are compared with none.
    """
    trained = [(example.id, example.prompt) for name in TRAINING_SPLITS for example in examples[name]]
    measured = [
        (example.id, example.prompt)
        for name, split in examples.items()
        if name not in TRAINING_SPLITS
        for example in split
    ]
    for first, second, similarity in near_duplicates([text for _, text in trained], [text for _, text in measured]):
        raise DatasetError(
            f"{trained[first][0]} and {measured[second][0]} are nearly the same prompt (Jaccard {similarity:.2f} of "
            f"{SHINGLE_WORDS}-word shingles, below {MAX_SIMILARITY} is allowed): {measured[second][1]!r:.100}; "
            "make their families, phrases or items differ"
        )


def near_duplicates(
    first: Sequence[str], second: Sequence[str], threshold: float = MAX_SIMILARITY
) -> Iterator[tuple[int, int, float]]:
    """Yield (index into first, index into second, Jaccard similarity) for every pair of texts at `threshold` or above.

    Two sets with Jaccard t or more share one of the n - ceil(t n) + 1 rarest members of either, so only those are
    indexed.
    """
    ids: dict[Shingle, int] = {}
    sets = [[{ids.setdefault(s, len(ids)) for s in _shingles(text)} for text in texts] for texts in (first, second)]
    counts = np.bincount([shingle for side in sets for shingles in side for shingle in shingles], minlength=len(ids))
    rarity = np.argsort(np.argsort(counts, kind="stable"), kind="stable").tolist()
    index: defaultdict[int, list[int]] = defaultdict(list)
    for i, shingles in enumerate(sets[0]):
        for place in _rarest(shingles, rarity, threshold):
            index[place].append(i)
    for j, shingles in enumerate(sets[1]):
        candidates = {i for place in _rarest(shingles, rarity, threshold) for i in index.get(place, ())}
        for i in sorted(candidates):
            shared = len(sets[0][i] & shingles)
            similarity = shared / (len(sets[0][i]) + len(shingles) - shared)
            if similarity >= threshold:
                yield i, j, similarity


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
