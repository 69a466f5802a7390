"""A spec as the author sees it: clauses by position, each with its domain, subdomain and label.

Everything that is drawn at random later is drawn by position, so that two specs that differ only in single words
get the same documents, word for word but for those words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from midspec.corpus._config import CorpusConfig
from midspec.corpus._format import Frames
from midspec.corpus._names import put_names
from midspec.corpus._rules import Rule, rules_of
from midspec.errors import SpecError
from midspec.records import Assertion, Clause, Label, Section, Spec

__all__ = ["Outline", "Unit", "outline"]

_NAME_WORDS = 6


@dataclass(frozen=True)
class Unit:
    """A subdomain: a section's clauses or a rule's, by position. `rule_id` is empty outside rules mode."""

    domain: str
    name: str
    context: str
    section_id: str
    positions: tuple[int, ...]
    rule_id: str = ""
    untitled: bool = False


@dataclass(frozen=True)
class Outline:
    """A spec's clauses in order, the units they belong to, and their labels."""

    title: str
    sha256: str
    clauses: tuple[Clause, ...]
    labels: tuple[Label, ...]
    units: tuple[Unit, ...]

    @cached_property
    def unit_of(self) -> tuple[int, ...]:
        """For each clause, the index of its unit."""
        owner = {position: index for index, unit in enumerate(self.units) for position in unit.positions}
        return tuple(owner[position] for position in range(len(self.clauses)))

    @cached_property
    def position_of(self) -> dict[str, int]:
        """For each clause id, its position."""
        return {clause.id: position for position, clause in enumerate(self.clauses)}

    @cached_property
    def by_label(self) -> dict[str, tuple[int, ...]]:
        """Positions of the clauses with a label."""
        found: dict[str, list[int]] = {}
        for position, label in enumerate(self.labels):
            found.setdefault(label, []).append(position)
        return {label: tuple(positions) for label, positions in found.items()}

    @cached_property
    def by_domain(self) -> dict[str, tuple[int, ...]]:
        """Positions of the clauses of a domain."""
        found: dict[str, list[int]] = {}
        for unit in self.units:
            found.setdefault(unit.domain, []).extend(unit.positions)
        return {domain: tuple(sorted(positions)) for domain, positions in found.items()}

    def pool(self, name: str, focus: tuple[int, ...]) -> tuple[int, ...]:
        """The positions that a pool of the frames means for a document about `focus`, in order."""
        kind, _, label = name.partition(":")
        if kind == "label":
            return self.by_label.get(label, ())
        if kind == "spec":
            return tuple(range(len(self.clauses)))
        if kind == "focus":
            return focus
        unit = self.units[self.unit_of[focus[0]]]
        return unit.positions if kind == "section" else self.by_domain[unit.domain]


def outline(spec: Spec, config: CorpusConfig, frames: Frames) -> Outline:
    """METHOD 2, steps 1 to 3, by the spec's own structure.

    Raises:
        SpecError: a placeholder is not filled; or rules mode, and the spec holds no numbered rule.
    """
    named = put_names(spec, config.model_name, config.provider_name)
    sections = [section for section in named.sections if section.clauses]
    units = _rule_units(sections, named) if config.mode == "rules" else _section_units(sections, named)
    return Outline(
        title=named.title,
        sha256=named.sha256,
        clauses=named.clauses,
        labels=tuple(label_of(clause.text, frames) for clause in named.clauses),
        units=tuple(units),
    )


def _section_units(sections: list[Section], spec: Spec) -> list[Unit]:
    units, first = [], 0
    root = _root(sections)
    for section in sections:
        positions = tuple(range(first, first + len(section.clauses)))
        units.append(_unit(section, spec, root, positions))
        first += len(section.clauses)
    return units


def _rule_units(sections: list[Section], spec: Spec) -> list[Unit]:
    units: list[Unit] = []
    root, first, n_rules = _root(sections), 0, 0
    for section in sections:
        for rule in rules_of(section):
            n_rules += bool(rule.id)
            positions = tuple(first + index for index in rule.indices)
            units.append(_unit(section, spec, root, positions, rule))
        first += len(section.clauses)
    if not n_rules:
        raise SpecError("holds no numbered rules", where=spec.title, mend="Number the rules, or use --mode prose")
    return units


def _unit(section: Section, spec: Spec, root: str | None, positions: tuple[int, ...], rule: Rule | None = None) -> Unit:
    path = section.path[1:] if root is not None and section.path[0] == root and len(section.path) > 1 else section.path
    untitled = section.level == 0 or not section.title
    return Unit(
        domain=spec.title if untitled else path[0],
        name=rule.name if rule is not None and rule.id else section.title,
        context=" > ".join(path),
        section_id=section.id,
        positions=positions,
        rule_id=rule.id if rule is not None else "",
        untitled=untitled,
    )


def _root(sections: list[Section]) -> str | None:
    """The title that stands over all titled sections: it is no domain."""
    tops = {section.path[0] for section in sections if section.level > 0}
    deep = any(len(section.path) > 1 for section in sections)
    return tops.pop() if len(tops) == 1 and deep else None


def label_of(text: str, frames: Frames) -> Label:
    """The first label with a cue in the text."""
    for entry in frames.labels:
        if _matches(entry.cues, text):
            return entry.label
    return frames.default_label


def assertions_of(found: Outline, positions: Iterable[int], frames: Frames) -> tuple[Assertion, ...]:
    """What the clauses at these positions assert, each explained by the reason that the spec itself gives, if any."""
    return tuple(_assertion(found, position, frames) for position in positions)


def _assertion(found: Outline, position: int, frames: Frames) -> Assertion:
    clause = found.clauses[position]
    following = found.clauses[position + 1] if position + 1 < len(found.clauses) else None
    explanation = ""
    if _matches(frames.reasons, clause.text):
        explanation = clause.text
    elif following is not None and following.section_id == clause.section_id:
        explanation = following.text if _matches(frames.reasons, following.text) else ""
    name = " ".join(clause.text.split()[:_NAME_WORDS])
    label = found.labels[position]
    return Assertion(clause_id=clause.id, name=name, text=clause.text, explanation=explanation, label=label)


def _matches(patterns: tuple[str, ...], text: str) -> bool:
    return any(re.search(pattern, text) for pattern in patterns)
