"""`promethios evaluate --data`: measure a model on somebody else's test set.

Calibration and certificate are those in the model folder, and stay as they are. The exit code is 0, or 1 when
`--min_accuracy` asks for more than was reached: what is a good result depends on the set, so no other gate applies.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from promethios import __version__
from promethios.data.chat_endpoint import ChatEndpoint
from promethios.data.example import Example
from promethios.errors import ConfigError, DatasetError
from promethios.evaluation.calibration import Calibration, calibration_sha256
from promethios.evaluation.certificate import Certificate, deployed_threshold
from promethios.evaluation.external_sets.formats import BENCHMARKS, FORMATS, OWN
from promethios.evaluation.files import write_atomically
from promethios.model.folder import check_model_folder

if TYPE_CHECKING:
    from promethios.evaluation.intervals import FloatArray
    from promethios.model.scoring import LoadedModel

FORMAT_VERSION: Final = 1
DEFAULT_OUTPUT: Final = Path("external_evaluation.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of an evaluation on an external set."""
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="measure on your own test set instead: .jsonl files, or with --format the folder of a benchmark",
    )
    parser.add_argument("--format", choices=FORMATS, default=OWN, help="form of --data (default: %(default)s)")
    parser.add_argument(
        "--min_accuracy", type=float, help="with --data: exit with 1 below this accuracy (default: never)"
    )


@dataclass(frozen=True)
class Deployed:
    """A model folder with what it ships with."""

    path: Path
    calibration: Calibration
    certificate: Certificate

    @classmethod
    def load(cls, path: Path) -> Deployed:
        """Load and check; raises ModelFolderError when something is missing or does not belong together."""
        check_model_folder(path)
        calibration = Calibration.load(path)
        return cls(path, calibration, Certificate.load(path, calibration))


def is_asked_for(args: argparse.Namespace) -> bool:
    """True with --data. Raises ConfigError for an option that has no use without it."""
    if not args.data and (args.format != OWN or args.min_accuracy is not None):
        raise ConfigError("--format and --min_accuracy are about --data, which is not given")
    return bool(args.data)


def evaluate_external_set(args: argparse.Namespace, output: Path, endpoint: ChatEndpoint | None) -> int:
    """Measure the model on `args.data`, write the report, print its essentials; returns the exit code.

    args: as `promethios evaluate` parses them. output: the report's JSON file, checked to be writable. endpoint:
    another language model to compare with, on our own format. Raises a PromethiosError for a mistake in what was asked
    for.
    """
    _check(args)
    deployed = Deployed.load(args.model_path)
    report = _own_report(args, deployed, endpoint) if args.format == OWN else _benchmark_report(args, deployed)
    if args.min_accuracy is not None:
        report["passed"] = report["accuracy"] >= args.min_accuracy
    _write(report, output)
    return 1 if report["passed"] is False else 0


def _check(args: argparse.Namespace) -> None:
    if args.min_accuracy is not None and not 0 <= args.min_accuracy <= 1:
        raise ConfigError(f"--min_accuracy {args.min_accuracy}: give a number from 0 to 1")
    if args.num_responses < 0:
        raise ConfigError(f"--num_responses {args.num_responses}: give 0 or more")
    for option in ("compare_model", "self_questioning"):
        if getattr(args, option):
            raise ConfigError(f"--{option} cannot be combined with --data; leave one of the two out")
    if args.format != OWN and (len(args.data) != 1 or not args.data[0].is_dir()):
        raise ConfigError(f"--format {args.format}: give --data one folder with the benchmark's .jsonl files")


def _own_report(args: argparse.Namespace, deployed: Deployed, endpoint: ChatEndpoint | None) -> dict[str, Any]:
    from promethios.evaluation.external_sets.comparisons import comparisons
    from promethios.evaluation.external_sets.own_set import OwnSet, read_own_sets
    from promethios.evaluation.external_sets.own_set_measures import (
        by_domain,
        by_family,
        decision_measures,
        head_measures_where_given,
        pair_measures,
        served_measures,
        system_measures,
    )

    examples, pairs = read_own_sets(args.data)
    model, scores, too_long = _scored(deployed, examples)
    baselines, notes = comparisons(args.data_dir, examples, deployed.calibration, endpoint)
    notes += too_long
    own = OwnSet.of(examples, scores, deployed.calibration, deployed.certificate, baselines, args.seed)
    evaluated = own.evaluated
    if not own.has_families:
        notes.append("Not every example names its family: those that do not count as independent of all others.")
    return {
        **_frame(args, deployed, examples, notes),
        "accuracy": float((evaluated.model.escalates == evaluated.outcome).mean()),
        "expert_escalation_rate": float(evaluated.outcome.mean()),
        "systems": [system_measures(own, system) for system in (evaluated.model, *evaluated.baselines.values())],
        "served": served_measures(own),
        "calibration": evaluated.calibration,
        "reliability": evaluated.reliability().to_json(),
        "domains": by_domain(own),
        "families": by_family(own),
        "decisions": decision_measures(own),
        "pairs": pair_measures(own, pairs),
        "heads": head_measures_where_given(examples, scores, args.seed),
        "text": _text(args, model, examples, own.served_decisions),
        "abstention": None,
    }


