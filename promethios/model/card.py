"""The model card: README.md of an exported folder, with Hugging Face's YAML front matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model_card(config: Mapping[str, Any], report: Mapping[str, Any], lineage: Mapping[str, Any]) -> str:
    """Return the card's Markdown from the model's configuration, its evaluation report and its lineage."""
    scores = "\n".join(
        f"| {name.replace('_', ' ')} | {score['value']:.3f} | {score['low']:.3f} to {score['high']:.3f} |"
        for name, score in report["scores"].items()
    )
    gates = "\n".join(
        f"- {'holds' if gate['holds'] else '**fails**'}: {gate['requirement']}" for gate in report["gates"]
    )
    certified = "\n".join(
        f"| {name} | {domain['risk_limit']:.0%} | {domain['threshold']:.3f} | {domain['auto_answered_share']:.0%} |"
        for name, domain in report["certificate"]["domains"].items()
    )
    run = lineage["training_run"]
    backbone = run.get("config", {}).get("model", {}).get("from_pretrained")
    return f"""---
library_name: promethios
pipeline_tag: text-generation
tags: [governance, human-in-the-loop, selective-prediction]
---
# A Promethios governance model

Decides before it speaks (answer, caveat, clarify, escalate) from the conversation and a header of governance telemetry.

- Shape: {config["num_hidden_layers"]} layers x {config["hidden_size"]}, vocabulary {config["vocab_size"]},
  anchors after layers {config["anchor_layers"]}.
- Trained {run.get("steps", run.get("step"))} steps on dataset `{str(lineage["dataset_sha256"])[:12]}`,
  {_origin(backbone)}
- Weights `{lineage["weights_sha256"][:12]}`; the calibration, the certificate and the report in this
  folder belong to exactly these.

## Evaluation
On the dataset's test split; definitions and baselines are in `evaluation_report.html`.

| measure | value | 95 % interval |
|---|---|---|
{scores}

Gates:
{gates}

## Certificate
In each domain, with {report["certificate"]["confidence"]:.0%} confidence, at most this share of requests is answered
although an expert would have taken them. The server escalates from the threshold on; threshold 0: always.

| domain | answered in error, at most | threshold | answered without a person |
|---|---|---|---|
{certified}

## Use
```
promethios serve --model_path THIS_FOLDER
```
or, in Python, after `import promethios.model.governance_sentinel_8b`,
`AutoModelForCausalLM.from_pretrained(THIS_FOLDER)`.
"""


def _origin(backbone: str | None) -> str:
    if backbone is None:
        return """from scratch. The corpus is generated: the model knows the situations of that corpus and nothing of
  the world. It gives no advice that anyone should follow."""
    return f"""from the pretrained backbone `{backbone}`, whose licence and limits hold for these weights, too. The
  governance corpus is generated: what was measured below was measured on that corpus."""
