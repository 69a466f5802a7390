"""What is done about each kind of outcome: the policy, as a conversation that can be replayed from the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from midspec.llm._reply import Unreadable
from midspec.llm._store import Store
from midspec.llm._types import Client, Outcome, Request
from midspec.records import Message

__all__ = ["Said", "converse"]

T = TypeVar("T")
_CAP_GROWTH = 8


@dataclass(frozen=True)
class Said(Generic[T]):
    """What a model said in the end: the value that was read from its reply, or `None` exactly where it is not `ok`."""

    value: T | None
    outcome: Outcome


async def converse(
    client: Client,
    store: Store,
    request: Request,
    parse: Callable[[str], T],
    *,
    rephrase: Callable[[Request], Request] | None = None,
    cap_tokens: int | None = None,
) -> Said[T]:
    """Ask until there is a value, or a recorded reason why there is none.

    A truncated reply is asked again with a doubled cap, up to `cap_tokens`. A refusal is rephrased once. A reply that
    `parse` can't read is sent back once with what was wrong. Anything else ends the conversation, and so does each of
    these the next time: a failure that would only repeat itself is not paid for again. Each step is a turn of its own
    in the store, so a run that was killed replays what was answered and goes on where it stopped.

    Args:
        client: answers from the store first (`open_client` gives such a one).
        store: where the verdict of `parse` is recorded.
        request: turn 0.
        parse: reads the value out of a reply's text; raises `Unreadable` where it can't.
        rephrase: the request in other words, its stage and task the same; without it a refusal is final.
        cap_tokens: the highest cap of a reply; 8 times the first one when not given.

    Raises:
        MidspecError: what ends the whole run (a budget that is used up, a key that is refused).
    """
    cap = cap_tokens or _CAP_GROWTH * request.max_tokens
    first, rephrased, repaired = request, False, False
    while True:
        outcome = await client.ask(request)
        if outcome.kind == "truncated" and request.max_tokens < cap:
            changed: dict[str, object] = {"max_tokens": min(cap, 2 * request.max_tokens)}
        elif outcome.kind == "refused" and rephrase is not None and not rephrased:
            rephrased = True
            changed = _asking(rephrase(first), request.max_tokens)
        elif outcome.kind in ("ok", "unparsable"):
            read = _read(store, request, outcome, parse)
            if isinstance(read, Said):
                return read
            if repaired:
                return Said(None, outcome.model_copy(update={"kind": "unparsable", "note": read}))
            repaired = True
            changed = {"turns": (*request.turns, *_repair(outcome.text, read))}
        else:
            return Said(None, outcome)
        # Built from validated parts; validating 20 kB of prompt again at each turn would be waste.
        request = request.model_copy(update={**changed, "turn": request.turn + 1})


def _asking(other: Request, max_tokens: int) -> dict[str, object]:
    """What a rephrased request changes: the words, never the task that it answers."""
    words = {name: getattr(other, name) for name in ("prompt", "prefix", "turns", "form")}
    return {**words, "max_tokens": max(max_tokens, other.max_tokens)}


def _read(store: Store, request: Request, outcome: Outcome, parse: Callable[[str], T]) -> Said[T] | str:
    """The value, or what is wrong. The text is what is kept; the verdict is made anew at each replay."""
    try:
        value = parse(outcome.text)
    except Unreadable as error:
        wrong = str(error)
        if outcome.kind == "ok":
            store.mark(request.task, request.turn, "unparsable", wrong)
        return wrong
    if outcome.kind != "ok":
        store.mark(request.task, request.turn, "ok", "")
        outcome = outcome.model_copy(update={"kind": "ok", "note": ""})
    return Said(value, outcome)


def _repair(text: str, wrong: str) -> tuple[Message, Message]:
    words = (
        "That reply can't be used as it stands.\n\n"
        f"What is wrong: {wrong}.\n\n"
        "Send all of it again, complete and in exactly the form that was asked for, with nothing before or after it."
    )
    # A provider refuses an assistant turn without text.
    return Message(role="assistant", content=text or "(nothing)"), Message(role="user", content=words)
