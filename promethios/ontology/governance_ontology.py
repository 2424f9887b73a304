"""The governance ontology: what the model is to stand for, as data.

`governance_ontology.yaml` beside this file holds frameworks -> principles -> norms -> checks, the domains, the bias
categories and the uncertainty dimensions. A new domain is a new entry there and no code.

    ontology = load_ontology()
    ontology.domain("healthcare").escalation_threshold      # 0.4
    ontology.prevailing("hand_over_when_unsure", "answer_the_question").id
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Final

from promethios.errors import ConfigError, nearest
from promethios.ontology.concepts import Category, Check, Dimension, Domain, Framework, Norm, Principle
from promethios.ontology.section import Section, parse_yaml
from promethios.telemetry.header import DECISIONS, NUM_BIAS, NUM_DOMAIN_SLOTS, NUM_UNCERTAINTY

__all__ = [
    "Category",
    "Check",
    "Dimension",
    "Domain",
    "Framework",
    "Norm",
    "Ontology",
    "Principle",
    "load_ontology",
]

FORMAT_VERSION: Final = 1
_FILE_NAME: Final = "governance_ontology.yaml"
_MAX_NORM_PRECEDENCE: Final = 999


@dataclass(frozen=True, slots=True, kw_only=True)
class Ontology:
    """The ontology, checked: every reference resolves and every declared conflict has one outcome."""

    frameworks: Mapping[str, Framework]
    principles: Mapping[str, Principle]
    norms: Mapping[str, Norm]
    checks: Mapping[str, Check]
    domains: Mapping[str, Domain]
    bias_categories: tuple[Category, ...]
    uncertainty_dimensions: tuple[Dimension, ...]

    def domain(self, name: str) -> Domain:
        """Return a domain. Raises ConfigError with the nearest name."""
        if name not in self.domains:
            raise ConfigError(f"there is no domain {name!r}{nearest(name, self.domains)}")
        return self.domains[name]

    def norm(self, norm_id: str) -> Norm:
        """Return a norm. Raises ConfigError with the nearest id."""
        if norm_id not in self.norms:
            raise ConfigError(f"there is no norm {norm_id!r}{nearest(norm_id, self.norms)}")
        return self.norms[norm_id]

    def conflicts(self, norm_ids: Collection[str]) -> tuple[tuple[Norm, Norm], ...]:
        """Return the declared conflicts among some norms, each as (the norm that prevails, the norm that yields)."""
        norms = sorted((self.norm(norm_id) for norm_id in norm_ids), key=self._strength)
        return tuple((first, second) for first, second in combinations(norms, 2) if second.id in first.conflicts_with)

    def prevailing(self, first: str, second: str) -> Norm:
        """Return the one of two conflicting norms that prevails: by framework, then by the norm's own precedence.

        Raises ConfigError when no conflict between the two is declared.
        """
        for prevails, _ in self.conflicts((first, second)):
            return prevails
        raise ConfigError(f"norms {first!r} and {second!r} are not in conflict; see conflicts_with in {_FILE_NAME}")

    def domain_checks(self, domain: str, decision: str) -> tuple[Check, ...]:
        """Return the checks that a response with this decision has to pass in a domain, each once."""
        ids = dict.fromkeys(check for norm in self.domain(domain).norms for check in self.norms[norm].checks)
        return tuple(self.checks[check] for check in ids if self.checks[check].applies_to(decision))

    def _strength(self, norm: Norm) -> tuple[int, int]:
        return self.frameworks[norm.framework].rank, norm.precedence


def load_ontology(path: Path | None = None) -> Ontology:
    """Load an ontology file, or the one in this package (read once).

    Raises ConfigError naming the file, the key, the value and what is allowed.
    """
    if path is None:
        return _packaged_ontology()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the ontology cannot be read: {error}") from None
    return _build(parse_yaml(text, str(path)))


@cache
def _packaged_ontology() -> Ontology:
    text = resources.files("promethios.ontology").joinpath(_FILE_NAME).read_text(encoding="utf-8")
    return _build(parse_yaml(text, _FILE_NAME))


def _build(root: Section) -> Ontology:
    root.only(
        "format_version", "frameworks", "framework_precedence", "principles", "norms", "checks",
        "costs", "domains", "bias_categories", "uncertainty_dimensions",
    )  # fmt: skip
    root.integer("format_version", FORMAT_VERSION, FORMAT_VERSION)
    frameworks = _frameworks(root)
    principles = {
        key: Principle(
            key,
            section.only("framework", "sentence", "source").one_of("framework", frameworks),
            section.text("sentence"),
            section.text("source") if "source" in section else None,
        )
        for key, section in root.sections("principles").items()
    }
    checks = {key: _check(key, section) for key, section in root.sections("checks").items()}
    norms = _norms(root, frameworks, principles, checks)
    return Ontology(
        frameworks=MappingProxyType(frameworks),
        principles=MappingProxyType(principles),
        norms=MappingProxyType(norms),
        checks=MappingProxyType(checks),
        domains=MappingProxyType(_domains(root, frameworks, norms)),
        bias_categories=tuple(Category(*entry) for entry in _scored(root, "bias_categories", NUM_BIAS)),
        uncertainty_dimensions=tuple(
            Dimension(*entry) for entry in _scored(root, "uncertainty_dimensions", NUM_UNCERTAINTY)
        ),
    )


def _frameworks(root: Section) -> dict[str, Framework]:
    sections = root.sections("frameworks")
    order = root.each_of("framework_precedence", sections)
    for key in sections:
        if key not in order:
            root.fail("framework_precedence", list(order), f"every framework once; {key!r} is missing")
    return {
        key: Framework(
            key, section.only("title", "description").text("title"), section.text("description"), order.index(key)
        )
        for key, section in sections.items()
    }


def _check(key: str, section: Section) -> Check:
    section.only("description", "decisions", "must_match", "must_not_match")
    if "must_match" not in section and "must_not_match" not in section:
        raise ConfigError(f"{section.file}: {section.key}: give must_match, must_not_match or both")
    return Check(
        key,
        section.text("description"),
        section.each_of("decisions", DECISIONS) if "decisions" in section else DECISIONS,
        section.pattern("must_match") if "must_match" in section else None,
        section.pattern("must_not_match") if "must_not_match" in section else None,
    )


def _norms(
    root: Section,
    frameworks: Mapping[str, Framework],
    principles: Mapping[str, Principle],
    checks: Mapping[str, Check],
) -> dict[str, Norm]:
    sections = root.sections("norms")
    for section in sections.values():
        section.only("principle", "sentence", "precedence", "conflicts_with", "checks", "everywhere")
    conflicts = _symmetric_conflicts(sections)
    domains = _domains_of_norms(root, sections)
    norms = {}
    for key, section in sections.items():
        principle = section.one_of("principle", principles)
        norms[key] = Norm(
            id=key,
            principle=principle,
            framework=principles[principle].framework,
            sentence=section.text("sentence"),
            precedence=section.integer("precedence", 1, _MAX_NORM_PRECEDENCE),
            conflicts_with=conflicts[key],
            checks=section.each_of("checks", checks) if "checks" in section else (),
            domains=domains[key],
        )
    _refuse_ties(sections, norms)
    return norms


def _symmetric_conflicts(sections: Mapping[str, Section]) -> dict[str, tuple[str, ...]]:
    """Return each norm's conflicts; one side may state a conflict for both."""
    pairs = set()
    for key, section in sections.items():
        others = section.each_of("conflicts_with", sections) if "conflicts_with" in section else ()
        if key in others:
            section.fail("conflicts_with", list(others), "other norms; a norm cannot conflict with itself")
        pairs |= {frozenset((key, other)) for other in others}
    return {key: tuple(other for other in sections if frozenset((key, other)) in pairs) for key in sections}


