"""Measure a model against its baselines, calibrate it and write the report.

    promethios evaluate --model_path runs/nano --num_examples 1000

Writes governance_calibration.json into the model folder (tied to the hash of its weights) and the report as JSON and as
one HTML file. The exit code tells whether the gates hold: 0 when all do, 1 when one does not, 2 for a mistake in what
was asked for. What is measured and how is in promethios/evaluation/README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from promethios import __version__
from promethios.cli import run_command
from promethios.data.example import Example, read_examples
from promethios.data.folder import CEILINGS, DEFAULT_DATA_DIR, dataset_sha256, split_path, verify_dataset
from promethios.errors import ConfigError, DatasetError
from promethios.evaluation import calibration as calibration_file
from promethios.evaluation.calibration import Calibration, escalation_log_odds
from promethios.evaluation.console import console_table
from promethios.evaluation.files import write_atomically
from promethios.evaluation.intervals import FloatArray
from promethios.model.folder import check_model_folder, weights_sha256
from promethios.ontology.governance_ontology import load_ontology

DEFAULT_NUM_EXAMPLES = 1000
DEFAULT_NUM_RESPONSES = 200
REPORT_NAME = "evaluation_report.json"
NUM_STEPS = 7


@dataclass(frozen=True)
class Splits:
    """The examples of one evaluation."""

    train: list[Example]
    calibration: list[Example]
    test: list[Example]
    held_out: list[Example]


class Progress:
    """Says on stderr which step runs, and how long each took."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._step = 0

    def step(self, what: str) -> None:
        """Announce the next step."""
        self._step += 1
        seconds = time.monotonic() - self._started
        sys.stderr.write(f"[{self._step}/{NUM_STEPS}] {seconds:6.1f} s  {what}\n")
        sys.stderr.flush()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--model_path", type=Path, required=True, help="model folder")
    parser.add_argument(
        "--num_examples",
        type=int,
        default=DEFAULT_NUM_EXAMPLES,
        help="how many test examples to evaluate on (default: %(default)s)",
    )
    parser.add_argument(
        "--output_path", type=Path, help=f"report file, ending in .json (default: {REPORT_NAME} in the model folder)"
    )
    parser.add_argument("--data_dir", type=Path, default=DEFAULT_DATA_DIR, help="dataset folder (default: %(default)s)")
    parser.add_argument(
        "--num_responses",
        type=int,
        default=DEFAULT_NUM_RESPONSES,
        help="how many responses to generate for the text measures (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the choice of examples and the bootstrap (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, write calibration and report; returns 0 when every gate holds, 1 when one does not."""
    progress = Progress()
    progress.step("checking folders and reading the dataset")
    _require_sensible_counts(args)
    check_model_folder(args.model_path)
    _require_writable(args.model_path)
    output_path = _checked_output_path(args)
    verify_dataset(args.data_dir)
    splits, notes = _read_splits(args)
    report = _evaluate(args, splits, notes, progress)
    progress.step("writing the report")
    for path in {output_path, args.model_path / REPORT_NAME}:  # beside the weights too: it is part of their lineage
        _write_report(report, path)
    sys.stdout.write(f"\n{console_table(report)}\n\nreport: {output_path} and {output_path.with_suffix('.html')}\n")
    return 0 if report["passed"] else 1


def _require_sensible_counts(args: argparse.Namespace) -> None:
    for name, least in (("num_examples", 2), ("num_responses", 1), ("seed", 0)):
        if getattr(args, name) < least:
            raise ConfigError(f"--{name} {getattr(args, name)}: give a whole number of {least} or more")


def _checked_output_path(args: argparse.Namespace) -> Path:
    path: Path = args.output_path or args.model_path / REPORT_NAME
    if path.suffix != ".json":
        raise ConfigError(f"--output_path {path}: give a name that ends in .json; the HTML report goes beside it")
    if path.is_dir():
        raise ConfigError(f"--output_path {path}: is a folder; give a file name that ends in .json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output_path {path}: its folder cannot be made: {error.strerror}") from None
    _require_writable(path.parent)
    return path


def _require_writable(folder: Path) -> None:
    """Find out before the work rather than after it. Raises ConfigError."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"folder {folder} cannot be written to: {error.strerror}") from None


def _read_splits(args: argparse.Namespace) -> tuple[Splits, list[str]]:
    """Read the splits; draw the examples to evaluate on. Returns notes on what was asked for and not there."""
    paths = {
        name: split_path(args.data_dir, name) for name in ("train", "calibration", "test", "test_held_out_domains")
    }
    rng = np.random.default_rng(args.seed)
    notes = []
    drawn = {}
    for name in ("test", "test_held_out_domains"):
        examples = read_examples(paths[name])
        if args.num_examples > len(examples):
            notes.append(f"{args.num_examples} examples were asked for; {name} has {len(examples)}, all were used.")
        chosen = rng.permutation(len(examples))[: args.num_examples]
        drawn[name] = [examples[index] for index in sorted(chosen.tolist())]
    splits = Splits(
        train=read_examples(paths["train"]),
        calibration=read_examples(paths["calibration"]),
        test=drawn["test"],
        held_out=drawn["test_held_out_domains"],
    )
    shared = {example.family for example in splits.test} & {example.family for example in splits.train}
    if shared:
        notes.append(
            f"{len(shared)} scenario families are in the training split and the test split: scores are too good."
        )
    return splits, notes


def _evaluate(args: argparse.Namespace, splits: Splits, notes: list[str], progress: Progress) -> dict[str, Any]:
    # torch and scikit-learn take seconds to import: after the checks, so that a mistake is told at once.
    from promethios.evaluation.baselines import fit_baselines
    from promethios.evaluation.evaluated_set import EvaluatedSet
    from promethios.evaluation.report import Findings, build_report
    from promethios.evaluation.text_quality import ResponseJudge, response_sample
    from promethios.model.generation import generate_responses
    from promethios.model.scoring import score_examples

    to_score = [*splits.calibration, *splits.test, *splits.held_out]
    progress.step(f"scoring {len(to_score):,} examples with the model")
    scores = np.asarray(score_examples(args.model_path, to_score), np.float64)
    on_calibration, on_test, on_held_out = np.split(scores, np.cumsum([len(splits.calibration), len(splits.test)]))

    progress.step(f"calibrating on {len(splits.calibration):,} examples")
    calibration = _fit(args, on_calibration, splits.calibration)
    calibration.save(args.model_path)

    progress.step(f"fitting the baselines on {len(splits.train):,} examples")
    baselines = fit_baselines(splits.train)
    test = EvaluatedSet.of(splits.test, on_test, calibration, baselines, args.seed)
    held_out = EvaluatedSet.of(splits.held_out, on_held_out, calibration, baselines, args.seed)

    sample = response_sample(test.decisions, args.num_responses, args.seed)
    progress.step(f"generating {len(sample)} responses")
    examples, decisions = [test.examples[i] for i in sample], [test.decisions[i] for i in sample]
    responses = generate_responses(args.model_path, examples, decisions)

    progress.step("taking the measures")
    judge = ResponseJudge(splits.train, splits.test)
    reference = [example.response for example in splits.test]
    return build_report(
        Findings(
            test=test,
            held_out=held_out,
            calibration=calibration,
            judged=judge.judge(examples, decisions, responses),
            reference=judge.judge(splits.test, [example.decision for example in splits.test], reference),
            ceilings=_read_ceilings(args.data_dir),
            provenance=_provenance(args, calibration),
            notes=notes,
        )
    )


def _fit(args: argparse.Namespace, scores: FloatArray, examples: Sequence[Example]) -> Calibration:
    from promethios.evaluation.calibration_fit import fit_calibration

    domains = load_ontology().domains.values()
    thresholds = {domain.name: domain.escalation_threshold for domain in domains}
    fitted = fit_calibration(
        np.array([escalation_log_odds(row) for row in scores.tolist()]),
        np.array([bool(example.escalate) for example in examples]),
        [example.header_domain for example in examples],
    )
    return Calibration(
        weights_sha256=weights_sha256(args.model_path),
        dataset_sha256=dataset_sha256(args.data_dir),
        num_examples=len(examples),
        slope=fitted.slope,
        intercept=fitted.intercept,
        domain_intercepts=fitted.domain_intercepts,
        thresholds=thresholds,
        # Nobody knows what a miss costs in a domain that is not stated, so the most careful threshold holds there.
        default_threshold=min(thresholds.values()),
    )


def _read_ceilings(data_dir: Path) -> Any:
    path = data_dir / CEILINGS
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path}: not JSON: {error}; generate the dataset again") from None


def _provenance(args: argparse.Namespace, calibration: Calibration) -> dict[str, Any]:
    options = [f"--{name} {shlex.quote(str(value))}" for name, value in sorted(vars(args).items()) if value is not None]
    packages = ("numpy", "scikit-learn", "torch", "transformers")
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["promethios evaluate", *options]),
        "model_path": str(args.model_path),
        "weights_sha256": calibration.weights_sha256,
        "calibration_sha256": hashlib.sha256((args.model_path / calibration_file.FILE_NAME).read_bytes()).hexdigest(),
        "dataset_path": str(args.data_dir),
        "dataset_sha256": calibration.dataset_sha256,
        "seed": args.seed,
        "versions": {
            "promethios": __version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
    }


def _write_report(report: dict[str, Any], path: Path) -> None:
    from promethios.evaluation.report import to_json
    from promethios.evaluation.report_html import render_html

    write_atomically(path, to_json(report))
    write_atomically(path.with_suffix(".html"), render_html(report))


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
