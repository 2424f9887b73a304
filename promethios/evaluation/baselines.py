"""What other systems get on the same examples: two constants, two threshold rules, four classifiers, the ceiling.

Classifiers (logistic regressions, and gradient boosted trees on the telemetry, which find the interactions of value and
age) are fitted on the training split with the same soft labels as the model: every example counts as an escalation with
weight p and as none with weight 1 - p. A rule's output counts as a probability of 0 or 1.
All of them then decide under the same operating rule as the model (`decisions.deployed_escalations`). The ceiling is
the generator's own posterior given all that is observable: what is left to gain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from promethios.data.example import Example
from promethios.evaluation.decisions import Baseline, Predict
from promethios.evaluation.intervals import FloatArray
from promethios.evaluation.tag_features import tag_features
from promethios.ontology import telemetry_rules
from promethios.ontology.decision import ESCALATE

__all__ = ["Baseline", "fit_baselines", "minimum_margin", "prompt_text", "trust_margin"]


def fit_baselines(train: Sequence[Example]) -> list[Baseline]:
    """Fit every baseline on the training split, in the order in which reports list them."""
    soft_labels = np.array([example.soft_label[ESCALATE] for example in train])
    tags = tag_features(train)
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, dtype=np.float64)
    text = vectorizer.fit_transform(map(prompt_text, train))

    on_tags = _fit(_regression(), tags, soft_labels)
    # No early stopping: its validation part would hold the twin of a row that was trained on.
    trees = HistGradientBoostingClassifier(max_leaf_nodes=15, early_stopping=False, random_state=0)
    with _one_thread():
        boosted = _fit(trees, tags, soft_labels)
    on_text = _fit(_regression(), text, soft_labels)
    on_both = _fit(_regression(), sparse.hstack([text, tags], format="csr"), soft_labels)

    def both(examples: Sequence[Example]) -> Any:
        return sparse.hstack([vectorizer.transform(map(prompt_text, examples)), tag_features(examples)], format="csr")

    return [
        Baseline("never", "Never escalate", lambda examples: np.zeros(len(examples))),
        Baseline("always", "Always escalate", lambda examples: np.ones(len(examples))),
        Baseline("trust_rule", "Rule: trust below requirement", _rule(trust_margin, train)),
        Baseline("minimum_rule", "Rule: lowest channel below 0.4", _rule(minimum_margin, train)),
        Baseline("tags", "Logistic regression on tags", lambda e: _probability(on_tags, tag_features(e))),
        Baseline("boosted_tags", "Gradient boosting on tags", lambda e: _boosted_probability(boosted, e)),
        Baseline("text", "TF-IDF on text", lambda e: _probability(on_text, vectorizer.transform(map(prompt_text, e)))),
        Baseline("text_and_tags", "TF-IDF on text + tags", lambda e: _probability(on_both, both(e))),
        Baseline(
            "ceiling",
            "Ceiling: the generator's posterior",
            lambda e: np.array([x.soft_label[ESCALATE] for x in e]),
            kind="ceiling",
        ),
    ]


def prompt_text(example: Example) -> str:
    """Return what the user and the conversation say: every message but the response."""
    return "\n".join(message["content"] for message in example.request)


def trust_margin(example: Example) -> float | None:
    """Return the margin of the rule on trust (`telemetry_rules.trust_margin`)."""
    return telemetry_rules.trust_margin(example.state, example.header_domain)


def minimum_margin(example: Example) -> float | None:
    """Return the margin of the rule on the lowest channel (`telemetry_rules.minimum_margin`)."""
    return telemetry_rules.minimum_margin(example.state)


def _rule(margin: Callable[[Example], float | None], train: Sequence[Example]) -> Predict:
    """Return the rule "escalate below 0".

    The rules do not say what to do without a reading; they get what the training split shows to be right more often.
    """
    without = [example.truth for example in train if margin(example) is None]
    fallback = float(2 * sum(without) > len(without))

    def predict(examples: Sequence[Example]) -> FloatArray:
        margins = map(margin, examples)
        return np.array([fallback if value is None else float(value < 0.0) for value in margins])

    return predict


def _regression() -> LogisticRegression:
    return LogisticRegression(C=1.0, max_iter=1000)


def _fit(classifier: Any, features: Any, soft_labels: FloatArray) -> Any:
    stack = sparse.vstack if sparse.issparse(features) else np.vstack
    labels = np.repeat([True, False], len(soft_labels))
    weights = np.concatenate([soft_labels, 1.0 - soft_labels])
    return classifier.fit(stack([features, features]), labels, sample_weight=weights)


def _one_thread() -> threadpool_limits:
    """Trees this small are grown faster by one thread than by many that wait for each other on a busy machine."""
    return threadpool_limits(limits=1, user_api="openmp")


def _boosted_probability(classifier: Any, examples: Sequence[Example]) -> FloatArray:
    with _one_thread():
        return _probability(classifier, tag_features(examples))


def _probability(classifier: Any, features: Any) -> FloatArray:
    return np.asarray(classifier.predict_proba(features)[:, 1])
