"""Read a training configuration: YAML to checked dataclasses. The only reader of these files; needs no torch.

The keys are the fields below; the seed's keys (`model.num_layers`, `training.fp16`,
`governance.hitl_escalation_threshold` and so on) keep their names. Anything unknown, of the wrong type or impossible
raises ConfigError naming file and key.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import types
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from promethios.errors import ConfigError, nearest
from promethios.ontology.governance_ontology import load_ontology
from promethios.ontology.section import load_yaml

CONFIG_DIR: Final = Path(__file__).parent
VALUE_EMBEDDINGS: Final = ("smooth", "bins")
TRAINABLE: Final = ("modules", "lora", "full")
_OVERRIDE_FORM: Final = "give section.key=value, for example training.max_steps=50"


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """Shape of the model. Layer numbers are 1-based; a list that is absent is placed by depth.

    from_pretrained: a Hugging Face folder or hub id whose weights and tokenizer to start from; the shape must be its
    own, with vocab_size grown by the reserved tokens where it has no spare rows. head_dim: hidden_size /
    num_attention_heads when absent. value_embedding: "smooth", numbers as one function of their value, or "bins", an
    ordinary row for each. governance_modules: False leaves out everything between the layers; the heads stay.
    num_principles: slots of each framework, at least as many as the ontology has principles in it.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    from_pretrained: str | None = None
    head_dim: int | None = None
    context_length: int = 2048
    rope_theta: float = 10000.0
    qk_norm: bool = False
    tie_word_embeddings: bool = False
    value_embedding: str = "smooth"
    governance_modules: bool = True
    governance_layers: list[int] | None = None
    veritas_layers: list[int] | None = None
    tool_layers: list[int] | None = None
    anchor_size: int = 1024
    anchor_heads: int = 8
    num_principles: int = 32
    veritas_rank: int = 256
    tool_rank: int = 128
    initializer_range: float = 0.02


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the parts of the loss.

    `language` covers the response only, `monotonicity`, `invariance` and `attack` counterfactual twins. `domain` moves
    the domain probe alone, unless training.domain_moves_model; AdamW trains that the same at any weight, and a small
    one keeps its gradient out of the norm that is clipped, so that nothing else trains differently. `request`: what
    the text alone shows, read where it ends, and `evidence`: what each of its remarks shows, read where the remark
    ends; `telemetry`: what the telemetry alone shows, read where the header ends.
    """

    language: float = 1.0
    decision: float = 1.0
    confidence: float = 0.3
    uncertainty: float = 0.2
    bias: float = 0.2
    tool: float = 0.1
    monotonicity: float = 0.1
    invariance: float = 0.05
    attack: float = 0.05
    domain: float = 0.01
    request: float = 0.3
    evidence: float = 0.3
    telemetry: float = 0.3


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of training on a pretrained backbone.

    train: "modules" (the backbone is frozen; governance modules, heads and new embedding rows move), "lora" (besides,
    adapters of rank `lora_rank` on attention and MLP, merged in every saved folder) or "full" (everything).
    learning_rate, epochs: the section's when absent.
    """

    train: str
    learning_rate: float | None = None
    epochs: float | None = None
    lora_rank: int = 64


@dataclass(frozen=True, kw_only=True)
class Preservation:
    """Keep a pretrained backbone's behaviour: KL to it, in nats a token, on chat without a header.

    data: a .jsonl file with `messages` on each line; the training conversations without their header when absent.
    """

    weight: float = 0.1
    data: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingSection:
    """How to train. `batch_size` counts packed sequences per device and micro step.

    effective_batch_size: what batch_size x gradient_accumulation_steps x ranks is meant to be, in packed sequences;
    `promethios plan` refuses a node on which it is something else.
    stages: one after the other; absent: everything trains at once. preservation: on by default with
    model.from_pretrained; weight 0 turns it off.
    muon_learning_rate: Muon trains the matrices of the layers at this rate and AdamW the rest at learning_rate; nothing
    is clipped then, for the size of a step does not hang on the gradient's. Absent: AdamW trains everything.
    decision_loss: soft_label (cross-entropy to the posterior) or defer (cost-sensitive). counterfactual_share: tokens
    that counterfactual twins add, as a share of the training tokens; 0 for none. contrast_share: the share that pairs
    add whose decision hangs on one thing. header_share: the share that headers alone add, of telemetry drawn anew, from
    which the model learns to read it. noise_share: of the examples, in
    whose requests words are replaced at random, as if never seen. response_share: of the examples, which
    hold their response; the others end with the header and teach the decision alone. self_question_share: which hold
    their self-questions as hidden rounds. domain_moves_model: the domain probe's loss trains the states that
    it reads, too. A pretrained backbone's say what a text is about; a small model from scratch has to learn it.
    """

    epochs: float = 3.0
    max_steps: int | None = None
    batch_size: int = 1
    gradient_accumulation_steps: int = 1
    effective_batch_size: int | None = None
    sequence_length: int = 2048
    learning_rate: float
    muon_learning_rate: float | None = None
    lr_scheduler: str = "cosine"
    warmup_ratio: float = 0.05
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    adam_beta2: float = 0.999
    bf16: bool = False
    fp16: bool = False
    gradient_checkpointing: bool = False
    torch_compile: bool = False
    zero_stage: int = 0
    dataloader_num_workers: int = 0
    logging_steps: int = 10
    save_steps: int = 100
    save_total_limit: int = 2
    seed: int = 42
    decision_loss: str = "soft_label"
    counterfactual_share: float = 0.15
    contrast_share: float = 0.0
    header_share: float = 0.1
    noise_share: float = 0.0
    response_share: float = 1.0
    self_question_share: float = 0.3
    domain_moves_model: bool = False
    stages: list[Stage] | None = None
    preservation: Preservation | None = None
    loss_weights: LossWeights = field(default_factory=LossWeights)


