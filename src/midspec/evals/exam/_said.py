"""What a model said, apart from what it thought: a provider's output or a text with `<think>` enters, `Said` leaves."""

from __future__ import annotations

from inspect_ai.model import ContentReasoning, ModelOutput

from midspec.evals._provider import STOP_REASONS
from midspec.evals.exam._types import Said
from midspec.models import Generation

__all__ = ["said_by", "said_by_checkpoint", "split_thinking"]

_OPEN, _CLOSE = "<think>", "</think>"


def said_by(output: ModelOutput) -> Said:
    """Any provider's output: native reasoning goes before reasoning that stands in the text.

    Raises:
        RuntimeError: the output holds no answer at all.
    """
    if not output.choices:
        raise RuntimeError("the provider gave no answer")
    content = output.message.content
    parts = [part for part in content if isinstance(part, ContentReasoning)] if isinstance(content, list) else []
    native = [part.summary or "" if part.redacted else part.reasoning for part in parts]
    inline, text = split_thinking(output.message.text)
    return Said(
        text=text,
        reasoning="\n".join(part for part in (*native, inline) if part),
        stop_reason=output.stop_reason,
        n_tokens=None if output.usage is None else output.usage.output_tokens,
    )


def said_by_checkpoint(found: Generation) -> Said:
    """What a checkpoint of ours wrote."""
    reasoning, text = split_thinking(found.text)
    return Said(text=text, reasoning=reasoning, stop_reason=STOP_REASONS[found.stop_reason], n_tokens=found.n_tokens)


def split_thinking(text: str) -> tuple[str, str]:
    """Reasoning and answer. A thought that is never closed is all reasoning; one that a template opened is closed only.

    Text without any such tag comes back as it is.
    """
    if _OPEN not in text and _CLOSE not in text:
        return "", text
    before, closed, after = text.rpartition(_CLOSE)
    aloud, _, cut = (after if closed else text).partition(_OPEN)
    thought = before.replace(_OPEN, "").replace(_CLOSE, "")
    return "\n".join(part.strip() for part in (thought, cut) if part.strip()), aloud.strip()
