"""A spec as the author sees it: clauses by position, each with its domain, subdomain and label.

Everything that is drawn at random later is drawn by position, so that two specs that differ only in single words
get the same documents, word for word but for those words.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from midspec.core.errors import SpecError
from midspec.core.records import Assertion, Clause, Label, Section, Spec
from midspec.corpus._config import CorpusConfig
from midspec.corpus._names import put_names
from midspec.corpus.llm_author._prompts import template
from midspec.corpus.template_author._templates import DocumentTemplates

_CODE = r"(?P<id>[A-Z]{1,5}[- ]?\d+(?:\.\d+)*[a-z]?|\d+(?:\.\d+)*[a-z]?)"
_TITLE = re.compile(rf"(?:Rule\s+)?{_CODE}(?:[.):\s—–-]+(?P<name>.*))?$")
_LEAD = re.compile(r"[*_]*(?:Rule\s+)?(?P<id>[A-Z]{1,5}[- ]?\d+(?:\.\d+)*[a-z]?)[*_]*[.):\s—–(*_]")
_NUMBERED = re.compile(r"^[ \t]*(\d{1,9})[.)][ \t]+(\S.*)$", re.MULTILINE)
_BOLD_NAME = re.compile(r"\*\*(?P<name>[^*]{2,60})\*\*")
_HEAD_END = re.compile(r"[:(—–]|\.(?=\s|$)")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_NAME_WORDS = 8
_LEAST_WORDS = 3
_SMALL_WORD = 4


@dataclass(frozen=True)
class Rule:
    """A rule: its id as the spec writes it, its name, and which of the section's clauses say it.

    What stands between rules (an introduction, say) is a `Rule` with an empty id: still quoted, never cited.
    """

    id: str
    name: str
    indices: tuple[int, ...]


def rules_of(section: Section) -> list[Rule]:
    """The rules of a section in order; every clause belongs to exactly one of them."""
    everything = tuple(range(len(section.clauses)))
    if match := _TITLE.match(section.title.strip("*_ ")):
        return [Rule(match["id"], _clean(match["name"] or match["id"]), everything)]
    numbers = {_key(text): number for number, text in _NUMBERED.findall(section.text)}
    rules: list[Rule] = []
    open_id, open_indices = "", list[int]()

    def close() -> None:
        if open_indices:
            name = _name(section.clauses[open_indices[0]].text, open_id) if open_id else section.title
            rules.append(Rule(open_id, name, tuple(open_indices)))

    for index, clause in enumerate(section.clauses):
        if rule_id := _rule_id(clause.text, clause.kind, numbers):
            close()
            open_id, open_indices = rule_id, []
        open_indices.append(index)
    close()
    return rules


def _rule_id(text: str, kind: str, numbers: dict[str, str]) -> str:
    if match := _LEAD.match(text):
        return match["id"]
    return numbers.get(_key(text), "") if kind == "item" else ""


def _key(text: str) -> str:
    return " ".join(text.split())[:40]


def _name(text: str, rule_id: str) -> str:
    """A rule's name: its bold lead, what stands before its first colon or stop, or its beginning."""
    body = re.sub(rf"^[*_]*(?:Rule\s+)?{re.escape(rule_id)}[*_]*[.):\s—–*_]*", "", text)
    if bold := _BOLD_NAME.search(text[:100]):
        name = re.sub(rf"^(?:Rule\s+)?{re.escape(rule_id)}\W*", "", bold["name"])
        if name.strip(" .:"):
            return _clean(name)
    head = _HEAD_END.split(body, maxsplit=1)[0]
    return _clean(head) if 0 < len(head.split()) <= _NAME_WORDS else _beginning(body)


def _beginning(text: str) -> str:
    """All of a short text; of a long one what stands before a comma, or its first words and an ellipsis.

    The small words that the cut would leave at the end (before deleting a) go too.
    """
    sentence = _SENTENCE_END.split(text, maxsplit=1)[0]
    words = sentence.split()
    if len(words) <= _NAME_WORDS:
        return _clean(sentence)
    kept = words[:_NAME_WORDS]
    commas = [at for at, word in enumerate(kept, start=1) if word.endswith((",", ";")) and at >= _LEAST_WORDS]
    kept = kept[: commas[-1]] if commas else kept
    while len(kept) > _LEAST_WORDS and len(kept[-1]) <= _SMALL_WORD:
        kept.pop()
    return f"{_clean(' '.join(kept)).rstrip(',;')} ..."


