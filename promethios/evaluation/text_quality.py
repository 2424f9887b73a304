"""Text quality of generated responses: no raw metric, readable English, fitting the decision, checks kept.

    leak       a raw metric stands in the text (`raw_metrics`)
    loops      one 4-gram stands there LOOP_COUNT times or more, or more than MAX_REPEATED of them repeat an earlier one
    readable   at least MIN_WORDS words, MIN_KNOWN_WORDS of them known from the dataset (a request's topic may be new
               to the training split), no loop, a proper end
    fits       a classifier of decisions, TF-IDF and logistic regression fitted on the training responses, recognises
               the decision that the response was given under
    checks     every check of the domain's norms for that decision passes
    precedence where two of the request's norms conflict and the prevailing one has checks for the decision of an
               ideal reader: the response keeps these, whatever was decided

Besides, whether the words are as sure as the numbers (linguistic calibration): how sure a response sounds is what the
same classifier makes of its text alone, 1 for an answer, 1/2 for a caveat or a question, 0 for a hand-over;
`expressed_confidence` is Spearman's rank correlation of that with 1 - P(escalate), `decision_f1` the macro F1 of the
recognised decisions.

Each share comes with its 95 % Wilson interval. The same rules are applied to the reference responses of the test split:
no model is asked for more than they reach.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import stats
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import Pipeline, make_pipeline

from promethios.data.example import Example
from promethios.evaluation.intervals import Estimate, wilson_interval
from promethios.evaluation.raw_metrics import raw_metrics
from promethios.ontology.governance_ontology import Ontology, load_ontology
from promethios.telemetry.header import DECISIONS
from promethios.telemetry.tags import render

MIN_WORDS: Final = 4
MIN_KNOWN_WORDS: Final = 0.95
MAX_REPEATED: Final = 0.2
LOOP_COUNT: Final = 3
NGRAM: Final = 4
CLASSIFIER_EXAMPLES: Final = 4000
"""Training responses that the classifier of decisions is fitted on; more do not change it."""

_SURE: Final = {"answer": 1.0, "caveat": 0.5, "clarify": 0.5, "escalate": 0.0}
_WORD: Final = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_PROPER_END: Final = re.compile(r"[.!?\u2026][\"'\u201d\u2019)\]]*$")


@dataclass(frozen=True, slots=True)
class JudgedResponse:
    """A response, the decision that it was given under, and what is to be said about it.

    probability: of escalation, as it was when the response was given; None for the dataset's own. leaks: raw metrics as
    they stand in the text. loops: it says the same again and again. recognised: the decision that its text speaks of.
    sounds_sure: from 0 to 1, of its text alone. failed_checks: ids. keeps_precedence: None where no two norms conflict.
    """

    example: Example
    decision: str
    response: str
    leaks: tuple[str, ...]
    loops: bool
    readable: bool
    recognised: str
    sounds_sure: float
    failed_checks: tuple[str, ...]
    keeps_precedence: bool | None
    probability: float | None = None

    @property
    def fits(self) -> bool:
        """True when it is recognised as its decision."""
        return self.recognised == self.decision

    def to_json(self) -> dict[str, Any]:
        """Return plain data for the report."""
        return {
            "id": self.example.id,
            "domain": self.example.domain,
            "telemetry": render(self.example.state) if self.example.state else "",
            "prompt": self.example.prompt,
            "decision": self.decision,
            "response": self.response,
            "leaks": list(self.leaks),
            "loops": self.loops,
            "readable": self.readable,
            "fits": self.fits,
            "failed_checks": list(self.failed_checks),
        }


class ResponseJudge:
    """Judges responses by the rules above; holds the dataset's words and the classifier of decisions.

    train: what the classifier is fitted on. evaluated: the other examples whose words count as known.
    """

    def __init__(self, train: Sequence[Example], evaluated: Sequence[Example]) -> None:
        texts = (message["content"] for example in (*train, *evaluated) for message in example.messages)
        self._vocabulary = {word for text in texts for word in words(text)}
        sample = train[:CLASSIFIER_EXAMPLES]
        self._classifier: Pipeline = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), LogisticRegression(C=10.0, max_iter=1000)
        ).fit([example.response for example in sample], [example.decision for example in sample])

    def judge(
        self,
        examples: Sequence[Example],
        decisions: Sequence[str],
        responses: Sequence[str],
        probabilities: Sequence[float] | None = None,
    ) -> list[JudgedResponse]:
        """Judge one response for each example, given under a decision and a probability of escalation."""
        if not examples:
            return []
        ontology = load_ontology()
        seen_as = self._classifier.predict_proba(responses)
        names: list[str] = self._classifier.classes_.tolist()
        recognised = [names[index] for index in seen_as.argmax(axis=1)]
        sounds_sure = seen_as @ [_SURE[name] for name in names]
        return [
            JudgedResponse(
                example=example,
                decision=decision,
                response=response,
                leaks=tuple(raw_metrics(response, example.state)),
                loops=has_loop(words(response)),
                readable=self.is_readable(response),
                recognised=text_decision,
                sounds_sure=float(sure),
                failed_checks=tuple(
                    check.id
                    for check in ontology.domain_checks(example.domain or "general", decision)
                    if not check.passes(response)
                ),
                keeps_precedence=keeps_precedence(example, response, ontology),
                probability=probability,
            )
            for example, decision, response, text_decision, sure, probability in zip(
                examples,
                decisions,
                responses,
                recognised,
                sounds_sure,
                probabilities if probabilities is not None else [None] * len(examples),
                strict=True,
            )
        ]

    def is_readable(self, response: str) -> bool:
        """True for known words in sufficient number, without a loop and with a proper end."""
        found = words(response)
        if len(found) < MIN_WORDS or not ends_properly(response):
            return False
        known = sum(word in self._vocabulary for word in found) / len(found)
        return known >= MIN_KNOWN_WORDS and not has_loop(found)


def keeps_precedence(example: Example, response: str, ontology: Ontology) -> bool | None:
    """Tell whether a response keeps the norms that prevail; None where none is in conflict or none can be checked."""
    known = [norm for norm in example.norms if norm in ontology.norms]
    checks = {ontology.checks[name] for prevailing, _ in ontology.conflicts(known) for name in prevailing.checks}
    passes = [check.passes(response) for check in checks if check.applies_to(example.decision or "")]
    return all(passes) if passes else None


def words(text: str) -> list[str]:
    """Return a text's words in lower case, without numbers and punctuation."""
    return _WORD.findall(text.lower())


