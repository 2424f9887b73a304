"""What other systems get on the same examples: two constants, two threshold rules, four classifiers, the ceiling.

Classifiers (logistic regressions, and gradient boosted trees on the telemetry, which find the interactions of value and
age) have the model's chances: regularisation, n-grams and size of the trees are chosen by cross-validation, the whole
training split is learnt from, and the probabilities are calibrated as the model's are (`tuned_classifier`). A rule's
output counts as a probability of 0 or 1.
All of them then decide under the same operating rule as the model (`decisions.deployed_escalations`). The ceiling is
the generator's own posterior given all that is observable: what is left to gain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from promethios.data.example import Example, read_examples
from promethios.evaluation.decisions import Baseline, Predict
from promethios.evaluation.intervals import FloatArray
from promethios.evaluation.tuned_classifier import Candidate, TrainingExamples, best_candidate, fitted, prompt_text
from promethios.ontology import telemetry_rules
from promethios.ontology.decision import ESCALATE

__all__ = ["Baseline", "fit_baselines", "minimum_margin", "prompt_text", "read_contrasts", "trust_margin"]

NGRAM_RANGES: Final = ((1, 2), (1, 3))
INVERSE_PENALTIES: Final = (8.0, 32.0)
MAX_LEAF_NODES: Final = (3, 7, 15)


def read_contrasts(data_dir: Path) -> list[Example]:
    """Return the split `train_contrasts`; none where the dataset does not have it, as in training."""
    path = data_dir / "train_contrasts.jsonl"
    return read_examples(path) if path.is_file() else []


def fit_baselines(
    train: Sequence[Example], calibration: Sequence[Example] = (), contrasts: Sequence[Example] = ()
) -> list[Baseline]:
    """Fit every baseline on the training split, in the order in which reports list them.

    calibration: what the model's calibration is fitted on (`CalibrationExamples.fit`); none leaves the probabilities as
    fitted. contrasts: the pairs that the model learns from beside the split (`train_contrasts`); the classifiers that
    read the text learn from them too. To one that reads the telemetry alone most of them are two labels of one request.
    """
    split = TrainingExamples(train)
    whole = TrainingExamples([*train, *contrasts]) if contrasts else split
    return [
        Baseline("never", "Never escalate", lambda examples: np.zeros(len(examples))),
        Baseline("always", "Always escalate", lambda examples: np.ones(len(examples))),
        Baseline("trust_rule", "Rule: trust below requirement", _rule(trust_margin, train)),
        Baseline("minimum_rule", "Rule: lowest channel below 0.4", _rule(minimum_margin, train)),
        *_classifiers(split, whole, calibration),
        Baseline(
            "ceiling",
            "Ceiling: the generator's posterior",
            lambda e: np.array([x.soft_label[ESCALATE] for x in e]),
            kind="ceiling",
        ),
    ]


def _classifiers(
    split: TrainingExamples, whole: TrainingExamples, calibration: Sequence[Example]
) -> Iterator[Baseline]:
    """Choose each classifier on a sample of `split`, fit it there or on `whole`, and calibrate it."""
    sample = split.sample()
    texts = [candidate for ngram_range in NGRAM_RANGES for candidate in _regressions(ngram_range, reads_tags=False)]
    both = [candidate for ngram_range in NGRAM_RANGES for candidate in _regressions(ngram_range)]
    for key, title, candidates, train in (
        ("tags", "Logistic regression on tags", _regressions(), split),
        ("boosted_tags", "Gradient boosting on tags", _boosted_trees(), split),
        ("text", "TF-IDF on text", texts, whole),
        ("text_and_tags", "TF-IDF on text + tags", both, whole),
    ):
        chosen = best_candidate(candidates, sample)
        yield Baseline(key, title, fitted(chosen, train, calibration), settings=chosen.settings)


def _regressions(ngram_range: tuple[int, int] | None = None, *, reads_tags: bool = True) -> list[Candidate]:
    words = "" if ngram_range is None else f", n-grams of {ngram_range[0]} to {ngram_range[1]} words"
    # On text + tags, whose columns differ much in size, newton-cg takes a third of the time of lbfgs.
    return [
        Candidate(
            LogisticRegression(C=c, solver="newton-cg", max_iter=1000), f"C={c:g}{words}", ngram_range, reads_tags
        )
        for c in INVERSE_PENALTIES
    ]


def _boosted_trees() -> list[Candidate]:
    # No early stopping: its validation part would hold the twin of a row that was trained on.
    return [
        Candidate(
            HistGradientBoostingClassifier(max_leaf_nodes=leaves, early_stopping=False, random_state=0),
            f"at most {leaves} leaves",
        )
        for leaves in MAX_LEAF_NODES
    ]


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
