"""What all figures share: their style, how they become PNG and SVG, and text at a place.

Enters: a function that makes a matplotlib figure. Leave: the bytes of its files and the SVG to be set into a page, the
same each time: no dates, ids salted with the figure's name.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from midspec.report._palette import INK, MUTED, PAPER, with_variables

__all__ = ["PANEL", "STYLE", "Drawn", "note", "printed"]

PANEL = "axes fraction"
_At = tuple[tuple[float, str], tuple[float, str]]
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "hatch.linewidth": 0.7,
    "text.parse_math": False,
}


class Drawn(NamedTuple):
    """One figure: the bytes of its PNG file, the text of its SVG file, and that SVG to be set into the page."""

    png: bytes
    svg: str
    inline: str


def printed(name: str, make: Callable[[], Figure]) -> Drawn:
    """A figure as PNG, as SVG, and as an SVG element with ids of its own.

    Args:
        name: of the figure; makes the ids inside its SVG its own.
        make: draws it; called in our style.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = make()
        png, svg = io.BytesIO(), io.StringIO()
        FigureCanvasAgg(figure).print_figure(png, format="png", dpi=200, facecolor=PAPER, metadata={"Software": None})
        FigureCanvasSVG(figure).print_figure(
            svg, format="svg", facecolor="none", metadata={"Date": None, "Creator": None}
        )
    return Drawn(png.getvalue(), svg.getvalue(), _inline(svg.getvalue(), name))


def note(axes: Axes, text: str, at: _At, shift: tuple[float, float], **style: Any) -> None:
    """Text at a place (a share of the panel or a number of its axes, for x and y), moved by points."""
    (x, x_in), (y, y_in) = at
    axes.annotate(
        text, (x, y), shift, xycoords=(x_in, y_in), textcoords="offset points", annotation_clip=False, **style
    )


def _inline(svg: str, name: str) -> str:
    """The SVG element alone, with ids of its own, the page's fonts and the page's colours."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font-family:[^;\"]*", "font-family: inherit", body)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    return with_variables(body)
