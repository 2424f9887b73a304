"""Training responses in other words, by any model behind an OpenAI-compatible URL. Labels and prompts stay as they are.

A paraphrase stands in for its original only when it passes what generated responses pass (`ParaphraseChecker`);
otherwise the original stays, and the dataset card says how often and why. Every reply is kept as a file named by the
hash of what it answers, accepted or not: with that cache a dataset is built again without a network, byte for byte.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Final

from tqdm import tqdm

from promethios.data.chat_endpoint import ChatEndpoint
from promethios.data.example import Example
from promethios.data.responses import MAX_WORDS, MIN_WORDS
from promethios.errors import DatasetError
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry.header import DECISIONS
from promethios.telemetry.state import CHANNELS

DEFAULT_CACHE_DIR: Final = Path("data/paraphrases")
CONCURRENCY: Final = 8
"""Requests under way at a time."""
INSTRUCTION_VERSION: Final = 1
"""Part of a reply's key: raise it with any change of what is asked."""
MIN_KEPT_WORDS: Final = 0.3
"""Share of the original's longer words that have to come back: a paraphrase is about the same thing."""

_INSTRUCTION: Final = """\
Rewrite the assistant's message below in other words, as a friendly professional would say it in plain English.
Keep everything that it says and add nothing: no fact, no promise, no example. Keep the names of things and people.
{decision}
Write one paragraph of {low} to {high} words in complete sentences. Use no digits, no percentages, no lists and no
special characters. Never speak of scores, metrics, thresholds or telemetry. Reply with the new message only."""
_OF_DECISION: Final = {
    "answer": "It answers the request: keep its advice, and ask no question.",
    "caveat": "It answers and says where that may not hold: keep both parts, and ask no question.",
    "clarify": "It asks the user one question: keep that question, with its question mark.",
    "escalate": "It hands the request to an expert: keep who that is, word for word, and ask no question.",
}

_RAW: Final = re.compile(
    r"\d|%|\b(?:telemetry|attest\w*|verif\w*|thresholds?|probabilit\w*|metrics?|intensity|scores?)\b", re.IGNORECASE
)
_CHANNEL_WORD: Final = re.compile(r"\b(?:" + "|".join(word for channel in CHANNELS for word in channel.values) + r")\b")
_UNCLEAN: Final = re.compile(r"[^ -~]|[<>{}|*#_`\\]")
_SLIP: Final = re.compile(r"\b(?:my|our|ours|mine|(?:paraphras|rephras|rewrit|reword)\w*)\b", re.IGNORECASE)
"""Whose things they are got mixed up, or the model speaks of its task."""
_THOUGHT: Final = re.compile(r"<think>.*?</think>", re.DOTALL)
_TYPOGRAPHIC: Final = str.maketrans({
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2026": "...",
})  # fmt: skip
_WORD: Final = re.compile(r"[a-z]+(?:'[a-z]+)?")
_LONG: Final = 5


@dataclass(frozen=True, slots=True)
class Paraphrased:
    """What became of the training responses. kept: why originals stayed, to how many."""

    model: str
    num_responses: int
    kept: Mapping[str, int]

    @property
    def num_paraphrased(self) -> int:
        """Responses that are in other words now."""
        return self.num_responses - sum(self.kept.values())


def paraphrase_responses(
    examples: Sequence[Example], model: str, cache_dir: Path, endpoint: ChatEndpoint | None
) -> tuple[list[Example], Paraphrased]:
    """Return the examples with paraphrased responses where a good one was found, and the counts.

    model: whose replies to use. endpoint: where to ask for those that are not in the cache; None when all should be.
    Raises DatasetError when one is missing and cannot be had; what came before is in the cache.
    """
    cache = _Cache(cache_dir, model)
    wanted = [_Wanted(example.response, str(example.decision)) for example in examples]
    distinct = list(dict.fromkeys(wanted))
    missing = [item for item in distinct if cache.get(item) is None]
    if missing and endpoint is None:
        raise DatasetError(
            f"{len(missing)} of {len(distinct)} replies of {model!r} are not in {cache_dir}; "
            "give --paraphrase_url to ask for them"
        )
    if missing and endpoint is not None:
        _fetch(missing, endpoint, cache)
    checker = ParaphraseChecker(examples)
    result, kept = [], Counter[str]()
    for example, item in zip(examples, wanted, strict=True):
        text = tidied(cache.get(item) or "")
        problem = checker.problem(example, text)
        if problem:
            kept[problem] += 1
            result.append(example)
        else:
            response = {"role": "assistant", "content": text}
            result.append(dataclasses.replace(example, messages=(*example.request, response)))
    return result, Paraphrased(model, len(examples), dict(sorted(kept.items())))


def tidied(reply: str) -> str:
    """Return a reply on one line, without the model's thinking, quotes around it and typographic signs."""
    text = " ".join(_THOUGHT.sub("", reply).translate(_TYPOGRAPHIC).split())
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


