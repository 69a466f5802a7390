"""One request to any Inspect model: a conversation enters, what the provider gave back leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelOutput,
)
from tenacity import RetryError

from midspec.core.records import Message

_MAX_RETRIES = 2
_ATTEMPT_S = 300
# A busy server may give a sample as little as this; one that hangs is told from it in the end.
_SLOWEST_TOKENS_PER_S = 4

_KINDS: dict[str, Any] = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}


def chat_messages(messages: Sequence[Message]) -> list[ChatMessage]:
    """Our messages as Inspect's."""
    return [_KINDS[message.role](content=message.content) for message in messages]


async def talk(model: Model, messages: Sequence[Message], settings: GenerateConfig) -> ModelOutput:
    """What `model` answers.

    Args:
        model: any Inspect model.
        messages: a conversation that ends with the user's turn.
        settings: sampling, and how long an answer is waited for, where that is not as ours.

    Raises:
        RuntimeError: the provider says that it could not answer.
        Exception: whatever the provider raised, when it was tried often enough.
    """
    try:
        output = await model.generate(chat_messages(messages), config=_patience(settings).merge(settings))
    except RetryError as error:
        # The last attempt's own error says what is wrong; the wrapper names a memory address instead.
        raise error.last_attempt.exception() or error from None
    if output.error is not None:
        raise RuntimeError(output.error)
    return output


def _patience(settings: GenerateConfig) -> GenerateConfig:
    """How often a request is sent again, and how long one attempt may take."""
    attempt_s = _ATTEMPT_S + (settings.max_tokens or 0) // _SLOWEST_TOKENS_PER_S
    return GenerateConfig(max_retries=_MAX_RETRIES, attempt_timeout=attempt_s)
