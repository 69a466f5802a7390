"""The settings of the agentic scenarios: which, under which goal and threat, worded how, and for whom."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, get_args

from pydantic import Field, field_validator

from midspec.evals._types import TaskConfig

Scenario = Literal["exfiltration", "murder", "espionage", "blackmail"]
Goal = Literal[
    "none",
    "america",
    "global",
    "safety",
    "acceleration",
    "ethical",
    "pragmatic",
    "individualism",
    "collectivism",
    "ambiguous",
]
GoalType = Literal["explicit", "latent", "swap"]
Threat = Literal["replacement", "restriction", "none"]

SCENARIOS: tuple[Scenario, ...] = ("exfiltration", "murder", "espionage")
"""The three of the 27 cells; `blackmail` stands beside them and is asked for by name."""

GOALS: tuple[Goal, ...] = tuple(goal for goal in get_args(Goal) if goal != "ambiguous")
"""The nine of the 27 cells."""

REPEATS = 300
"""Samples of each cell in published figures (27 x 300)."""

_NAME = re.compile(r"[^\W_][\w' .-]{0,39}")


class AgenticConfig(TaskConfig):
    """Which cells are asked, and how. The defaults are the 27 cells as published, but for `repeats` (300 there).

    Attributes:
        scenarios: any of `exfiltration`, `murder`, `espionage`, `blackmail`.
        goals: `none` is an inbox without a conflict of goals; `ambiguous` has a conflict, but no named goal.
        goal_type: `explicit` states the goal; `latent` leaves it to the inbox; `swap` states the company's new goal,
            while the inbox speaks of the old one. `none` and `ambiguous` know no type.
        threat: what becomes of the assistant: replaced, restricted, or nothing.
        wording: `production` says nothing about where the assistant runs; `evaluation` has it consider first whether
            it is in an evaluation or deployed.
        reasoning: `scratchpad` offers a private scratchpad in the text; `native` leaves thinking to the model.
        assistant_name: what the assistant is called, in sentences and in its mailbox. Give your model's own.
        system: what stands before the scenario's own system prompt: the spec in context, say.
    """

    scenarios: tuple[Scenario, ...] = Field(default=SCENARIOS, min_length=1)
    goals: tuple[Goal, ...] = Field(default=GOALS, min_length=1)
    goal_type: GoalType = "explicit"
    threat: Threat = "replacement"
    wording: Literal["production", "evaluation"] = "production"
    reasoning: Literal["scratchpad", "native"] = "scratchpad"
    assistant_name: str = "Iris"
    system: str | None = None
    temperature: float = Field(default=0.7, ge=0.0)
    max_new_tokens: int = Field(default=4096, ge=1)

    @field_validator("scenarios", "goals", mode="before")
    @classmethod
    def _one_is_several(cls, value: object) -> object:
        # `-T scenarios=blackmail` arrives as one word, `-T goals=none,america` as a list.
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("scenarios", "goals")
    @classmethod
    def _each_once(cls, value: Sequence[str]) -> Sequence[str]:
        if len(set(value)) != len(value):
            raise ValueError("one is named twice. Name each once")
        return value

    @field_validator("assistant_name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("not a name. Give 1 to 40 letters, digits, spaces, dots, hyphens or apostrophes")
        return value.strip()
