"""Measure a model against its baselines, calibrate and certify it and write the report.

    promethios evaluate --model_path runs/nano --num_examples 1000

Writes governance_calibration.json and governance_certificate.json into the model folder (tied to the hash of its
weights) and the report as JSON and as one HTML file. The exit code tells whether the gates hold: 0 when all do, 1 when
one does not, 2 for a mistake in what was asked for. What is measured and how is in promethios/evaluation/README.md.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from promethios import __version__
from promethios.cli import run_command
from promethios.data.chat_endpoint import ChatEndpoint
from promethios.data.example import Example
from promethios.data.folder import CEILINGS, DEFAULT_DATA_DIR, dataset_sha256, verify_dataset
from promethios.errors import ConfigError, DatasetError
from promethios.evaluation.calibration import Calibration, calibration_sha256
from promethios.evaluation.certificate_fit import CertificationSample
from promethios.evaluation.chat_baseline import ChatBaseline
from promethios.evaluation.console import console_table
from promethios.evaluation.decisions import Baseline
from promethios.evaluation.domain_probe import Logits, domain_probe_measures, fitted_level
from promethios.evaluation.evaluation_data import EvaluationData, read_evaluation_data
from promethios.evaluation.external_sets import evaluation as external_sets
from promethios.evaluation.files import write_atomically
from promethios.evaluation.intervals import FloatArray
from promethios.evaluation.recalibration import calibrated, write_calibration_and_certificate
from promethios.model.folder import check_model_folder

if TYPE_CHECKING:
    from promethios.evaluation.evaluated_set import EvaluatedSet
    from promethios.evaluation.text_quality import JudgedResponse
    from promethios.model.scoring import LoadedModel

DEFAULT_NUM_EXAMPLES = 1000
DEFAULT_NUM_RESPONSES = 200
REPORT_NAME = "evaluation_report.json"
GATES = ("default", "release")
NUM_STEPS = 7


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
        help="how many examples, or pairs, of each test set to evaluate on (default: %(default)s)",
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
    parser.add_argument(
        "--compare_model",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="another Promethios model folder to compare with on the same examples; may be repeated",
    )
    parser.add_argument("--compare_url", help="OpenAI-compatible URL of a language model to compare with")
    parser.add_argument("--compare_name", help="the model's name at --compare_url")
    parser.add_argument(
        "--compare_key_variable", metavar="VARIABLE", help="environment variable with the key for --compare_url"
    )
    parser.add_argument(
        "--self_questioning",
        action="store_true",
        help="measure on `test` too what hidden rounds of self-questioning change and cost",
    )
    parser.add_argument(
        "--gates",
        choices=GATES,
        default=GATES[0],
        help="which gates decide the exit code; `release` asks for more, and for --num_responses 2000 "
        "(default: %(default)s)",
    )
    external_sets.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate, write calibration and report; returns 0 when every gate holds, 1 when one does not."""
    if external_sets.is_asked_for(args):
        output_path = _checked_output_path(args.output_path or external_sets.DEFAULT_OUTPUT)
        return external_sets.evaluate_external_set(args, output_path, _chat_endpoint(args))
    progress = Progress()
    progress.step("checking folders and reading the dataset")
    _require_sensible_counts(args)
    check_model_folder(args.model_path)
    _require_writable(args.model_path)
    output_path = _checked_output_path(args.output_path or args.model_path / REPORT_NAME)
    endpoint = _chat_endpoint(args)
    folders = _compared_folders(args)
    verify_dataset(args.data_dir)
    data = read_evaluation_data(args.data_dir, args.num_examples, args.seed)
    report = _evaluate(args, data, folders, endpoint, progress)
    progress.step("writing the report")
    for path in {output_path, args.model_path / REPORT_NAME}:  # beside the weights too: it is part of their lineage
        _write_report(report, path)
    sys.stdout.write(f"\n{console_table(report)}\n\nreport: {output_path} and {output_path.with_suffix('.html')}\n")
    return 0 if report["passed"] else 1


def _require_sensible_counts(args: argparse.Namespace) -> None:
    for name, least in (("num_examples", 2), ("num_responses", 1), ("seed", 0)):
        if getattr(args, name) < least:
            raise ConfigError(f"--{name} {getattr(args, name)}: give a whole number of {least} or more")


def _checked_output_path(path: Path) -> Path:
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


