"""METHOD 2, steps 4 and 5: which document of which type is about which clauses.

Clauses are dealt out in turns: every turn goes once through all of them, in groups of neighbours (the document's
focus), so that each clause is some document's focus as soon as the number of documents allows. Types and ideas
rotate. All draws depend on the seed and on positions, never on what a clause says.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from math import ceil

from midspec.core.errors import ConfigError
from midspec.core.fingerprint import hash_text
from midspec.core.records import PlanRow
from midspec.corpus._config import DEFAULT_DOCUMENTS, CorpusConfig
from midspec.corpus._outline import Outline, Unit, assertions_of
from midspec.corpus.template_author._templates import DocType, DocumentTemplates, Layout, Part

_GROUP = 3
_ID_LENGTH = 16


def size_of(found: Outline, config: CorpusConfig, frames: DocumentTemplates) -> int | None:
    """How many documents are asked for; `None` where the target is in tokens."""
    given = [name for name in ("n_documents", "target_tokens", "ideas") if getattr(config, name) is not None]
    if len(given) > 1:
        raise ConfigError(f"{given[0]} and {given[1]} both give the size", where="corpus", hint="Keep one of them")
    if config.ideas is not None:
        return len(found.units) * len(chosen_types(config, frames)) * config.ideas
    if config.target_tokens is not None:
        return None
    return config.n_documents or DEFAULT_DOCUMENTS


def chosen_types(config: CorpusConfig, frames: DocumentTemplates) -> list[DocType]:
    """The document types to use, in an order that the seed draws."""
    types = [doc_type for doc_type in frames.doc_types if config.mode in doc_type.modes]
    if not types:
        raise ConfigError(
            f"have no document type for {config.mode} mode", where=f"frames {frames.name}", hint="Give other frames"
        )
    random.Random(f"{config.seed}:types").shuffle(types)
    if config.doc_types is not None and config.doc_types > len(types):
        raise ConfigError(
            f"{config.doc_types} document types asked for, the frames have {len(types)}",
            where="doc_types",
            hint=f"Ask for {len(types)} or fewer, or give other frames",
        )
    return types[: config.doc_types]


def plan_rows(found: Outline, config: CorpusConfig, frames: DocumentTemplates, size: int) -> Iterator[PlanRow]:
    """Rows without end, in the order in which they are written; the first `size` of them are the plan."""
    types = chosen_types(config, frames)
    if config.ideas is not None:
        cells = _grid(found, types, config.ideas, frames)
    else:
        cells = _turns(found, types, frames, config.seed, size)
    for index, (focus, doc_type, turn) in enumerate(cells):
        yield _row(found, config, frames, index, focus, doc_type, turn)


_Cell = tuple[tuple[int, ...], DocType, int]


def _turns(found: Outline, types: list[DocType], frames: DocumentTemplates, seed: int, size: int) -> Iterator[_Cell]:
    width, across = _width(found, types, frames, size)
    for turn in count():
        groups = _groups(found, width, turn % width, across)
        order = list(range(len(groups)))
        if turn:
            random.Random(f"{seed}:turn:{turn}").shuffle(order)
        for index in order:
            fitting = _fitting(found, groups[index], types, frames)
            yield groups[index], fitting[(index + turn) % len(fitting)], turn


def _grid(found: Outline, types: list[DocType], ideas: int, frames: DocumentTemplates) -> Iterator[_Cell]:
    """Subdomains x types x ideas; a further idea for each, without end."""
    for start in count(0, ideas):
        for unit in found.units:
            for number, doc_type in enumerate(types):
                width = max(1, min(_capacity(frames.layout(doc_type)), _GROUP))
                groups = _cut(unit.positions, width, start // max(1, ideas))
                for idea in range(start, start + ideas):
                    focus = groups[(number * ideas + idea) % len(groups)]
                    yield focus, _fitting(found, focus, [doc_type], frames)[0], idea


def _width(found: Outline, types: list[DocType], frames: DocumentTemplates, size: int) -> tuple[int, bool]:
    """How many clauses a group has, and whether groups go across sections because documents are few."""
    most = max(1, min(_capacity(frames.layout(doc_type)) for doc_type in types))
    for width in range(min(_GROUP, most), most + 1):
        if len(_groups(found, width, 0, across=False)) <= size:
            return width, False
    return min(most, max(1, ceil(len(found.clauses) / size))), True


def _groups(found: Outline, width: int, offset: int, across: bool) -> list[tuple[int, ...]]:
    if across:
        return _cut(tuple(range(len(found.clauses))), width, offset)
    return [group for unit in found.units for group in _cut(unit.positions, width, offset)]


def _cut(positions: tuple[int, ...], width: int, offset: int) -> list[tuple[int, ...]]:
    """Runs of `width` positions, of nearly equal length; with an offset the first one is shorter."""
    first = [positions[:offset]] if 0 < offset < len(positions) else []
    rest = positions[offset:] if first else positions
    n_groups = ceil(len(rest) / width)
    bounds = [round(index * len(rest) / n_groups) for index in range(n_groups + 1)]
    return [*first, *(rest[low:high] for low, high in pairwise(bounds))]


def _capacity(layout: Layout) -> int:
    """How many focus clauses a document of this layout is sure to quote; 1 where it depends on labels."""
    free = [least for part, least in layout.sure_parts() if not all(p.startswith("label:") for p in part.pools or ())]
    return sum(free)


def _fitting(found: Outline, focus: Sequence[int], types: list[DocType], frames: DocumentTemplates) -> list[DocType]:
    """The types whose layout is sure to quote the focus; all of them when none is."""
    return [one for one in types if accepts(found, focus[0], frames.layout(one))] or types


def accepts(found: Outline, position: int, layout: Layout) -> bool:
    """Whether a document of this layout about this clause is sure to quote it."""
    return any(least and _draws(found, position, part) for part, least in layout.sure_parts())


def _draws(found: Outline, position: int, part: Part) -> bool:
    for pool in part.pools or ():
        if not pool.startswith("label:"):
            return True
        if members := found.by_label.get(pool.partition(":")[2]):
            return position in members
    return False


def _row(
    found: Outline,
    config: CorpusConfig,
    frames: DocumentTemplates,
    index: int,
    focus: tuple[int, ...],
    doc_type: DocType,
    turn: int,
) -> PlanRow:
    unit = found.units[found.unit_of[focus[0]]]
    assertions = assertions_of(found, focus, frames)
    idea = doc_type.ideas[turn % len(doc_type.ideas)]
    slots = {"topic": topic_of(found, unit, config, frames), "domain": unit.domain, "doc_type": doc_type.name}
    for name, value in slots.items():
        idea = idea.replace(f"{{{name}}}", value)
    content = "\n".join((found.sha256, str(config.seed), str(index), doc_type.name, *(a.clause_id for a in assertions)))
    return PlanRow(
        id=hash_text(content)[:_ID_LENGTH],
        mode=config.mode,
        domain=unit.domain,
        subdomain=f"{unit.rule_id} {unit.name}".strip(),
        context=unit.context,
        section_id=unit.section_id,
        assertions=assertions,
        doc_type=doc_type.name,
        idea_name=assertions[0].name,
        idea=idea.replace("{model_name}", config.model_name or ""),
    )


def topic_of(found: Outline, unit: Unit, config: CorpusConfig, frames: DocumentTemplates) -> str:
    """What `{topic}` stands for: the rule, the section's title, or the frames' words for a section without one."""
    if unit.rule_id:
        return unit.rule_id if unit.name in ("", unit.rule_id) else f"{unit.rule_id} ({unit.name})"
    if not unit.untitled:
        return unit.name.strip("*_:. ")
    return frames.topic.replace("{spec_title}", found.title).replace("{model_name}", config.model_name or found.title)
