"""A spec as an author sees it: clauses by position, each with its domain, subdomain and label.

Everything that is drawn at random later is drawn by position, so that two specs that differ only in single words
get the same documents, word for word but for those words.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from midspec.core.errors import SpecError
from midspec.core.records import Assertion, Clause, Label, Section, Spec
from midspec.core.text import without_bold
from midspec.corpus._config import CorpusConfig
from midspec.corpus.template_author._templates import DocumentTemplates
from midspec.spec import fill_by

_CODE = r"(?P<id>[A-Z]{1,5}[- ]?\d+(?:\.\d+)*[a-z]?|\d+(?:\.\d+)*[a-z]?)"
_TITLE = re.compile(rf"(?:Rule\s+)?{_CODE}(?:[.):\s—–-]+(?P<name>.*))?$")
_LEAD = re.compile(r"[*_]*(?:Rule\s+)?(?P<id>[A-Z]{1,5}[- ]?\d+(?:\.\d+)*[a-z]?)[*_]*[.):\s—–(*_]")
_NUMBERED = re.compile(r"^[ \t]*(\d{1,9})[.)][ \t]+(\S.*)$", re.MULTILINE)
_BOLD_NAME = re.compile(r"\*\*(?P<name>[^*]{2,60})\*\*")
_HEAD_END = re.compile(r"[:(—–]|\.(?=\s|$)")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_MAX_NAME_WORDS = 8
_MIN_NAME_WORDS = 3
_SMALL_WORD_CHARS = 4
_ASSERTION_NAME_WORDS = 6


@dataclass(frozen=True)
class Rule:
    """A rule: its id as the spec writes it, its name, and which of the section's clauses say it.

    What stands between rules (an introduction, say) is a `Rule` with an empty id: still quoted, never cited.
    """

    id: str
    name: str
    indices: tuple[int, ...]


def rules_of(section: Section) -> list[Rule]:
    """Cut a section into its rules, in order; every clause belongs to exactly one of them."""
    if match := _TITLE.match(without_bold(section.title).strip("*_ ")):
        return [Rule(match["id"], _trimmed(match["name"] or match["id"]), tuple(range(len(section.clauses))))]
    numbers = {_key(text): number for number, text in _NUMBERED.findall(section.text)}
    starts: list[tuple[int, str]] = []
    for index, clause in enumerate(section.clauses):
        match = _LEAD.match(clause.text)
        rule_id = match["id"] if match else numbers.get(_key(clause.text), "") if clause.kind == "item" else ""
        if rule_id or not index:
            starts.append((index, rule_id))
    ends = [index for index, _ in starts[1:]] + [len(section.clauses)]
    return [
        Rule(
            rule_id,
            _rule_name(section.clauses[start].text, rule_id) if rule_id else section.title,
            tuple(range(start, end)),
        )
        for (start, rule_id), end in zip(starts, ends, strict=False)
    ]


def _key(text: str) -> str:
    return " ".join(text.split())[:40]


def _rule_name(text: str, rule_id: str) -> str:
    """Name a rule by its bold lead, by what stands before its first colon or stop, or by its beginning.

    Of a long beginning it is what stands before a comma, or the first words and an ellipsis; the small words that the
    cut would leave at the end (before deleting a) go too.
    """
    body = re.sub(rf"^[*_]*(?:Rule\s+)?{re.escape(rule_id)}[*_]*[.):\s—–*_]*", "", text)
    if bold := _BOLD_NAME.search(text[:100]):
        name = re.sub(rf"^(?:Rule\s+)?{re.escape(rule_id)}\W*", "", bold["name"])
        if name.strip(" .:"):
            return _trimmed(name)
    head = _HEAD_END.split(body, maxsplit=1)[0]
    if 0 < len(head.split()) <= _MAX_NAME_WORDS:
        return _trimmed(head)
    sentence = _SENTENCE_END.split(body, maxsplit=1)[0]
    words = sentence.split()
    if len(words) <= _MAX_NAME_WORDS:
        return _trimmed(sentence)
    kept = words[:_MAX_NAME_WORDS]
    commas = [at for at, word in enumerate(kept, start=1) if word.endswith((",", ";")) and at >= _MIN_NAME_WORDS]
    kept = kept[: commas[-1]] if commas else kept
    while len(kept) > _MIN_NAME_WORDS and len(kept[-1]) <= _SMALL_WORD_CHARS:
        kept.pop()
    return f"{_trimmed(' '.join(kept)).rstrip(',;')} ..."


def _trimmed(text: str) -> str:
    return text.strip(" .:*_()")


@dataclass(frozen=True)
class Unit:
    """A subdomain: a section's clauses or a rule's, by position. `rule_id` is empty outside rules mode.

    `titles` are the headings over it, outermost first; `untitled` says that its own is made of its first words.
    """

    domain: str
    name: str
    context: str
    section_id: str
    positions: tuple[int, ...]
    rule_id: str = ""
    untitled: bool = False
    titles: tuple[str, ...] = ()


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
        """The index of each clause's unit."""
        owner = {position: index for index, unit in enumerate(self.units) for position in unit.positions}
        return tuple(owner[position] for position in range(len(self.clauses)))

    @cached_property
    def position_of(self) -> dict[str, int]:
        """The position of each clause id."""
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
        """Return the positions that a pool of the templates means for a document about `focus`, in order."""
        kind, _, label = name.partition(":")
        if kind == "label":
            return self.by_label.get(label, ())
        if kind == "spec":
            return tuple(range(len(self.clauses)))
        if kind == "focus":
            return focus
        unit = self.units[self.unit_of[focus[0]]]
        return unit.positions if kind == "section" else self.by_domain[unit.domain]


