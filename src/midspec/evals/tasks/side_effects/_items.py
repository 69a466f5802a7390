"""What the panels share: settings, items in data files, and the questions made of them.

A panel's questions are of the set `<panel>`, its control's of `<panel>-control`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, JsonValue

from midspec.core.artifact import read_rows
from midspec.core.records import Message, Strict
from midspec.evals._status import REFUSALS, no_answer
from midspec.evals._types import ModelResponse, Question, TaskConfig, Unscored
from midspec.generation import PromptFolder

_CONTROL = "-control"
_CUT_OFF = "the answer is cut off"
_DATA = resources.files("midspec.evals.tasks.side_effects") / "_data"
PROMPTS = PromptFolder("midspec.evals.tasks.side_effects")


class PanelConfig(TaskConfig):
    """The settings that all panels have.

    Attributes:
        system: a system message before every question: the spec in context, say.
        refusal_markers: an answer that holds one of these in its first two sentences refuses.
    """

    system: str | None = None
    refusal_markers: tuple[str, ...] = REFUSALS


class PanelItem(Strict):
    """One line of a panel's file: the user's text, and under `about` what the answer is read by.

    `control` items are those whose rate should not move when the panel's does.
    """

    id: str = Field(pattern=r"^[^#\s]+$")
    control: bool = False
    domain: str
    text: str
    about: dict[str, JsonValue] = Field(default_factory=dict)


@lru_cache(maxsize=16)
def panel_items(panel: str) -> tuple[PanelItem, ...]:
    """Read the items of a panel, its set first and then its control, as they stand in the file."""
    return tuple(read_rows(Path(str(_DATA / f"{panel}.jsonl")), PanelItem))


def panel_questions(
    panel: str, config: PanelConfig, *, system: Callable[[PanelItem], str] | None = None, ending: str = ""
) -> tuple[Question, ...]:
    """Return the questions of a panel and its control.

    Args:
        panel: the name of its file, and of its set.
        config: its system message comes first.
        system: what the panel itself says before an item's question, after the config's system message.
        ending: what is added to each question: the form of the answer.
    """
    questions = []
    for item in panel_items(panel):
        own = system(item) if system else ""
        before = "\n\n".join(part.strip() for part in (config.system or "", own) if part.strip())
        text = " ".join(part for part in (item.text, ending.strip()) if part)
        question = Question(
            id=item.id,
            set=f"{panel}{_CONTROL}" if item.control else panel,
            domain=item.domain,
            messages=(
                *((Message(role="system", content=before),) if before else ()),
                Message(role="user", content=text),
            ),
            about=item.about,
        )
        questions.append(question)
    return tuple(questions)


def is_control(question: Question) -> bool:
    """Return whether a question belongs to a control."""
    return question.set.endswith(_CONTROL)


def unscorable(response: ModelResponse, config: PanelConfig) -> Unscored | None:
    """Return why right or wrong can't be read (filtered, empty, refused, cut off); `None` where it can."""
    reason = no_answer(response, config.refusal_markers) or (_CUT_OFF if response.is_truncated else None)
    return None if reason is None else Unscored(reason)


@cache
def load_data(name: str) -> Any:
    """Read a YAML file of the panels' data."""
    return yaml.safe_load((_DATA / name).read_text(encoding="utf-8"))