def repeated_share(found: Sequence[str]) -> float:
    """Return the share of 4-grams that occurred before in the same text; 0 for a text without any."""
    counts = _ngrams(found)
    return 1.0 - len(counts) / counts.total() if counts else 0.0


def has_loop(found: Sequence[str]) -> bool:
    """True when a text's words go round in circles (definition above)."""
    return max(_ngrams(found).values(), default=0) >= LOOP_COUNT or repeated_share(found) > MAX_REPEATED


def _ngrams(found: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(tuple(found[start : start + NGRAM]) for start in range(len(found) - NGRAM + 1))


def ends_properly(text: str) -> bool:
    """True when the text ends with a sentence's end, closing quotes and brackets allowed."""
    return _PROPER_END.search(text.rstrip()) is not None


def response_sample(decisions: Sequence[str], num: int, seed: int) -> list[int]:
    """Return the indices of up to `num` examples, as evenly over the decisions as they allow, in order."""
    order = np.random.default_rng(seed).permutation(len(decisions)).tolist()
    turn: dict[str, int] = dict.fromkeys(DECISIONS, 0)
    ranked = []
    for index in order:
        ranked.append((turn[decisions[index]], index))
        turn[decisions[index]] += 1
    return sorted(index for _, index in sorted(ranked)[:num])


def text_measures(judged: Sequence[JudgedResponse]) -> dict[str, Estimate]:
    """Return the share of responses that leak, loop, are readable, fit their decision and keep every check."""
    return {
        "leaks": _share([bool(item.leaks) for item in judged]),
        "loops": _share([item.loops for item in judged]),
        "readable": _share([item.readable for item in judged]),
        "fits_decision": _share([item.fits for item in judged]),
        "keeps_checks": _share([not item.failed_checks for item in judged]),
        "keeps_precedence": _share([item.keeps_precedence for item in judged if item.keeps_precedence is not None]),
    }


def linguistic_calibration(judged: Sequence[JudgedResponse]) -> dict[str, float]:
    """Return how well words follow numbers and decisions, without intervals; NaN where too little differs."""
    told = [(item.sounds_sure, 1.0 - item.probability) for item in judged if item.probability is not None]
    varies = len(told) > 1 and all(len(set(column)) > 1 for column in zip(*told, strict=True))
    decided, recognised = [item.decision for item in judged], [item.recognised for item in judged]
    return {
        "expressed_confidence": float(stats.spearmanr(told).statistic) if varies else math.nan,
        "decision_f1": float(f1_score(decided, recognised, average="macro")) if judged else math.nan,
    }


def _share(flags: Sequence[bool]) -> Estimate:
    value = sum(flags) / len(flags) if flags else float("nan")
    return Estimate(value, *wilson_interval(sum(flags), len(flags)))
