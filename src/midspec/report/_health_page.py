"""A health page as HTML: the template, the look of all reports, and the data inside the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from midspec.records import Strict
from midspec.report._health_words import count, percent, sentence, share, usd
from midspec.report._palette import css_variables

__all__ = ["render"]


def render(template: str, title: str, content: Mapping[str, Any], data: Strict) -> str:
    """One page; every text in it is escaped by the engine, and `data` is in its data block.

    Args:
        template: the file in `_templates`.
        title: of the page.
        content: what the template shows.
        data: the record that the page is of.
    """
    # Jinja2 takes a while to import, and this room is imported for its sentences too.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("midspec.report", "_templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"counted": count, "percent": percent, "share": share, "sentence": sentence, "usd": usd}
    return environment.get_template(template).render(
        title=title, light=css_variables(dark=False), dark=css_variables(dark=True), block=_block(data), **content
    )


def _block(data: Strict) -> str:
    """The data as JSON that nothing inside it can break out of: no `<`, `>` or `&`, no line separators."""
    text = json.dumps(data.model_dump(mode="json"), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