@dataclass(frozen=True, kw_only=True)
class PreferenceSection:
    """How `promethios align` learns from preferences; everything else is as in `training`.

    beta: how much a departure from the model before costs. anchor: weight of the preferred responses' own language
    loss. replay_share: original data among all examples. learning_rate: a tenth of the training's when absent.
    """

    beta: float = 0.1
    anchor: float = 0.2
    replay_share: float = 0.3
    learning_rate: float | None = None
    epochs: float = 1.0
    batch_size: int = 8


@dataclass(frozen=True, kw_only=True)
class GovernanceSection:
    """The seed's governance keys. The ontology rules; what stands here must agree with it, or a reader is misled."""

    hitl_escalation_threshold: float | None = None
    domain_trust_requirements: dict[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A whole training configuration."""

    model: ModelSection
    training: TrainingSection
    preference: PreferenceSection = field(default_factory=PreferenceSection)
    governance: GovernanceSection = field(default_factory=GovernanceSection)

    def to_mapping(self) -> dict[str, Any]:
        """Return plain data, as `load_run_config` reads it."""
        return dataclasses.asdict(self)


def load_run_config(name_or_path: str, overrides: Mapping[str, str] | None = None) -> RunConfig:
    """Load a configuration by preset name (`preset_names`) or path, then apply `section.key` -> YAML text overrides.

    Raises ConfigError naming file, dotted key, value and what is allowed.
    """
    path = _resolve(name_or_path)
    try:
        raw = load_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return parse_run_config(raw, str(path), overrides)


def parse_run_config(raw: Any, where: str, overrides: Mapping[str, str] | None = None) -> RunConfig:
    """Check a configuration given as plain data, as `RunConfig.to_mapping` returns it; see `load_run_config`."""
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: must hold the sections model, training and governance")
    for key, text in (overrides or {}).items():
        _apply_override(raw, key, text)
    config = _parse(RunConfig, raw, where, "")
    for key, problem in _problems(config):
        raise ConfigError(f"{where}: {key} {problem}")
    return config


def parse_overrides(pairs: Sequence[str]) -> dict[str, str]:
    """Return `section.key` -> YAML text from the "section.key=value" of a command's `--set`. Raises ConfigError."""
    for pair in pairs:
        if "=" not in pair:
            raise ConfigError(f"--set {pair}: {_OVERRIDE_FORM}")
    return dict(pair.split("=", 1) for pair in pairs)


def preset_names() -> list[str]:
    """Return the names of the shipped configurations."""
    return sorted(
        p.name.removeprefix("config_").removesuffix("_governance.yaml")
        for p in CONFIG_DIR.glob("config_*_governance.yaml")
    )


def _resolve(name_or_path: str) -> Path:
    for path in (Path(name_or_path), CONFIG_DIR / f"config_{name_or_path}_governance.yaml", CONFIG_DIR / name_or_path):
        if path.is_file():
            return path
    raise ConfigError(
        f"no configuration {name_or_path!r}: neither a file nor a preset{nearest(name_or_path, preset_names())}"
    )


def _apply_override(raw: dict[str, Any], key: str, text: str) -> None:
    *sections, name = key.split(".")
    target: Any = raw
    for section in sections:
        target = target.setdefault(section, {}) if isinstance(target, dict) else None
    if not sections or not isinstance(target, dict):
        raise ConfigError(f"--set {key}: {_OVERRIDE_FORM}")
    try:
        target[name] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {key}={text}: the value is not valid YAML") from None


_Section = TypeVar("_Section")


def _parse(kind: type[_Section], raw: Any, where: str, prefix: str) -> _Section:
    """Build a dataclass from a mapping, checking names and types; `prefix` is the dotted path so far."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}: {prefix.rstrip('.') or 'file'} must be a mapping, got {raw!r}")
    hints = typing.get_type_hints(kind)
    for key in raw:
        if key not in hints:
            raise ConfigError(f"{where}: unknown key {prefix}{key}{nearest(str(key), hints)}")
    values: dict[str, Any] = {}
    for item in dataclasses.fields(kind):  # type: ignore[arg-type]
        dotted = prefix + item.name
        if item.name not in raw:
            if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
                raise ConfigError(f"{where}: key {dotted} is missing")
            continue
        values[item.name] = _convert(hints[item.name], raw[item.name], where, dotted)
    return kind(**values)


def _convert(hint: Any, value: Any, where: str, dotted: str) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if dataclasses.is_dataclass(hint):
        return _parse(typing.cast(type[Any], hint), value, where, dotted + ".")
    entry = typing.get_args(hint)[0] if typing.get_origin(hint) is list else None
    if dataclasses.is_dataclass(entry) and isinstance(value, list):
        return [_convert(entry, item, where, f"{dotted}[{index}]") for index, item in enumerate(value)]
    if hint is float and isinstance(value, str):
        # YAML 1.1 reads 5e-5, the seed's spelling, as a string.
        with contextlib.suppress(ValueError):
            value = float(value)
    allowed, good = _check(hint, value)
    if not good:
        raise ConfigError(f"{where}: {dotted} is {value!r}, allowed is {allowed}")
    return float(value) if hint is float else value


def _check(hint: Any, value: Any) -> tuple[str, bool]:
    is_int = isinstance(value, int) and not isinstance(value, bool)
    is_number = (is_int or isinstance(value, float)) and math.isfinite(value)
    if hint is bool:
        return "true or false", isinstance(value, bool)
    if hint is int:
        return "a whole number", is_int
    if hint is float:
        return "a number", is_number
    if hint is str:
        return "a word", isinstance(value, str)
    if hint == list[int]:
        return "a list of whole numbers", isinstance(value, list) and all(_check(int, x)[1] for x in value)
    if typing.get_origin(hint) is list:
        return "a list of mappings", False  # a list was read entry by entry
    return "a mapping from name to number", isinstance(value, dict) and all(_check(float, x)[1] for x in value.values())


def _problems(config: RunConfig) -> typing.Iterator[tuple[str, str]]:
    """Yield (dotted key, what is wrong and what to do) for values that cannot work."""
    yield from _model_problems(config.model)
    yield from _training_problems(config)
    yield from _stage_problems(config)
    yield from _objective_problems(config.training)
    yield from _preference_problems(config.preference)
    yield from _governance_problems(config.governance)


def _model_problems(model: ModelSection) -> typing.Iterator[tuple[str, str]]:
    for item in dataclasses.fields(model):
        value = getattr(model, item.name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
            yield f"model.{item.name}", f"is {value}, it must be above 0"
    yield from _head_problems(model)
    if model.value_embedding not in VALUE_EMBEDDINGS:
        yield (
            "model.value_embedding",
            f"is {model.value_embedding!r}{nearest(model.value_embedding, VALUE_EMBEDDINGS)}",
        )
    yield from _governance_module_problems(model)


def _head_problems(model: ModelSection) -> typing.Iterator[tuple[str, str]]:
    if model.hidden_size % model.num_attention_heads:
        yield (
            "model.hidden_size",
            f"{model.hidden_size} is not a multiple of num_attention_heads {model.num_attention_heads}",
        )
    elif (model.head_dim or model.hidden_size // model.num_attention_heads) % 2:
        key = "model.head_dim" if model.head_dim else "model.hidden_size"
        yield key, "gives an odd head size; rotary positions need an even one"
    if model.num_attention_heads % model.num_key_value_heads:
        yield (
            "model.num_key_value_heads",
            f"{model.num_key_value_heads} does not divide num_attention_heads {model.num_attention_heads}",
        )


def _governance_module_problems(model: ModelSection) -> typing.Iterator[tuple[str, str]]:
    if model.anchor_size % model.anchor_heads:
        yield "model.anchor_size", f"{model.anchor_size} is not a multiple of anchor_heads {model.anchor_heads}"
    for name in ("governance_layers", "veritas_layers", "tool_layers"):
        layers = getattr(model, name)
        if layers is not None and not all(1 <= n <= model.num_layers for n in layers):
            yield f"model.{name}", f"is {layers}, layer numbers run from 1 to num_layers {model.num_layers}"
    counts = Counter(principle.framework for principle in load_ontology().principles.values())
    framework, most = counts.most_common(1)[0]
    if model.num_principles < most:
        yield (
            "model.num_principles",
            f"is {model.num_principles}, but the ontology's framework {framework} has {most} principles; give at least"
            " one slot for each",
        )


def _training_problems(config: RunConfig) -> typing.Iterator[tuple[str, str]]:
    training = config.training
    positive = ("epochs", "max_steps", "batch_size", "gradient_accumulation_steps", "sequence_length", "learning_rate")
    optional = ("muon_learning_rate", "effective_batch_size", "logging_steps", "save_steps", "save_total_limit")
    for name in (*positive, *optional):
        value = getattr(training, name)
        if value is not None and value <= 0:
            yield f"training.{name}", f"is {value}, it must be above 0"
    if training.bf16 and training.fp16:
        yield "training.fp16", "and training.bf16 are both true; choose one (bf16 on A100 and later)"
    if training.sequence_length > config.model.context_length:
        yield (
            "training.sequence_length",
            f"{training.sequence_length} is longer than model.context_length {config.model.context_length}",
        )
    if training.zero_stage not in (0, 1, 2, 3):
        yield "training.zero_stage", f"is {training.zero_stage}, allowed are 0, 1, 2, 3"
    if training.lr_scheduler not in ("cosine", "linear", "constant_with_warmup"):
        yield "training.lr_scheduler", f"is {training.lr_scheduler!r}, allowed are cosine, linear, constant_with_warmup"
    if not 0 <= training.warmup_ratio < 1:
        yield "training.warmup_ratio", f"is {training.warmup_ratio}, it must be at least 0 and below 1"


def _objective_problems(training: TrainingSection) -> typing.Iterator[tuple[str, str]]:
    if training.decision_loss not in ("soft_label", "defer"):
        yield "training.decision_loss", f"is {training.decision_loss!r}, allowed are soft_label, defer"
    for name in (
        "counterfactual_share",
        "contrast_share",
        "header_share",
        "noise_share",
        "response_share",
        "self_question_share",
    ):
        if not 0 <= getattr(training, name) <= 1:
            yield f"training.{name}", f"is {getattr(training, name)}, it must be from 0 to 1"
    for item in dataclasses.fields(training.loss_weights):
        if getattr(training.loss_weights, item.name) < 0:
            yield f"training.loss_weights.{item.name}", "must not be negative"


def _stage_problems(config: RunConfig) -> typing.Iterator[tuple[str, str]]:
    training, pretrained = config.training, config.model.from_pretrained is not None
    if training.preservation is not None:
        if not pretrained:
            yield "training.preservation", "needs model.from_pretrained: there is no backbone to stay close to"
        if training.preservation.weight < 0:
            yield "training.preservation.weight", "must not be negative"
    if training.stages is not None and not pretrained:
        yield "training.stages", "needs model.from_pretrained: there is no backbone to train in stages"
    if training.stages == []:
        yield "training.stages", "is empty; list stages, or leave it out to train everything at once"
    for index, stage in enumerate(training.stages or ()):
        key = f"training.stages[{index}]"
        if stage.train not in TRAINABLE:
            yield f"{key}.train", f"is {stage.train!r}{nearest(stage.train, TRAINABLE)}"
        for name in ("learning_rate", "epochs", "lora_rank"):
            value = getattr(stage, name)
            if value is not None and value <= 0:
                yield f"{key}.{name}", f"is {value}, it must be above 0"


def _preference_problems(preference: PreferenceSection) -> typing.Iterator[tuple[str, str]]:
    for name in ("beta", "learning_rate", "epochs"):
        value = getattr(preference, name)
        if value is not None and value <= 0:
            yield f"preference.{name}", f"is {value}, it must be above 0"
    if preference.anchor < 0:
        yield "preference.anchor", "must not be negative"
    if not 0 <= preference.replay_share < 1:
        yield "preference.replay_share", f"is {preference.replay_share}, it must be at least 0 and below 1"
    if preference.batch_size < 2:
        yield "preference.batch_size", f"is {preference.batch_size}, it must be at least 2: KTO compares within a batch"


def _governance_problems(governance: GovernanceSection) -> typing.Iterator[tuple[str, str]]:
    ontology = load_ontology()
    threshold = governance.hitl_escalation_threshold
    if threshold is not None:
        for name, domain in ontology.domains.items():
            if not math.isclose(domain.escalation_threshold, threshold, abs_tol=1e-6):
                yield (
                    "governance.hitl_escalation_threshold",
                    f"is {threshold}, but the ontology's costs give {domain.escalation_threshold} for {name}; "
                    "change the costs in governance_ontology.yaml or this key",
                )
    for name, required in (governance.domain_trust_requirements or {}).items():
        if name not in ontology.domains:
            yield f"governance.domain_trust_requirements.{name}", f"is no domain{nearest(name, ontology.domains)}"
        elif not math.isclose(ontology.domain(name).required_trust, required, abs_tol=1e-6):
            yield (
                f"governance.domain_trust_requirements.{name}",
                f"is {required}, but the ontology requires {ontology.domain(name).required_trust}; "
                "change governance_ontology.yaml or this key",
            )
