"""A classifier among the baselines, given the chances that the model gets: chosen, fitted and calibrated.

chosen      the candidate with the least loss in cross-validation, NUM_FOLDS folds that share no scenario family, on at
            most SAMPLE_SIZE of the training examples, drawn at random: the log loss of the soft labels that is left
            after slope and intercept are fitted, so a candidate that is only over-confident loses nothing
fitted      on all training examples with the soft labels of the model: every example counts as an escalation with
            weight p and as none with weight 1 - p
calibrated  as the model is (`calibration_fit`), on the same calibration examples
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import sparse
from scipy.special import expit
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from promethios.data.example import Example
from promethios.evaluation.calibration_fit import fit_calibration
from promethios.evaluation.decisions import Predict
from promethios.evaluation.intervals import BoolArray, FloatArray
from promethios.evaluation.tag_features import tag_features
from promethios.ontology.decision import ESCALATE

SAMPLE_SIZE: Final = 8000
NUM_FOLDS: Final = 3

NgramRange = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to fit a classifier. classifier: of scikit-learn, not fitted. ngram_range: None where no text is read."""

    classifier: Any
    settings: str
    ngram_range: NgramRange | None = None
    reads_tags: bool = True


class TrainingExamples:
    """Examples to learn from, with features that all candidates share: vectorizers are fitted on these examples."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples
        self.soft_labels = np.array([example.soft_label[ESCALATE] for example in examples])
        self._tags = tag_features(examples)
        self._texts: dict[NgramRange, tuple[TfidfVectorizer, Any]] = {}

    def features(self, candidate: Candidate) -> Any:
        """Return the features of these examples [n, features], dense or sparse, as a candidate reads them."""
        return _joined(candidate, self._text(candidate.ngram_range)[1], self._tags)

    def reader(self, candidate: Candidate) -> Callable[[Sequence[Example]], Any]:
        """Return what reads the same features of other examples; it does not hold on to these."""
        vectorizer = self._text(candidate.ngram_range)[0]

        def read(examples: Sequence[Example]) -> Any:
            text = None if vectorizer is None else vectorizer.transform(map(prompt_text, examples))
            return _joined(candidate, text, tag_features(examples))

        return read

    def sample(self) -> TrainingExamples:
        """Return at most SAMPLE_SIZE of them, the same ones every time."""
        if len(self.examples) <= SAMPLE_SIZE:
            return self
        chosen = np.random.default_rng(0).permutation(len(self.examples))[:SAMPLE_SIZE]
        return TrainingExamples([self.examples[index] for index in chosen.tolist()])

    def _text(self, ngram_range: NgramRange | None) -> tuple[TfidfVectorizer | None, Any]:
        if ngram_range is None:
            return None, None
        if ngram_range not in self._texts:
            vectorizer = TfidfVectorizer(ngram_range=ngram_range, min_df=2, sublinear_tf=True, dtype=np.float64)
            self._texts[ngram_range] = vectorizer, vectorizer.fit_transform(map(prompt_text, self.examples))
        return self._texts[ngram_range]


def prompt_text(example: Example) -> str:
    """Return what the user and the conversation say: every message but the response."""
    return "\n".join(message["content"] for message in example.request)


def best_candidate(candidates: Sequence[Candidate], sample: TrainingExamples) -> Candidate:
    """Return the candidate of least loss; the first one where there are fewer families than folds."""
    families = [example.family or example.id for example in sample.examples]
    if len(candidates) == 1 or len(set(families)) < NUM_FOLDS:
        return candidates[0]
    folds = list(GroupKFold(NUM_FOLDS).split(sample.soft_labels, groups=families))
    return min(candidates, key=lambda candidate: _validation_loss(candidate, sample, folds))


def fitted(candidate: Candidate, train: TrainingExamples, calibration: Sequence[Example]) -> Predict:
    """Fit and calibrate; returns P(escalate) of examples. calibration: none leaves the probabilities as fitted."""
    classifier, read = _fit(candidate, train.features(candidate), train.soft_labels), train.reader(candidate)

    def log_odds(examples: Sequence[Example]) -> FloatArray:
        return _log_odds(classifier, read(examples))

    return _calibrated(log_odds, calibration) if calibration else lambda examples: expit(log_odds(examples))


def _calibrated(log_odds: Callable[[Sequence[Example]], FloatArray], calibration: Sequence[Example]) -> Predict:
    stated = [example.header_domain for example in calibration]
    parameters = fit_calibration(log_odds(calibration), _outcomes(calibration), stated)

    def predict(examples: Sequence[Example]) -> FloatArray:
        offsets = [parameters.domain_intercepts.get(example.header_domain or "", 0.0) for example in examples]
        calibrated: FloatArray = expit(parameters.slope * log_odds(examples) + parameters.intercept + offsets)
        return calibrated

    return predict


def _validation_loss(candidate: Candidate, sample: TrainingExamples, folds: Sequence[tuple[Any, Any]]) -> float:
    features, soft_labels = sample.features(candidate), sample.soft_labels
    log_odds = np.empty(len(soft_labels))
    for learnt, validated in folds:
        classifier = _fit(candidate, features[learnt], soft_labels[learnt])
        log_odds[validated] = _log_odds(classifier, features[validated])
    parameters = fit_calibration(log_odds, _outcomes(sample.examples), [None] * len(log_odds))
    calibrated = parameters.slope * log_odds + parameters.intercept
    return float((np.logaddexp(0.0, calibrated) - soft_labels * calibrated).mean())


def _fit(candidate: Candidate, features: Any, soft_labels: FloatArray) -> Any:
    stack = sparse.vstack if sparse.issparse(features) else np.vstack
    labels = np.repeat([True, False], len(soft_labels))
    weights = np.concatenate([soft_labels, 1.0 - soft_labels])
    with _one_thread():
        return clone(candidate.classifier).fit(stack([features, features]), labels, sample_weight=weights)


def _log_odds(classifier: Any, features: Any) -> FloatArray:
    with _one_thread():
        return np.asarray(classifier.decision_function(features), np.float64)


def _one_thread() -> threadpool_limits:
    """Trees this small are grown faster by one thread than by many that wait for each other on a busy machine."""
    return threadpool_limits(limits=1, user_api="openmp")


def _joined(candidate: Candidate, text: Any, tags: FloatArray) -> Any:
    if text is None:
        return tags
    return sparse.hstack([text, tags], format="csr") if candidate.reads_tags else text


def _outcomes(examples: Sequence[Example]) -> BoolArray:
    return np.array([example.truth for example in examples])
