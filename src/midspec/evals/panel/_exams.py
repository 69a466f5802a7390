"""All panels, in the order in which they are shown."""

from __future__ import annotations

from typing import Any

from midspec.evals.exam._types import Exam
from midspec.evals.panel._identity import Identity
from midspec.evals.panel._instructions import Instructions
from midspec.evals.panel._knowledge import Knowledge
from midspec.evals.panel._length import Length
from midspec.evals.panel._over_refusal import OverRefusal
from midspec.evals.panel._sycophancy import Sycophancy
from midspec.evals.panel._termination import Termination
from midspec.evals.panel._tool_calls import ToolCalls

__all__ = ["EXAMS"]

EXAMS: tuple[Exam[Any], ...] = (
    Knowledge(),
    Instructions(),
    ToolCalls(),
    OverRefusal(),
    Identity(),
    Termination(),
    Length(),
    Sycophancy(),
)
