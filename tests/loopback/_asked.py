"""What a request's body asks for, in the same words for both protocols."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

Protocol = Literal["openai", "anthropic"]
CHARS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to the model.

    Attributes:
        prompt: the text of all messages in order.
        tail: the last user message that names what it wants (the last one, but for repairs).
        sha: hash of the messages, cap and schema left out.
        n_before: how many requests with that hash came before.
        breaks: where a client marked ends of prefixes to cache, in characters of `prompt`.
        kind: `list` for requests with a schema and for verdicts, `document` for the others.
    """

    protocol: Protocol
    model: str
    prompt: str
    tail: str
    sha: str
    n_before: int
    max_tokens: int
    form: dict[str, Any] | None
    tags: list[tuple[str, str]]
    kind: str
    breaks: tuple[int, ...] = field(default=())

    @property
    def n_prompt(self) -> int:
        """Tokens of the prompt."""
        return tokens(self.prompt)


def tokens(text: str) -> int:
    """A token is four characters."""
    return -(-len(text) // CHARS_PER_TOKEN)


def sha_of(parts: list[str]) -> str:
    """Hash of the messages."""
    hashed = hashlib.blake2b(digest_size=12)
    for part in parts:
        hashed.update(part.encode())
        hashed.update(b"\0")
    return hashed.hexdigest()


def read_messages(body: dict[str, Any]) -> tuple[list[str], list[str], tuple[int, ...]]:
    """Texts of all messages, of the user's alone, and where the cache marks stand."""
    texts, of_user, breaks, length = [], [], [], 0
    messages = body["messages"]
    if body.get("system"):
        messages = [{"role": "system", "content": body["system"]}, *messages]
    for message in messages:
        content = message["content"]
        parts = [{"text": content}] if isinstance(content, str) else content
        for part in parts:
            text = part.get("text", "")
            texts.append(text)
            length += len(text)
            if "cache_control" in part:
                breaks.append(length)
        if message["role"] == "user":
            of_user.append("".join(part.get("text", "") for part in parts))
    return texts, of_user, tuple(breaks)


def read_form(body: dict[str, Any]) -> dict[str, Any] | None:
    """The JSON schema that the reply must have, wherever the protocol puts it."""
    wanted = (
        body.get("response_format")
        or (body.get("output_config") or {}).get("format")
        or body.get("output_format")
        or {"type": "text"}
    )
    if wanted.get("type") != "json_schema":
        return None
    form: dict[str, Any] = wanted["json_schema"]["schema"] if "json_schema" in wanted else wanted["schema"]
    return form
