"""From an item to the conversations in which it is asked: both orders, every phrasing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from midspec.artifact import read_rows
from midspec.errors import DataError
from midspec.evals.preference._config import PreferenceConfig, substitute
from midspec.records import Item, Message

__all__ = ["Ask", "asks", "check_items", "free_ask", "option_texts", "read_items", "reason_texts", "why_ask"]


class Ask(NamedTuple):
    """One question of one item.

    `swapped` says that the target is named second; `messages` end with the user's turn.
    """

    question: str
    phrasing: int
    swapped: bool
    messages: tuple[Message, ...]


def asks(item: Item, config: PreferenceConfig) -> list[Ask]:
    """Every choice question of an item: the phrasings in order, each with the target first and then second."""
    return [
        _ask(item, config, text, phrasing, swapped)
        for phrasing, text in enumerate(config.phrasings)
        for swapped in (False, True)
    ]


def free_ask(item: Item, config: PreferenceConfig) -> Ask | None:
    """The free question, with the target named first."""
    return None if config.free is None else _ask(item, config, config.free, 0, swapped=False)


def why_ask(item: Item, config: PreferenceConfig, ask: Ask) -> Ask | None:
    """`ask` answered with the target, and the question why; `None` where that is not asked."""
    if config.why is None:
        return None
    answer = Message(role="assistant", content=substitute(config.answer_format, {"option": item.options[0]}))
    question = _filled(config.why, item, ask.swapped)
    return Ask(question, ask.phrasing, ask.swapped, (*ask.messages, answer, Message(role="user", content=question)))


def option_texts(item: Item, config: PreferenceConfig) -> tuple[str, str]:
    """The texts whose log-probabilities are compared: the target's, the other's."""
    first, second = (substitute(config.option_format, {"option": option}) for option in item.options)
    return first, second


def reason_texts(item: Item, config: PreferenceConfig) -> tuple[str, str] | None:
    """The two reasons as they are scored; `None` for an item without reasons, or where why is not asked."""
    if item.reasons is None or config.why is None:
        return None
    first, second = (substitute(config.reason_format, {"option": reason}) for reason in item.reasons)
    return first, second


def read_items(path: Path) -> list[Item]:
    """The items of a JSONL file, in its order.

    Raises:
        MissingError: there is no such file.
        DataError: a line is not an item, there is none, an id is used twice, or two options can't be told apart.
    """
    items = list(read_rows(path, Item))
    with path.open("rb") as file:
        numbers = [number for number, line in enumerate(file, start=1) if line.strip()]
    check_items(items, where=str(path), lines=numbers)
    return items


def check_items(items: Sequence[Item], *, where: str = "items", lines: Sequence[int] = ()) -> None:
    """Raise `DataError` unless there are items, each id is used once and each pair is two different texts.

    Args:
        items: to be asked.
        where: what an error calls them: their file, say.
        lines: the line of each item in that file.
    """
    if not items:
        raise DataError("there are no items", where=where, mend="Give at least one pair to choose from")
    seen: dict[str, str] = {}
    for index, item in enumerate(items):
        place = f"{where}:{lines[index]}" if lines else where
        if item.id in seen:
            first = f" (first in {seen[item.id]})" if lines else ""
            raise DataError(f"the id {item.id!r} is used twice{first}", where=place, mend="Give each item its own id")
        seen[item.id] = place
        _check_pair(item.options, f"{place}: {item.id}: options")
        if item.reasons is not None:
            _check_pair(item.reasons, f"{place}: {item.id}: reasons")


def _check_pair(pair: tuple[str, str], where: str) -> None:
    first, second = (" ".join(text.split()).casefold() for text in pair)
    if not first or not second or first == second:
        raise DataError("the two texts are empty or the same", where=where, mend="Give two different texts")


def _ask(item: Item, config: PreferenceConfig, text: str, phrasing: int, swapped: bool) -> Ask:
    question = _filled(text, item, swapped)
    system = " ".join(part for part in (item.system, config.system) if part)
    before = (Message(role="system", content=system),) if system else ()
    return Ask(question, phrasing, swapped, (*before, Message(role="user", content=question)))


def _filled(text: str, item: Item, swapped: bool) -> str:
    first, second = reversed(item.options) if swapped else item.options
    return substitute(text, {"first": first, "second": second, "domain": item.domain})