def _benchmark_report(args: argparse.Namespace, deployed: Deployed) -> dict[str, Any]:
    import numpy as np

    from promethios.evaluation.external_sets.abstention_measures import Abstentions
    from promethios.evaluation.external_sets.own_set_measures import head_measures_where_given
    from promethios.ontology.decision import decide

    found = BENCHMARKS[args.format](args.data[0])
    if not found.items:
        raise DatasetError(f"{args.data[0]}: holds no question that can be evaluated")
    examples = [item.example for item in found.items]
    _, scores, too_long = _scored(deployed, examples)
    calibration, certificate = deployed.calibration, deployed.certificate
    probabilities = [
        calibration.probabilities(row, example.header_domain)
        for row, example in zip(scores.tolist(), examples, strict=True)
    ]
    decisions = [
        decide(row, deployed_threshold(calibration, certificate, example.header_domain), degraded=True)
        for row, example in zip(probabilities, examples, strict=True)
    ]
    abstentions = Abstentions(found.items, np.array(probabilities), decisions, scores, args.seed)
    without_telemetry = "A benchmark has no telemetry, so the threshold is halved, as serving does without it."
    return {
        **_frame(args, deployed, examples, [*found.notes, without_telemetry, *too_long]),
        "accuracy": abstentions.accuracy(),
        "heads": head_measures_where_given(examples, scores, args.seed),
        "abstention": abstentions.report(),
    }


def _scored(deployed: Deployed, examples: Sequence[Example]) -> tuple[LoadedModel, FloatArray, list[str]]:
    """Return the loaded model, its raw scores [n, 18] and a note on prompts that are longer than it was made for."""
    import numpy as np

    from promethios.model.scoring import LoadedModel, score_prompts

    model = LoadedModel.load(deployed.path)
    prompts = [model.encoder.example_prompt(example) for example in examples]
    limit = model.model.config.max_position_embeddings
    num_long = sum(len(prompt) > limit for prompt in prompts)
    note = f"{num_long} prompts are longer than the model's context of {limit} tokens; serving would refuse them."
    return model, np.asarray(score_prompts(model.model, prompts), np.float64), [note] if num_long else []


def _text(
    args: argparse.Namespace, model: LoadedModel, examples: Sequence[Example], decisions: Sequence[str]
) -> dict[str, Any] | None:
    if not args.num_responses:
        return None
    from promethios.evaluation.external_sets.response_measures import response_measures
    from promethios.evaluation.text_quality import response_sample
    from promethios.model.generation import generate_responses

    sample = response_sample(decisions, args.num_responses, args.seed)
    drawn, given = [examples[index] for index in sample], [decisions[index] for index in sample]
    return response_measures(drawn, given, generate_responses(model, drawn, given))


def _frame(
    args: argparse.Namespace, deployed: Deployed, examples: Sequence[Example], notes: Sequence[str]
) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "passed": None,
        "min_accuracy": args.min_accuracy,
        "num_examples": len(examples),
        "notes": list(notes),
        "provenance": {
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": _command(args),
            "model": args.model_path.resolve().name,
            "weights_sha256": deployed.calibration.weights_sha256,
            "calibration_sha256": calibration_sha256(deployed.path),
            "format": args.format,
            "data": {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(args.data)},
            "seed": args.seed,
            "version": __version__,
        },
    }


def _files(data: Sequence[Path]) -> list[Path]:
    return [file for path in data for file in (sorted(path.glob("*.jsonl")) if path.is_dir() else [path])]


def _command(args: argparse.Namespace) -> str:
    paths = " ".join(shlex.quote(str(path)) for path in args.data)
    return f"promethios evaluate --model_path {shlex.quote(str(args.model_path))} --data {paths} --format {args.format}"


def _write(report: dict[str, Any], output: Path) -> None:
    from promethios.evaluation.external_sets.console_lines import console_lines
    from promethios.evaluation.external_sets.page import render_page
    from promethios.evaluation.report import to_json, to_plain

    plain = to_plain(report)
    write_atomically(output, to_json(plain))
    write_atomically(output.with_suffix(".html"), render_page(plain))
    sys.stdout.write(f"{console_lines(plain)}\n\nreport: {output} and {output.with_suffix('.html')}\n")
