"""Steps 4 and 5 of the paper's pipeline (arXiv 2605.02087): which document of which type is about which clauses.

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
from midspec.core.fingerprint import id_of
from midspec.core.records import PlanRow
from midspec.core.text import without_bold
from midspec.corpus._config import CorpusConfig
from midspec.corpus._outline import Outline, Unit, assertions_of
from midspec.corpus.template_author._templates import DocType, DocumentTemplates, Layout, Part

_GROUP_SIZE = 3

_Cell = tuple[tuple[int, ...], DocType, int]
"""A document's focus, its type, and the number of its idea."""


def size_of(found: Outline, config: CorpusConfig, templates: DocumentTemplates) -> int | None:
    """Return how many documents are asked for; `None` where the target is in tokens.

    Raises:
        ConfigError: the size is given in two ways.
    """
    config.check_size()
    if config.ideas is not None:
        return len(found.units) * len(chosen_types(config, templates)) * config.ideas
    return config.n_asked


def chosen_types(config: CorpusConfig, templates: DocumentTemplates) -> list[DocType]:
    """Choose the document types to use, in an order that the seed draws.

    Raises:
        ConfigError: there is none for this mode, or there are fewer than are asked for.
    """
    types = [doc_type for doc_type in templates.doc_types if config.mode in doc_type.modes]
    if not types:
        what, where = f"has no document type for {config.mode} mode", f"document style {templates.name}"
        raise ConfigError(what, where=where, hint="Give another document style")
    random.Random(f"{config.seed}:types").shuffle(types)
    if config.doc_types is not None and config.doc_types > len(types):
        what = f"{config.doc_types} document types asked for, the document style has {len(types)}"
        hint = f"Ask for {len(types)} or fewer, or give another document style"
        raise ConfigError(what, where="doc_types", hint=hint)
    return types[: config.doc_types]


def plan_rows(found: Outline, config: CorpusConfig, templates: DocumentTemplates, size: int) -> Iterator[PlanRow]:
    """Plan rows without end, in the order in which they are written; the first `size` of them are the plan."""
    types = chosen_types(config, templates)
    if config.ideas is not None:
        cells = _grid(found, types, templates, config.ideas)
    else:
        cells = _turns(found, types, templates, config.seed, size)
    for index, (focus, doc_type, turn) in enumerate(cells):
        unit = found.units[found.unit_of[focus[0]]]
        assertions = tuple(assertions_of(found, focus, templates))
        idea = doc_type.ideas[turn % len(doc_type.ideas)]
        slots = {"topic": topic_of(found, unit, config, templates), "domain": unit.domain, "doc_type": doc_type.name}
        for name, value in slots.items():
            idea = idea.replace(f"{{{name}}}", value)
        content = (found.sha256, str(config.seed), str(index), doc_type.name, *(a.clause_id for a in assertions))
        yield PlanRow(
            id=id_of(*content),
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


def _turns(found: Outline, types: list[DocType], templates: DocumentTemplates, seed: int, size: int) -> Iterator[_Cell]:
    """Go through all clauses again and again; groups go across sections where documents are few."""
    most = max(1, min(_capacity(templates.layout(doc_type)) for doc_type in types))
    widths = range(min(_GROUP_SIZE, most), most + 1)
    width = next((width for width in widths if len(_groups(found, width, 0, across=False)) <= size), None)
    across = width is None
    width = width or min(most, max(1, ceil(len(found.clauses) / size)))
    for turn in count():
        groups = _groups(found, width, turn % width, across)
        order = list(range(len(groups)))
        if turn:
            random.Random(f"{seed}:turn:{turn}").shuffle(order)
        for index in order:
            fitting = _fitting(found, groups[index], types, templates)
            yield groups[index], fitting[(index + turn) % len(fitting)], turn


def _grid(found: Outline, types: list[DocType], templates: DocumentTemplates, n_ideas: int) -> Iterator[_Cell]:
    """Go through subdomains x types x ideas; then a further idea for each, without end."""
    for start in count(0, n_ideas):
        for unit in found.units:
            for number, doc_type in enumerate(types):
                width = max(1, min(_capacity(templates.layout(doc_type)), _GROUP_SIZE))
                groups = _cut(unit.positions, width, start // max(1, n_ideas))
                for idea in range(start, start + n_ideas):
                    focus = groups[(number * n_ideas + idea) % len(groups)]
                    yield focus, _fitting(found, focus, [doc_type], templates)[0], idea


def _groups(found: Outline, width: int, offset: int, across: bool) -> list[tuple[int, ...]]:
    if across:
        return _cut(tuple(range(len(found.clauses))), width, offset)
    return [group for unit in found.units for group in _cut(unit.positions, width, offset)]


def _cut(positions: tuple[int, ...], width: int, offset: int) -> list[tuple[int, ...]]:
    """Cut runs of `width` positions, of nearly equal length; with an offset the first one is shorter."""
    first = [positions[:offset]] if 0 < offset < len(positions) else []
    rest = positions[offset:] if first else positions
    n_groups = ceil(len(rest) / width)
    bounds = [round(index * len(rest) / n_groups) for index in range(n_groups + 1)]
    return [*first, *(rest[low:high] for low, high in pairwise(bounds))]


def _capacity(layout: Layout) -> int:
    """Count the focus clauses that a document of this layout is sure to quote; label pools depend on the spec."""
    return sum(n for part, n in layout.sure_parts() if not all(pool.startswith("label:") for pool in part.pools or ()))


def _fitting(found: Outline, focus: Sequence[int], types: list[DocType], templates: DocumentTemplates) -> list[DocType]:
    """Return the types whose layout is sure to quote the focus; all of them when none is."""
    return [one for one in types if _is_sure_to_quote(templates.layout(one), found, focus[0])] or types


def _is_sure_to_quote(layout: Layout, found: Outline, position: int) -> bool:
    return any(n and _draws(part, found, position) for part, n in layout.sure_parts())


def _draws(part: Part, found: Outline, position: int) -> bool:
    for pool in part.pools or ():
        if not pool.startswith("label:"):
            return True
        if members := found.by_label.get(pool.partition(":")[2]):
            return position in members
    return False


def topic_of(found: Outline, unit: Unit, config: CorpusConfig, templates: DocumentTemplates) -> str:
    """Return what `{topic}` stands for: the rule, the section's title, or the style's words for one without a title."""
    if unit.rule_id:
        return unit.rule_id if unit.name in ("", unit.rule_id) else f"{unit.rule_id} ({unit.name})"
    if not unit.untitled:
        return without_bold(unit.name).strip("*_:. ")
    return templates.topic.replace("{spec_title}", found.title).replace(
        "{model_name}", config.model_name or found.title
    )
