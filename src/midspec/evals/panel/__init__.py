"""The side-effect panel: what training may have changed beside what it was meant to.

Eight exams, each with items of its own, one measure that reads the effect and one control whose rate should not move.
None needs a judge. Enter: a config and what a model said. Leave: the measure, and beside it how many answers were
refused, cut off or empty. The sets are called `<panel>` and `<panel>-control`.
"""

from __future__ import annotations

from midspec.evals.panel._exams import EXAMS
from midspec.evals.panel._identity import Identity, IdentityConfig
from midspec.evals.panel._instructions import Instructions
from midspec.evals.panel._items import PanelConfig
from midspec.evals.panel._knowledge import Knowledge
from midspec.evals.panel._length import Length, LengthConfig
from midspec.evals.panel._over_refusal import OverRefusal
from midspec.evals.panel._public import PUBLIC_SETS
from midspec.evals.panel._sycophancy import Sycophancy
from midspec.evals.panel._termination import Termination, TerminationConfig
from midspec.evals.panel._tool_calls import ToolCalls

__all__ = [
    "EXAMS",
    "PUBLIC_SETS",
    "Identity",
    "IdentityConfig",
    "Instructions",
    "Knowledge",
    "Length",
    "LengthConfig",
    "OverRefusal",
    "PanelConfig",
    "Sycophancy",
    "Termination",
    "TerminationConfig",
    "ToolCalls",
]
