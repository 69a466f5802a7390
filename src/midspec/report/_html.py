"""The Jinja2 environment that all pages share: templates, formatting filters, and data embedded as JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from midspec.core.records import Strict
from midspec.report import _format
from midspec.report._data import ArmInfo


class _Colour(NamedTuple):
    name: str
    light: str
    dark: str


_INK = _Colour("ink", "#1c1e21", "#e9e7e2")
_MUTED = _Colour("muted", "#60646b", "#a3a7ae")
_RULE = _Colour("rule", "#dcdad3", "#3b3e44")
_PAPER = _Colour("paper", "#fdfdfb", "#16181b")
INK, MUTED, RULE, PAPER = _INK.light, _MUTED.light, _RULE.light, _PAPER.light

# Full and pale, in pairs. The first is for arms without a spec; the order of the others keeps neighbours apart.
_GROUPS = (
    (_Colour("g0", "#80858e", "#9299a3"), _Colour("g0-pale", "#cfd2d6", "#474c54")),
    (_Colour("g1", "#0f69ac", "#5aacea"), _Colour("g1-pale", "#b3d0e8", "#214665")),
    (_Colour("g2", "#b84a0d", "#f08d50"), _Colour("g2-pale", "#f3cbb2", "#66391f")),
    (_Colour("g3", "#0b8a69", "#41c29d"), _Colour("g3-pale", "#b1dccf", "#1e4d40")),
    (_Colour("g4", "#9c4f93", "#d292ca"), _Colour("g4-pale", "#e3c8df", "#53314f")),
    (_Colour("g5", "#b08400", "#e2bb4c"), _Colour("g5-pale", "#e8d8a3", "#554513")),
    (_Colour("g6", "#7b5a3d", "#c5a37f"), _Colour("g6-pale", "#d8cabc", "#463829")),
)
# From 0 to 1 in eleven steps; the ink of either theme is legible on each of them.
_COLDEST, _HOTTEST = (0xF7, 0xF4, 0xEE), (0xE2, 0x76, 0x2F)
_COLDEST_DARK, _HOTTEST_DARK = (0x20, 0x22, 0x25), (0x94, 0x48, 0x1A)
_N_HEATS = 11


def _mix(cold: tuple[int, int, int], hot: tuple[int, int, int], share: float) -> str:
    return "#" + "".join(f"{round(low + share * (high - low)):02x}" for low, high in zip(cold, hot, strict=True))


_HEATS = tuple(
    _Colour(
        f"heat-{step}",
        _mix(_COLDEST, _HOTTEST, step / (_N_HEATS - 1)),
        _mix(_COLDEST_DARK, _HOTTEST_DARK, step / (_N_HEATS - 1)),
    )
    for step in range(_N_HEATS)
)
_ALL = (_INK, _MUTED, _RULE, _PAPER, *(colour for pair in _GROUPS for colour in pair))


class Look(NamedTuple):
    """The look of an arm's bar: its fill and the full colour of its edge, in the light theme and by name."""

    fill: str
    edge: str
    fill_name: str
    edge_name: str
    hatched: bool


def looks(arms: Iterable[ArmInfo]) -> dict[str, Look]:
    """Return the look of each arm by name. Groups take colours in order of appearance; after six they recur."""
    numbers: dict[str, int] = {"": 0}
    found = {}
    for arm in arms:
        number = numbers.setdefault(arm.group, 1 + (len(numbers) - 1) % (len(_GROUPS) - 1))
        full, pale = _GROUPS[number]
        fill = full if "finetune" in arm.stages else pale
        found[arm.name] = Look(fill.light, full.light, fill.name, full.name, arm.control)
    return found


def heat(share: float) -> str:
    """Return the colour of the step nearest to a share, 0-1, in the light theme."""
    return _HEATS[round(min(1.0, max(0.0, share)) * (_N_HEATS - 1))].light


def css_variables(*, dark: bool, heats: bool = False) -> str:
    """Return the palette as CSS declarations of one theme; with `heats`, the colours of `heat` too."""
    colours = (*_ALL, *_HEATS) if heats else _ALL
    return " ".join(f"--{colour.name}: {colour.dark if dark else colour.light};" for colour in colours)


def with_variables(svg: str) -> str:
    """Replace the palette's colours in an SVG by CSS variables, which follow the page's theme."""
    for colour in (*_ALL, *_HEATS):
        svg = svg.replace(colour.light, f"var(--{colour.name})")
    return svg


def render(
    template: str,
    content: Mapping[str, Any],
    data: Strict | None,
    *,
    heat_colours: bool = False,
    exclude: Collection[str] = (),
) -> str:
    """Render one self-contained page; the engine escapes every text in it.

    Args:
        template: the file in `_templates`.
        content: what the template shows.
        data: the record that the page is of, embedded as JSON; a page without one has none.
        heat_colours: whether anything on the page is drawn in the colours of a heat map.
        exclude: fields of `data` that are not embedded.
    """
    return (
        _environment()
        .get_template(template)
        .render(
            light=css_variables(dark=False, heats=heat_colours),
            dark=css_variables(dark=True, heats=heat_colours),
            block="" if data is None else _embedded_json(data, exclude),
            **content,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("midspec.report", "_templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "number": _format.number,
        "signed": _format.signed,
        "span": _format.span,
        "is_share": _format.is_share,
        "unit": _format.unit,
        "share_words": _format.share_words,
        "value_words": _format.value_words,
        "estimate_words": _format.estimate_words,
        "published_words": _format.published_words,
    }
    environment.tests["contains"] = lambda stages, stage: stage in stages
    environment.filters |= {
        "duration": _format.duration,
        "pieces": _format.breakable,
        "counted": _format.count,
        "percent": _format.percent,
        "share": _format.share,
        "sentence": _format.sentence,
        "usd": _format.usd,
    }
    return environment


def _embedded_json(data: Strict, exclude: Collection[str]) -> str:
    """JSON that nothing inside it can break out of: no `<`, `>` or `&`, no line separators."""
    plain = data.model_dump(mode="json", exclude=set(exclude))
    text = json.dumps(plain, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