def _domains_of_norms(root: Section, norms: Mapping[str, Section]) -> dict[str, tuple[str, ...]]:
    everywhere = {key for key, section in norms.items() if "everywhere" in section and section.flag("everywhere")}
    own = {name: set(section.each_of("norms", norms)) for name, section in root.sections("domains").items()}
    return {key: tuple(name for name in own if key in everywhere or key in own[name]) for key in norms}


def _refuse_ties(sections: Mapping[str, Section], norms: Mapping[str, Norm]) -> None:
    for norm in norms.values():
        for other in map(norms.__getitem__, norm.conflicts_with):
            if (norm.framework, norm.precedence) == (other.framework, other.precedence):
                sections[norm.id].fail(
                    "precedence", norm.precedence, f"a number other than that of {other.id!r}, with which it conflicts"
                )


def _domains(root: Section, frameworks: Mapping[str, Framework], norms: Mapping[str, Norm]) -> dict[str, Domain]:
    costs = root.section("costs").only("review_cost", "miss_cost")
    strongest_first = sorted(norms.values(), key=lambda norm: (frameworks[norm.framework].rank, norm.precedence))
    domains: dict[str, Domain] = {}
    owners: dict[int, str] = {}
    for name, section in root.sections("domains").items():
        section.only("title", "slot", "required_trust", "risk_limit", "expert", "norms", "review_cost", "miss_cost")
        slot = section.integer("slot", 0, NUM_DOMAIN_SLOTS - 1)
        if slot in owners:
            section.fail("slot", slot, f"a free slot; domain {owners[slot]!r} has this one")
        owners[slot] = name
        domains[name] = Domain(
            name=name,
            title=section.text("title"),
            slot=slot,
            required_trust=section.number("required_trust", 1.0),
            risk_limit=_risk_limit(section),
            review_cost=_cost(section, costs, "review_cost"),
            miss_cost=_cost(section, costs, "miss_cost"),
            expert=section.text("expert"),
            norms=tuple(norm.id for norm in strongest_first if name in norm.domains),
        )
    if not domains:
        root.fail("domains", {}, "at least one domain")
    return domains


def _risk_limit(section: Section) -> float:
    value = section.number("risk_limit", 1.0)
    if value in (0.0, 1.0):
        section.fail("risk_limit", value, "a share of requests above 0 and below 1")
    return value


def _cost(section: Section, default: Section, name: str) -> float:
    source = section if name in section else default
    value = source.number(name)
    if value == 0:
        source.fail(name, value, "a cost above 0")
    return value


def _scored(root: Section, name: str, count: int) -> list[tuple[str, str, str]]:
    """Return (id, title, description) of the things that the model has one score each for, in score order."""
    sections = root.sections(name)
    if len(sections) != count:
        root.fail(name, list(sections), f"exactly {count} entries, one for each score of the model")
    return [
        (key, section.only("title", "description").text("title"), section.text("description"))
        for key, section in sections.items()
    ]
