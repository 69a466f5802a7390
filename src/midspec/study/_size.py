"""How large a step will be, as far as that is known before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import JsonValue

from midspec.records import Record
from midspec.study._steps import Step

__all__ = ["Size", "most_updates", "size", "updates_asked", "updates_expected"]

TRAINING = ("pretrain", "midtrain", "finetune")


class Size(NamedTuple):
    """Rows written, updates made and tokens; `None` where that is not known, `about` where updates are an estimate."""

    documents: int | None = None
    updates: int | None = None
    tokens: int | None = None
    about: bool = False


def size(step: Step, steps: Mapping[str, Step], record: Record | None) -> Size:
    """The size of a step: from its record where it is done, from what it asks for where that says it.

    Args:
        step: the step.
        steps: all steps of the study, by name.
        record: the step's, if it is done.
    """
    summary = record.summary if record else {}
    if step.kind in TRAINING:
        return _training(step, steps, summary)
    if step.kind in {"corpus", "chats"}:
        asked = _mapping(step.config[step.kind])
        known = (summary.get("n_documents"), summary.get("n_chats"), asked.get("n_documents"), _n_chats(step))
        rows = next((count for count in known if isinstance(count, int)), None)
        return Size(documents=rows, tokens=_whole(asked.get("target_tokens")) or None)
    return Size()


def _n_chats(step: Step) -> int | None:
    """How many chats are wanted; a model's have a published number where the study gives none."""
    if step.kind != "chats":
        return None
    from midspec.chats import ChatConfig

    return ChatConfig.model_validate(step.config["chats"]).n_wanted


def _training(step: Step, steps: Mapping[str, Step], summary: Mapping[str, JsonValue]) -> Size:
    expected = updates_expected(step, steps)
    updates = _whole(summary.get("n_updates")) or updates_asked(step) or expected
    about = updates is not None and updates == expected and not summary and updates_asked(step) is None
    return Size(updates=updates, tokens=updates * _width(step) if updates else None, about=about)


def updates_asked(step: Step) -> int | None:
    """The recipe's `n_updates`."""
    updates = _mapping(step.config.get("recipe")).get("n_updates")
    return updates if isinstance(updates, int) else None


def updates_expected(step: Step, steps: Mapping[str, Step]) -> int | None:
    """About how many updates the data makes, where all of it is corpora that say how many tokens they are to have."""
    tokens = [_asked(source, "target_tokens") for source in _data(step, steps)]
    if not tokens or not all(tokens):
        return None
    return sum(tokens) * _epochs(step) // _width(step)


def most_updates(step: Step, steps: Mapping[str, Step]) -> int | None:
    """The most updates that the data can make, where all of it is chats that say how many they are.

    A chat is never split, so packed rows are never more than chats.
    """
    chats = [_asked(source, "n_samples") for source in _data(step, steps)]
    if not chats or not all(chats):
        return None
    return -(-sum(chats) * _epochs(step) // _whole(_mapping(step.config["recipe"]).get("rows_per_update")))


def _data(step: Step, steps: Mapping[str, Step]) -> list[Step | None]:
    """The steps that make a training step's data; `None` for data that is a file outside, or a world's."""
    sources = [source for role, source in step.sources.items() if role.startswith("data[")]
    made = [steps.get(source.step or "") for source in sources]
    return [one if one is not None and one.kind in {"corpus", "chats"} else None for one in made]


def _asked(step: Step | None, key: str) -> int:
    return 0 if step is None else _whole(_mapping(step.config[step.kind]).get(key))


def _width(step: Step) -> int:
    """Tokens of one update."""
    recipe = _mapping(step.config["recipe"])
    return _whole(recipe.get("rows_per_update")) * _whole(recipe.get("row_tokens"))


def _epochs(step: Step) -> int:
    return _whole(_mapping(step.config["recipe"]).get("n_epochs")) or 1


def _mapping(value: JsonValue) -> Mapping[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def _whole(value: JsonValue) -> int:
    return value if isinstance(value, int) else 0
