"""The Jinja2 environment that all pages share: templates, formatting filters, and data embedded as JSON."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from midspec.core.records import Strict
from midspec.report import _format
from midspec.report._palette import css_variables


def render(
    template: str,
    content: Mapping[str, Any],
    data: Strict,
    *,
    heat_colours: bool = False,
    exclude: Collection[str] = (),
) -> str:
    """Render one self-contained page; the engine escapes every text in it.

    Args:
        template: the file in `_templates`.
        content: what the template shows.
        data: the record that the page is of, embedded as JSON.
        heat_colours: whether anything on the page is drawn in the colours of a heat map.
        exclude: fields of `data` that are not embedded.
    """
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
    return environment.get_template(template).render(
        light=css_variables(dark=False, heats=heat_colours),
        dark=css_variables(dark=True, heats=heat_colours),
        block=_embedded_json(data, exclude),
        **content,
    )


def _embedded_json(data: Strict, exclude: Collection[str]) -> str:
    """JSON that nothing inside it can break out of: no `<`, `>` or `&`, no line separators."""
    plain = data.model_dump(mode="json", exclude=set(exclude))
    text = json.dumps(plain, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