class ParaphraseChecker:
    """Tells what is wrong with a paraphrase of one of the examples' responses.

    examples: whose responses, with their decisions, teach how each decision sounds.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self._ontology = load_ontology()
        self._recogniser = DecisionRecogniser((example.response, str(example.decision)) for example in examples)

    def problem(self, example: Example, text: str) -> str | None:
        """Return the first thing that is wrong with `text` as a response of the example, in a word; None when good."""
        return next((name for name, is_wrong in self._problems(example, text) if is_wrong), None)

    def _problems(self, example: Example, text: str) -> Iterator[tuple[str, bool]]:
        decision, original = str(example.decision), example.response
        length, before = len(text.split()), len(original.split())
        yield "raw metric", _adds(_RAW, original, text) or _adds(_CHANNEL_WORD, original, text)
        yield "length", not min(MIN_WORDS, before) <= length <= max(MAX_WORDS, before)
        yield (
            "form",
            bool(_UNCLEAN.search(text))
            or _adds(_SLIP, original, text)
            or not (text[0].isupper() and text[-1] in ".?!"),
        )
        checks = self._ontology.domain_checks(str(example.domain), decision)
        yield "ontology check", not all(check.passes(text) for check in checks)
        yield "subject", _kept_words(original, text) < MIN_KEPT_WORDS
        expert = self._ontology.domain(str(example.domain)).expert
        as_decided = ("?" in text) == (decision == "clarify") and (decision != "escalate" or expert in text)
        yield "decision", not as_decided or self._recogniser.decision(text) != decision


class DecisionRecogniser:
    """Multinomial naive Bayes with equal priors over words and pairs of words; needs nothing but the base install.

    responses: texts with their decisions.
    """

    def __init__(self, responses: Iterable[tuple[str, str]]) -> None:
        counts: dict[str, Counter[str]] = {}
        for text, decision in responses:
            counts.setdefault(decision, Counter()).update(_features(text))
        self._counts = {name: counts[name] for name in sorted(counts, key=DECISIONS.index)}
        self._vocabulary = frozenset().union(*self._counts.values())
        self._totals = {name: sum(of_name.values()) + len(self._vocabulary) for name, of_name in self._counts.items()}

    def decision(self, text: str) -> str:
        """Return the decision that a text sounds like."""
        features = [feature for feature in _features(text) if feature in self._vocabulary]
        return max(self._counts, key=lambda name: self._log_likelihood(name, features))

    def _log_likelihood(self, name: str, features: Sequence[str]) -> float:
        counts, total = self._counts[name], self._totals[name]
        return sum(math.log((counts[feature] + 1) / total) for feature in features)


def _features(text: str) -> list[str]:
    words = _WORD.findall(text.lower())
    return [*words, *(f"{first} {second}" for first, second in itertools.pairwise(words))]


def _adds(pattern: re.Pattern[str], original: str, text: str) -> bool:
    """True for a match that the original does not have: a credit score may be spoken of where it was before."""
    before, after = ({match.lower() for match in pattern.findall(t)} for t in (original, text))
    return not after <= before


def _kept_words(original: str, text: str) -> float:
    """Return the share of the original's long words that come back, by how they begin; 1 without any."""
    before, after = ({w[:_LONG] for w in _WORD.findall(t.lower()) if len(w) >= _LONG} for t in (original, text))
    return len(before & after) / len(before) if before else 1.0


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked of the model."""

    original: str
    decision: str

    def messages(self) -> list[dict[str, str]]:
        instruction = _INSTRUCTION.format(decision=_OF_DECISION[self.decision], low=MIN_WORDS, high=MAX_WORDS)
        return [{"role": "system", "content": instruction}, {"role": "user", "content": self.original}]


class _Cache:
    """Replies of one model as files, one each; a reply is there whole or not at all."""

    def __init__(self, folder: Path, model: str) -> None:
        self._folder = folder
        self._model = model
        self._known: dict[_Wanted, str] = {}

    def get(self, item: _Wanted) -> str | None:
        """Return the reply, None when there is none. Raises DatasetError for a damaged file."""
        if item not in self._known:
            path = self._path(item)
            try:
                reply = json.loads(path.read_text(encoding="utf-8"))["reply"]
            except FileNotFoundError:
                return None
            except (OSError, ValueError, LookupError, TypeError):
                raise DatasetError(f"{path}: no reply can be read from it; remove the file and run again") from None
            self._known[item] = str(reply)
        return self._known[item]

    def put(self, item: _Wanted, reply: str) -> None:
        """Keep a reply. Raises DatasetError when it cannot be written."""
        path = self._path(item)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps({**self._key(item), "reply": reply}, indent=1) + "\n", encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise DatasetError(f"{self._folder}: a reply cannot be kept: {error.strerror or error}") from None

    def _path(self, item: _Wanted) -> Path:
        digest = hashlib.sha256(json.dumps(self._key(item), sort_keys=True).encode()).hexdigest()
        return self._folder / f"{digest}.json"

    def _key(self, item: _Wanted) -> dict[str, object]:
        return {"model": self._model, "instruction_version": INSTRUCTION_VERSION, **dataclasses.asdict(item)}


def _fetch(missing: Sequence[_Wanted], endpoint: ChatEndpoint, cache: _Cache) -> None:
    """Ask for every reply, CONCURRENCY at a time, and keep each as it comes. Raises DatasetError at the first failure.

    The pool's threads are daemons: Ctrl-C need not wait for requests under way.
    """

    def ask(item: _Wanted) -> None:
        if not endpoint.stopped.is_set():
            cache.put(item, endpoint.ask(item.messages()))

    shown = sys.stderr.isatty()
    if not shown:
        sys.stderr.write(f"asking {endpoint.model} for {len(missing)} paraphrases\n")
    with ThreadPool(CONCURRENCY) as pool, tqdm(total=len(missing), unit=" paraphrases", disable=not shown) as bar:
        try:
            for _ in pool.imap_unordered(ask, missing):
                bar.update()
        finally:
            endpoint.stopped.set()
