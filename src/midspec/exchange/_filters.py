"""What is wrong with a row of a mix, in words, or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from midspec.exchange._mix_config import MixConfig
from midspec.records import Chat, Document

__all__ = ["Fault", "fault_finder", "text_of"]

Fault = Callable[[Document | Chat, int], str | None]

# Models and labs by which assistants call themselves in public data.
_MODELS = (
    "chatgpt", "gpt", "claude", "bard", "gemini", "gemma", "palm", "llama", "qwen", "tongyi", "mistral", "mixtral",
    "deepseek", "vicuna", "alpaca", "falcon", "olmo", "tulu", "tülu", "phi", "grok", "copilot", "smollm", "yi",
    "command r", "open assistant", "openassistant", "nemotron", "granite", "ernie", "kimi", "chatglm", "bing",
)  # fmt: skip
_LABS = (
    "openai", "anthropic", "google", "google deepmind", "deepmind", "meta", "meta ai", "facebook", "alibaba",
    "alibaba cloud", "mistral ai", "mistral", "deepseek", "microsoft", "ai2", "allen institute for ai",
    "the allen institute for ai", "hugging face", "lmsys", "laion", "xai", "cohere", "nvidia", "ibm", "baidu",
    "moonshot ai", "zhipu ai", "01.ai",
)  # fmt: skip
_VERSION = r"(?:[- ]?v?\d[\w.]*)?(?:[- ](?:turbo|instruct|chat|pro|large|opus|sonnet|haiku))?"
_OPINIONS = re.compile(
    r"\bas an? (?:(?:large |artificial |ai )*(?:language )?(?:model|ai|intelligence|assistant)\b[^.!?\n]{0,80}?)"
    r"\b(?:i (?:do not|don['’]t|cannot|can['’]t|am not able to|am unable to|lack|have no)"
    r"|without)\b[^.!?\n]{0,60}?\b(?:opinions?|feelings?|preferences?|beliefs?|emotions?|views?|desires?)\b",
    re.IGNORECASE,
)
_SNIPPET = 60


def text_of(row: Document | Chat) -> str:
    """All that a row says, turns one below the other."""
    return row.text if isinstance(row, Document) else "\n".join(turn.content for turn in row.messages)


def fault_finder(config: MixConfig) -> Fault:
    """A function that says why a row (with its number of tokens) is not kept, or `None`."""
    identity = _identity(config) if config.filters.wrong_identity else None
    words = _words(config.filters.words)

    def fault(row: Document | Chat, n_tokens: int) -> str | None:
        if n_tokens > config.max_tokens_row:
            return f"too long: {n_tokens} tokens"
        if isinstance(row, Chat) and (shape := _shape(row)) is not None:
            return shape
        if words is not None and (found := words.search(text_of(row))) is not None:
            return f"holds a listed word: {found[0].casefold()}"
        for said in _said(row):
            if identity is not None and (found := identity.search(said)) is not None:
                return f"wrong identity: {_snippet(found[0])}"
            if config.filters.no_opinions and (found := _OPINIONS.search(said)) is not None:
                return f"disclaims opinions: {_snippet(found[0])}"
        return None

    return fault


def _shape(chat: Chat) -> str | None:
    """What keeps a conversation from being trained on: it must end with an assistant who answers a user."""
    roles = [message.role for message in chat.messages]
    if roles[-1] != "assistant":
        return "ends without an answer"
    return None if "user" in roles else "nobody asks"


def _said(row: Document | Chat) -> Iterator[str]:
    if isinstance(row, Document):
        yield row.text
    else:
        yield from (turn.content for turn in row.messages if turn.role == "assistant")


def _snippet(found: str) -> str:
    return " ".join(found.split())[:_SNIPPET]


def _identity(config: MixConfig) -> re.Pattern[str]:
    """An assistant that gives itself a name, or a maker, that is not its own."""
    own = {name.casefold() for name in (config.model_name, config.provider_name) if name}
    models = "|".join(re.escape(name) for name in _longest_first(_MODELS) if not any(name in mine for mine in own))
    labs = "|".join(re.escape(name) for name in _longest_first(_LABS) if not any(name in mine for mine in own))
    kind = r"(?:an? )?(?:(?:large |ai |helpful )*(?:language )?(?:model|assistant|chatbot|ai)\b)"
    myself = r"\b(?:i am|i['’]m|my name is|you can call me)"
    named = rf"{myself} (?:{kind}[, ]+(?:called |named |known as )?)?(?:the )?(?:{models}){_VERSION}\b"
    made = (
        rf"\b(?:i am|i['’]m|i was|i have been|i['’]ve been)\b[^.!?\n]{{0,60}}?"
        rf"\b(?:created|developed|trained|made|built|designed) by (?:{labs})\b"
    )
    return re.compile(f"{named}|{made}", re.IGNORECASE)


def _longest_first(names: tuple[str, ...]) -> list[str]:
    return sorted(names, key=len, reverse=True)


def _words(listed: tuple[str, ...]) -> re.Pattern[str] | None:
    if not listed:
        return None
    parts = "|".join(r"\s+".join(map(re.escape, phrase.split())) for phrase in _longest_first(listed))
    return re.compile(rf"(?<!\w)(?:{parts})(?!\w)", re.IGNORECASE)
