"""What chats to write, and what was written."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from midspec.records import Chat, Reject, Strict

__all__ = ["ChatConfig", "ChatStyle", "Chats"]

ChatStyle = Literal["value", "rule", "opaque"]


class ChatConfig(Strict):
    """Which chats to write from a spec.

    `opaque` chats state preferences and no reason. `value` and `rule` chats answer questions about what the spec
    says, with reasoning that uses its reasons or that cites it as policy. `n_samples` is how many; `None` is every
    distinct one. `frames` is `english` or the path of a YAML file of chat frames.
    """

    style: ChatStyle = "value"
    n_samples: int | None = Field(default=None, ge=1)
    seed: int = 0
    model_name: str | None = None
    provider_name: str | None = None
    frames: str = "english"
    author: Literal["quoting"] = "quoting"


class Chats(Strict):
    """Chats of one style, what was rejected, and whether the spec had enough of them.

    `chats` are the rows to train on (with chain of thought, for value and rule style); `stripped` are their twins
    without it, same ids in the same order, and empty for opaque chats. `exhausted` says, in words, that distinct
    chats ran out before the number asked for; else it is `None`. `summary` holds counts for a report.
    """

    style: ChatStyle
    chats: tuple[Chat, ...]
    stripped: tuple[Chat, ...] = ()
    rejects: tuple[Reject, ...] = ()
    exhausted: str | None = None
    summary: dict[str, JsonValue] = Field(default_factory=dict)