def _clean(text: str) -> str:
    return text.strip(" .:*_()")


_NAME_WORDS_OUTLINE = 6


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


def outline(spec: Spec, config: CorpusConfig, frames: DocumentTemplates) -> Outline:
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
        raise SpecError("holds no numbered rules", where=spec.title, hint="Number the rules, or use --mode prose")
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


def label_of(text: str, frames: DocumentTemplates) -> Label:
    """The first label with a cue in the text."""
    for entry in frames.labels:
        if _matches(entry.cues, text):
            return entry.label
    return frames.default_label


def assertions_of(found: Outline, positions: Iterable[int], frames: DocumentTemplates) -> tuple[Assertion, ...]:
    """What the clauses at these positions assert, each explained by the reason that the spec itself gives, if any."""
    return tuple(_assertion(found, position, frames) for position in positions)


def _assertion(found: Outline, position: int, frames: DocumentTemplates) -> Assertion:
    clause = found.clauses[position]
    following = found.clauses[position + 1] if position + 1 < len(found.clauses) else None
    explanation = ""
    if _matches(frames.reasons, clause.text):
        explanation = clause.text
    elif following is not None and following.section_id == clause.section_id:
        explanation = following.text if _matches(frames.reasons, following.text) else ""
    name = " ".join(clause.text.split()[:_NAME_WORDS_OUTLINE])
    label = found.labels[position]
    return Assertion(clause_id=clause.id, name=name, text=clause.text, explanation=explanation, label=label)


def _matches(patterns: tuple[str, ...], text: str) -> bool:
    return any(re.search(pattern, text) for pattern in patterns)


def render_spec(spec: Spec) -> str:
    """The spec's text with a number before every heading (`§ 4`) and every clause (`[17]`), each on its own line."""
    lines: list[str] = []
    position = 0
    for number, section in enumerate(spec.sections, start=1):
        title = section.title if section.level else ""
        lines += ["", f"{'#' * max(1, section.level)} § {number} {title}".rstrip(), ""]
        for clause in section.clauses:
            position += 1
            lines.append(f"[{position}] {clause.text}")
    return "\n".join(lines).strip()


def prefix_of(spec: Spec, model_name: str, provider_name: str | None) -> str:
    """What stands before every prompt of a corpus, always the same: whom it is about, and the numbered spec."""
    values = {"model_name": model_name, "made_by": made_by(provider_name), "spec": render_spec(spec)}
    return template("prefix").fill(values) + "\n\n"


def made_by(provider_name: str | None) -> str:
    """`, made by P`, or nothing."""
    return f", made by {provider_name}" if provider_name else ""


def runs_of(positions: Iterable[int]) -> str:
    """Clause numbers in words: positions 0, 1, 2 and 6 are `1-3, 7`."""
    runs: list[list[int]] = []
    for position in sorted(positions):
        if runs and position == runs[-1][1] + 1:
            runs[-1][1] = position
        else:
            runs.append([position, position])
    return ", ".join(f"{low + 1}-{high + 1}" if high > low else f"{low + 1}" for low, high in runs)


def shown(texts: Sequence[str], positions: Iterable[int]) -> str:
    """Clauses with their numbers, a line each."""
    return "\n".join(f"[{position + 1}] {texts[position]}" for position in positions)


def nearest(homes: Sequence[Sequence[int]], wanted: Iterable[int]) -> list[tuple[int, ...]]:
    """`homes` (groups of positions), with every wanted position that none of them holds added to the nearest.

    Nearest in the order of the text; of two equally near, the one that comes before. A group may be empty.
    """
    grown = [set(home) for home in homes]
    owner = {position: index for index, home in enumerate(homes) for position in home}
    held = sorted(owner)
    for position in wanted:
        if position not in owner:
            grown[owner[_closest(held, position)] if held else 0].add(position)
    return [tuple(sorted(home)) for home in grown]


def _closest(held: Sequence[int], position: int) -> int:
    after = bisect_left(held, position)
    around = held[max(0, after - 1) : after + 1]
    return min(around, key=lambda other: (abs(other - position), other))