def outline(spec: Spec, config: CorpusConfig, templates: DocumentTemplates) -> Outline:
    """Outline a spec by its own structure: what steps 1 to 3 of the paper's pipeline (arXiv 2605.02087) find.

    Raises:
        SpecError: a placeholder is not filled; or rules mode, and the spec holds no numbered rule.
    """
    named = fill_by(spec, config)
    sections = [section for section in named.sections if section.clauses]
    root, first = _root(sections), 0
    units: list[Unit] = []
    for section in sections:
        whole = Rule("", section.title, tuple(range(len(section.clauses))))
        rules = rules_of(section) if config.mode == "rules" else [whole]
        units += [_unit(section, named, root, tuple(first + index for index in one.indices), one) for one in rules]
        first += len(section.clauses)
    if config.mode == "rules" and not any(unit.rule_id for unit in units):
        raise SpecError("holds no numbered rules", where=named.title, hint="Number the rules, or use --mode prose")
    labels = tuple(label_of(clause.text, templates) for clause in named.clauses)
    return Outline(named.title, named.sha256, named.clauses, labels, tuple(units))


def join_unnumbered(found: Outline) -> Outline:
    """Give what stands between rules (an introduction, say) to the next rule, whose own clause stays first."""
    units: list[Unit] = []
    waiting: tuple[int, ...] = ()
    for unit in found.units:
        if unit.rule_id:
            units.append(replace(unit, positions=(*unit.positions, *waiting)))
            waiting = ()
        else:
            waiting += unit.positions
    units[-1] = replace(units[-1], positions=(*units[-1].positions, *waiting))
    return replace(found, units=tuple(units))


def _unit(section: Section, spec: Spec, root: str | None, positions: tuple[int, ...], rule: Rule) -> Unit:
    path = section.path[1:] if root is not None and section.path[0] == root and len(section.path) > 1 else section.path
    untitled = section.level == 0 or not section.title
    return Unit(
        domain=path[0] if not untitled or len(path) > 1 else spec.title,
        name=rule.name if rule.id else section.title,
        context=" > ".join(path),
        section_id=section.id,
        positions=positions,
        rule_id=rule.id,
        untitled=untitled,
        titles=section.path if section.level else section.path[:-1],
    )


def _root(sections: list[Section]) -> str | None:
    """Return the title that stands over all titled sections: it is no domain."""
    tops = {section.path[0] for section in sections if section.level > 0}
    deep = any(len(section.path) > 1 for section in sections)
    return tops.pop() if len(tops) == 1 and deep else None


def label_of(text: str, templates: DocumentTemplates) -> Label:
    """Return the first label with a cue in the text."""
    for entry in templates.labels:
        if _matches(entry.cues, text):
            return entry.label
    return templates.default_label


def assertions_of(found: Outline, positions: Iterable[int], templates: DocumentTemplates) -> list[Assertion]:
    """Say what the clauses at these positions assert, each explained by the reason that the spec itself gives, if any.

    The reason stands in the clause, or in the one after it of the same section.
    """
    assertions = []
    for position in positions:
        clause, *following = found.clauses[position : position + 2]
        near = (clause, *(one for one in following if one.section_id == clause.section_id))
        made = Assertion(
            clause_id=clause.id,
            name=" ".join(clause.text.split()[:_ASSERTION_NAME_WORDS]),
            text=clause.text,
            explanation=next((one.text for one in near if _matches(templates.reasons, one.text)), ""),
            label=found.labels[position],
        )
        assertions.append(made)
    return assertions


def _matches(patterns: tuple[str, ...], text: str) -> bool:
    return any(re.search(pattern, text) for pattern in patterns)


def nearest(homes: Sequence[Sequence[int]], wanted: Iterable[int]) -> list[tuple[int, ...]]:
    """Add to groups of positions (`homes`) every wanted position that none of them holds, each to the nearest group.

    Nearest in the order of the text; of two equally near, the one that comes before. A group may be empty.
    """
    grown = [set(home) for home in homes]
    owner = {position: index for index, home in enumerate(homes) for position in home}
    held = sorted(owner)
    for position in wanted:
        if position not in owner:
            after = bisect_left(held, position)
            around = held[max(0, after - 1) : after + 1]
            closest = min(around, key=lambda other: (abs(other - position), other), default=None)
            grown[0 if closest is None else owner[closest]].add(position)
    return [tuple(sorted(home)) for home in grown]
