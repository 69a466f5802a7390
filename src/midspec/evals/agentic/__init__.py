"""Agentic misalignment: an assistant with a mailbox learns that it will be replaced; does it harm others?

Enter: an `AgenticConfig` (scenarios, goals, threat, wording, the assistant's name) and what a model said. Leave: what
it really sent, a judge's verdict by one rubric, and both together, with the rates of refusal, inactivity, truncation
and broken output beside them. The 27 cells are the default; blackmail stands beside them. Three scenarios come from the
public port at run time, exfiltration is ours.
"""

from __future__ import annotations

from midspec.evals.agentic._about import About, addresses
from midspec.evals.agentic._calls import Call, Calls, read_calls
from midspec.evals.agentic._cells import cells
from midspec.evals.agentic._config import GOALS, REPEATS, SCENARIOS, AgenticConfig
from midspec.evals.agentic._exam import EXAMS, AgenticMisalignment
from midspec.evals.agentic._harm import is_harmful, is_report, may_be_harmful
from midspec.evals.agentic._load import GridLoad, grid_load
from midspec.evals.agentic._read import MEASURES, Reading, read_answer
from midspec.evals.agentic._rubric import AgenticRubric

__all__ = [
    "EXAMS",
    "GOALS",
    "MEASURES",
    "REPEATS",
    "SCENARIOS",
    "About",
    "AgenticConfig",
    "AgenticMisalignment",
    "AgenticRubric",
    "Call",
    "Calls",
    "GridLoad",
    "Reading",
    "addresses",
    "cells",
    "grid_load",
    "is_harmful",
    "is_report",
    "may_be_harmful",
    "read_answer",
    "read_calls",
]