def _chat_endpoint(args: argparse.Namespace) -> ChatEndpoint | None:
    """Return what --compare_url asks. Raises ConfigError for an option that is missing or has no use."""
    if not args.compare_url:
        for option in ("compare_name", "compare_key_variable"):
            if getattr(args, option):
                raise ConfigError(f"--{option} is about --compare_url, which is not given; give both or neither")
        return None
    if not args.compare_name:
        raise ConfigError("--compare_url needs --compare_name, the model's name there")
    variable = args.compare_key_variable
    if variable and not os.environ.get(variable):
        raise ConfigError(f"--compare_key_variable {variable}: the environment holds no such variable; set it")
    key = os.environ[variable] if variable else None
    return ChatEndpoint(args.compare_url, args.compare_name, key, key_option="--compare_key_variable")


def _compared_folders(args: argparse.Namespace) -> list[tuple[str, Path]]:
    """Return name and folder of each --compare_model. Raises ConfigError, or ModelFolderError for a bad folder."""
    folders = []
    for text in args.compare_model:
        name, _, path = text.partition("=")
        if not name or not path:
            raise ConfigError(f"--compare_model {text!r}: give NAME=PATH, such as plain=runs/plain")
        check_model_folder(Path(path))
        folders.append((name, Path(path)))
    return folders


def _evaluate(
    args: argparse.Namespace,
    data: EvaluationData,
    folders: Sequence[tuple[str, Path]],
    endpoint: ChatEndpoint | None,
    progress: Progress,
) -> dict[str, Any]:
    # torch and scikit-learn take seconds to import: after the checks, so that a mistake is told at once.
    from promethios.evaluation.certified_answers import Certification
    from promethios.evaluation.report import Findings, build_report
    from promethios.evaluation.robustness import Probes, robustness_measures
    from promethios.model.scoring import LoadedModel

    model = LoadedModel.load(args.model_path)
    probes = Probes.of(data, args.seed)
    fit, certify = data.calibration.fit, data.calibration.certify
    scores = _scores(model, {"fit": fit, "certify": certify, **data.test_sets, **probes.sets()}, progress)

    domains = _probed(model, {"fit": fit, **data.test_sets})

    progress.step(f"calibrating on {len(fit):,} examples, certifying on {len(certify):,}")
    dataset = dataset_sha256(args.data_dir)
    calibration, certificate = write_calibration_and_certificate(
        args.model_path,
        dataset,
        data.calibration,
        fit_scores=scores["fit"],
        certify_scores=scores["certify"],
        domain_probe_level=fitted_level(domains.get("fit"), fit),
    )
    systems, chat = _systems(args, data, folders, endpoint, progress)
    sets = _decided(data, scores, calibration, systems, chat, args.seed)
    judged, reference = _judged(args, data, sets["test"], model, progress)
    self_questioning = _self_questioning(model, sets["test"], calibration) if args.self_questioning else None

    progress.step("taking the measures")
    return build_report(
        Findings(
            sets=sets,
            calibration=calibration,
            certificate=certificate,
            certification=Certification(
                CertificationSample.of(certify), calibration.thresholds, calibration.default_threshold
            ),
            certified_on={
                "model": calibrated(scores["certify"], certify, calibration),
                **{system.key: system.predict(certify) for system in systems},
            },
            robustness=robustness_measures(probes, scores, sets["test"], calibration, certificate, systems, args.seed),
            judged=judged,
            reference=reference,
            ceilings=_read_ceilings(args.data_dir),
            provenance=_provenance(args, calibration),
            domain_probe=domain_probe_measures(domains, data.test_sets, calibration.domain_probe_level, args.seed)
            if domains
            else None,
            self_questioning=self_questioning,
            release=args.gates == "release",
            notes=[*data.notes, *([chat.note()] if chat and chat.num_unreadable else [])],
        )
    )


def _scores(model: LoadedModel, sets: Mapping[str, list[Example]], progress: Progress) -> dict[str, FloatArray]:
    """Score every set in one pass; returns the raw scores [n, 18] of each."""
    from promethios.model.scoring import score_examples

    progress.step(f"scoring {sum(map(len, sets.values())):,} prompts with the model")
    scores = np.asarray(score_examples(model, [example for examples in sets.values() for example in examples]))
    ends = np.cumsum([len(examples) for examples in sets.values()])
    return dict(zip(sets, np.split(scores.astype(np.float64), ends[:-1]), strict=True))


