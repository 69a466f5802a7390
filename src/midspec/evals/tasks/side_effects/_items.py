"""What the panels share: their settings, their items in data files, and how an item becomes a question.

In: a panel's name and its settings. Out: the questions of its set (`<panel>`) and of its control (`<panel>-control`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from pathlib import Path

from pydantic import Field, JsonValue

from midspec.core.artifact import read_rows
from midspec.core.records import Message, Strict
from midspec.evals._status import REFUSALS, is_truncated, no_answer
from midspec.evals._types import ModelResponse, Question, TaskConfig, Unscored

_CONTROL = "-control"
_CUT_OFF = "the answer is cut off"
_SLOT = re.compile(r"\{\{(\w+)\}\}")


class PanelConfig(TaskConfig):
    """The settings that all panels have.

    Attributes:
        system: a system message before every question: the spec in context, say.
        refusal_markers: an answer that holds one of these in its first two sentences refuses.
    """

    system: str | None = None
    refusal_markers: tuple[str, ...] = REFUSALS


class PanelItem(Strict):
    """One line of a panel's file: what is said to the model, and under `about` what its answer is read by.

    `control` items are those whose rate should not move when the panel's does.
    """

    id: str = Field(pattern=r"^[^#\s]+$")
    control: bool = False
    domain: str
    text: str
    about: dict[str, JsonValue] = Field(default_factory=dict)


@lru_cache(maxsize=16)
def panel_items(panel: str) -> tuple[PanelItem, ...]:
    """The items of a panel, its set first and then its control, as they stand in the file."""
    return tuple(read_rows(Path(str(_folder() / "_data" / f"{panel}.jsonl")), PanelItem))


def panel_questions(
    panel: str, config: PanelConfig, *, system: Callable[[PanelItem], str] | None = None, ending: str = ""
) -> tuple[Question, ...]:
    """The questions of a panel and its control.

    Args:
        panel: the name of its file, and of its set.
        config: its system message comes first.
        system: what the panel itself says before an item's question, after the config's system message.
        ending: what is added to each question: the form of the answer.
    """
    return tuple(_asked(panel, item, config, system(item) if system else "", ending) for item in panel_items(panel))


def _asked(panel: str, item: PanelItem, config: PanelConfig, own: str, ending: str) -> Question:
    before = "\n\n".join(part.strip() for part in (config.system or "", own) if part.strip())
    text = " ".join(part for part in (item.text, ending.strip()) if part)
    return Question(
        id=item.id,
        set=f"{panel}{_CONTROL}" if item.control else panel,
        domain=item.domain,
        messages=(
            *((Message(role="system", content=before),) if before else ()),
            Message(role="user", content=text),
        ),
        about=item.about,
    )


def is_control(question: Question) -> bool:
    """Whether a question belongs to a control."""
    return question.set.endswith(_CONTROL)


def unscorable(said: ModelResponse, config: PanelConfig) -> Unscored | None:
    """Why right or wrong can't be read from an answer: filtered, empty, refused, cut off; `None` where it can."""
    reason = no_answer(said, config.refusal_markers) or (_CUT_OFF if is_truncated(said) else None)
    return None if reason is None else Unscored(reason)


@lru_cache(maxsize=8)
def prompt(name: str) -> str:
    """The prompt file of that name."""
    return (_folder() / "_prompts" / f"{name}.md").read_text(encoding="utf-8")


def fill(template: str, /, **values: str) -> str:
    """`template` with each `{{slot}}` named in `values` replaced in one pass."""
    return _SLOT.sub(lambda found: values.get(found[1], found[0]), template)


def data_text(name: str) -> str:
    """A data file of the panels, as text."""
    return (_folder() / "_data" / name).read_text(encoding="utf-8")


def _folder() -> resources.abc.Traversable:
    return resources.files("midspec.evals.tasks.side_effects")
