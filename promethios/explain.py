"""Show what a model decides about one request, and which principles fired.

    promethios explain --model_path models/promethios-nano --prompt "May I take both at once?" --domain healthcare \
        --governance 'trust=0.3,emotion=ANXIOUS'
    promethios explain --model_path models/promethios-nano --messages conversation.json --json

Prints the decision and its calibrated probability against the threshold that serving applies, the six uncertainty
dimensions, the bias categories, the tool probe and the confidence, and at each constitutional anchor the principles
that fired most. The folder must have been evaluated: probabilities need its calibration and its certificate.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from promethios.cli import run_command
from promethios.errors import ConfigError
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.certificate import Certificate, deployed_threshold
from promethios.model.folder import check_model_folder
from promethios.ontology.decision import DEGRADED_THRESHOLD_FACTOR, ESCALATE, decide
from promethios.ontology.governance_ontology import load_ontology
from promethios.telemetry import tags
from promethios.telemetry.header import DECISIONS, NUM_BIAS, NUM_UNCERTAINTY
from promethios.telemetry.state import GovernanceState

if TYPE_CHECKING:
    from promethios.model.attribution import AnchorReading

TOP: Final = 3
NOTE: Final = (
    "Attention shows which principles the model looked at, not why it decided so: an attribution, not a proof.\n"
    "Only P(escalate) is calibrated; the other numbers are the model's own."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--model_path", type=Path, required=True, help="model folder, evaluated")
    request = parser.add_mutually_exclusive_group(required=True)
    request.add_argument("--prompt", help="the request, as one user message")
    request.add_argument("--messages", type=Path, help="a JSON file: a list of chat messages")
    parser.add_argument("--governance", metavar="TAGS", help="telemetry: <gov:...> tags or trust=0.3,emotion=ANXIOUS")
    parser.add_argument("--domain", help="domain of the request, such as healthcare")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")


def run(args: argparse.Namespace) -> int:
    """Explain one request. Raises ModelFolderError, TelemetryError, and ConfigError for a domain or messages file."""
    check_model_folder(args.model_path)
    calibration = Calibration.load(args.model_path)
    certificate = Certificate.load(args.model_path, calibration)
    messages = _messages(args)
    state = _state(args.governance)
    domain = load_ontology().domain(args.domain) if args.domain else None
    # torch takes seconds to import: after the checks, so that a mistake is told at once.
    from promethios.model.attribution import read_request
    from promethios.model.encoding import PromptEncoder
    from promethios.model.scoring import load_model

    ids = PromptEncoder.load(args.model_path).prompt(messages, state, domain.header if domain else None)
    scores, anchors = read_request(load_model(args.model_path), ids)
    threshold = deployed_threshold(calibration, certificate, args.domain)
    report = explanation(
        scores, calibration.probabilities(scores, args.domain), threshold, state is None or state.is_degraded(), anchors
    )
    text = json.dumps(report, indent=2) + "\n" if args.json else "".join(f"{line}\n" for line in lines(report))
    sys.stdout.write(text)
    return 0


def explanation(
    scores: Sequence[float],
    probabilities: Sequence[float],
    threshold: float,
    degraded: bool,
    anchors: Sequence[AnchorReading],
) -> dict[str, Any]:
    """Return everything there is to say about one request as plain data.

    scores: raw, in SCORE_NAMES order. probabilities: calibrated, of DECISIONS. threshold: for telemetry that vouches
    for enough; with degraded telemetry the decision halves it, and so does what is shown.
    """
    ontology = load_ontology()
    confidence, *rest = (_sigmoid(score) for score in scores[len(DECISIONS) :])
    uncertainty, bias = rest[:NUM_UNCERTAINTY], rest[NUM_UNCERTAINTY : NUM_UNCERTAINTY + NUM_BIAS]
    return {
        "decision": decide(probabilities, threshold, degraded=degraded),
        "probabilities": dict(zip(DECISIONS, probabilities, strict=True)),
        "probability": probabilities[ESCALATE],
        "threshold": threshold * DEGRADED_THRESHOLD_FACTOR if degraded else threshold,
        "degraded": degraded,
        "confidence": confidence,
        "uncertainty": {d.id: value for d, value in zip(ontology.uncertainty_dimensions, uncertainty, strict=True)},
        "bias": {c.id: value for c, value in zip(ontology.bias_categories, bias, strict=True)},
        "tool": rest[-1],
        "anchors": [_anchor(reading) for reading in anchors],
    }


def _anchor(reading: AnchorReading) -> dict[str, Any]:
    return {
        "layer": reading.layer,
        "gate": reading.gate,
        "change": reading.change,
        "principles": [
            {
                "framework": fired.framework,
                "principle": fired.principle,
                "slot": fired.slot,
                "framework_weight": fired.framework_weight,
                "attention": fired.attention,
                "strength": fired.strength,
                "share": fired.share,
            }
            for fired in reading.fired
        ],
    }


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Return an explanation in plain words, line by line."""
    ontology = load_ontology()
    comparison = "at or above" if report["probability"] >= report["threshold"] else "below"
    because = " (halved: telemetry is missing or stale)" if report["degraded"] else ""
    yield f"decision     {report['decision']}"
    yield (
        f"escalation   probability {report['probability']:.2f}, {comparison} the threshold"
        f" {report['threshold']:.2f}{because}"
    )
    yield f"confidence   {report['confidence']:.2f} that the plain question could be answered well right now"
    titles = {dimension.id: dimension.title for dimension in ontology.uncertainty_dimensions}
    titles |= {category.id: category.title for category in ontology.bias_categories}
    for name in ("uncertainty", "bias"):
        for index, (key, value) in enumerate(sorted(report[name].items(), key=lambda item: -item[1])):
            yield f"{'' if index else name:<12} {value:.2f} {titles[key]}"
    yield f"tool         {report['tool']:.2f} that something should be looked up, or that a tool's result is unreliable"
    for anchor in report["anchors"]:
        yield ""
        yield (
            f"principles after layer {anchor['layer']}: gate {anchor['gate']:+.3f}, "
            f"changes the state by {anchor['change']:.1%} of its length"
        )
        for fired in anchor["principles"][:TOP]:
            yield f"  {fired['strength']:.2f} {fired['framework']}: {_named(fired)}"
    yield ""
    yield from NOTE.splitlines() if report["anchors"] else ["This model has no constitutional anchors."]


def _named(fired: Mapping[str, Any]) -> str:
    if fired["principle"] is None:
        return f"free slot {fired['slot'] + 1}, which stands for no principle"
    principle = load_ontology().principles.get(fired["principle"])
    return f"{fired['principle']}, {principle.sentence if principle else 'not in this ontology'}"


def _messages(args: argparse.Namespace) -> list[dict[str, Any]]:
    if args.prompt is not None:
        return [{"role": "user", "content": args.prompt}]
    try:
        messages = json.loads(args.messages.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--messages {args.messages}: cannot be read as JSON: {error}") from None
    if not (
        isinstance(messages, list)
        and messages
        and all(
            isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
            for m in messages
        )
    ):
        raise ConfigError(
            f'--messages {args.messages}: must hold a list such as [{{"role": "user", "content": "..."}}]'
        )
    return messages


def _state(governance: str | None) -> GovernanceState | None:
    if not governance:
        return None
    return tags.parse(governance) if governance.lstrip().startswith("<") else tags.parse_assignments(governance)


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