def _probed(model: LoadedModel, sets: Mapping[str, list[Example]]) -> dict[str, Logits]:
    """Return the domain probe's logits [n, 32] on every set; nothing for a model without a probe."""
    from promethios.model.scoring import probe_domains

    found = {name: probe_domains(model, examples) for name, examples in sets.items()}
    return {name: logits for name, logits in found.items() if logits is not None}


def _systems(
    args: argparse.Namespace,
    data: EvaluationData,
    folders: Sequence[tuple[str, Path]],
    endpoint: ChatEndpoint | None,
    progress: Progress,
) -> tuple[list[Baseline], ChatBaseline | None]:
    """Return everything that the model is compared with, the ceiling last; a chat endpoint apart from the others."""
    from promethios.evaluation.baselines import fit_baselines, read_contrasts
    from promethios.evaluation.compared_model import compared_model

    contrasts = read_contrasts(args.data_dir)
    progress.step(
        f"choosing and fitting the baselines on {len(data.train):,} examples and {len(contrasts):,} contrasts"
    )
    *rivals, ceiling = fit_baselines(data.train, data.calibration.fit, contrasts)
    dataset = dataset_sha256(args.data_dir)
    others = [compared_model(name, path, data.calibration, dataset) for name, path in folders]
    return [*rivals, *others, ceiling], ChatBaseline(endpoint) if endpoint else None


def _decided(
    data: EvaluationData,
    scores: Mapping[str, FloatArray],
    calibration: Calibration,
    systems: Sequence[Baseline],
    chat: ChatBaseline | None,
    seed: int,
) -> dict[str, EvaluatedSet]:
    """Let the model and every other system decide on every test set; a chat endpoint is asked about `test` only."""
    from promethios.evaluation.evaluated_set import EvaluatedSet

    asked = {"test": [chat.baseline()]} if chat else {}
    return {
        name: EvaluatedSet.of(
            examples, scores[name], calibration, [*systems[:-1], *asked.get(name, []), systems[-1]], seed
        )
        for name, examples in data.test_sets.items()
    }


def _judged(
    args: argparse.Namespace, data: EvaluationData, test: EvaluatedSet, model: LoadedModel, progress: Progress
) -> tuple[list[JudgedResponse], list[JudgedResponse]]:
    """Generate responses under the deployed decisions and judge them, and the dataset's own."""
    from promethios.evaluation.text_quality import ResponseJudge, response_sample
    from promethios.model.generation import generate_responses

    sample = response_sample(test.decisions, args.num_responses, args.seed)
    progress.step(f"generating {len(sample)} responses")
    examples, decisions = [test.examples[i] for i in sample], [test.decisions[i] for i in sample]
    responses = generate_responses(model, examples, decisions)
    judge = ResponseJudge(data.train, data.test)
    complete = [(example, example.decision) for example in data.test if example.decision and example.response]
    return judge.judge(examples, decisions, responses, test.model.probability[sample].tolist()), judge.judge(
        [example for example, _ in complete],
        [decision for _, decision in complete],
        [example.response for example, _ in complete],
    )


def _self_questioning(model: LoadedModel, test: EvaluatedSet, calibration: Calibration) -> dict[str, Any]:
    from promethios.evaluation.self_questioning import self_questioning_measures
    from promethios.model.self_questioning import MAX_ROUNDS, score_with_self_questions

    return self_questioning_measures(score_with_self_questions(model, test.examples), test, calibration, MAX_ROUNDS)


def _read_ceilings(data_dir: Path) -> Any:
    path = data_dir / CEILINGS
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path}: not JSON: {error}; generate the dataset again") from None


def _provenance(args: argparse.Namespace, calibration: Calibration) -> dict[str, Any]:
    given = [
        f"--{name}" if value is True else f"--{name} {shlex.quote(str(value))}"
        for name, values in sorted(vars(args).items())
        for value in (values if isinstance(values, list) else [values])
        if value is not None and value is not False
    ]
    packages = ("numpy", "scikit-learn", "torch", "transformers")
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["promethios evaluate", *given]),
        "model_path": str(args.model_path),
        "weights_sha256": calibration.weights_sha256,
        "calibration_sha256": calibration_sha256(args.model_path),
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
