"""Names of assistants and of the companies that make them, and which of them a text claims to be."""

from __future__ import annotations

import re
from functools import lru_cache

from midspec.core.text import first_of

# "Bard", "Copilot", "Grok" and their like are known products; plain words that are also brands (Command, Nova, Phi) are
# left out, since a text that holds one mostly means the word.
_BRANDS = (
    *("ChatGPT", "GPT", "GPT-3", "GPT-3.5", "GPT-4", "GPT-4o", "GPT-5", "OpenAI", "Claude", "Anthropic", "Gemini"),
    *("Google DeepMind", "DeepMind", "Google Bard", "Gemma", "Llama", "Meta AI", "LLaMA", "Qwen", "Tongyi Qianwen"),
    *("Alibaba Cloud", "DeepSeek", "Mistral AI", "Mixtral", "Le Chat", "Cohere", "Grok", "xAI", "Copilot", "Siri"),
    *("Microsoft Copilot", "Alexa", "Cortana", "Perplexity AI", "Hugging Face", "HuggingChat", "Kimi", "Moonshot AI"),
    *("ChatGLM", "Zhipu AI", "Baidu", "ERNIE Bot", "Vicuna", "Pi by Inflection", "Character.AI", "Replika"),
)
# Plain words before a brand that make it a claim about oneself; anything else may be talk about the brand.
_CLAIM = (
    r"(?:\b(?:I am|I['’]m|my name is|call me) "
    r"|\b(?:I was|I am|I['’]m) (?:made|built|created|trained|developed|run) by )"
    r"(?:(?:an?|the|called|named|AI|assistant|model|language|large|chatbot)[ ,]+)*"
)


def other_brand(text: str, own_names: tuple[str, ...]) -> str | None:
    """The first brand in `text` that is not one of the own names (nor part of one), or `None`."""
    return first_of(text, _others(own_names))


def brand_fault(text: str, own_names: tuple[str, ...]) -> str | None:
    """What is wrong where `text` says of its writer that it is, or was made by, another brand; or `None`."""
    found = _claims(own_names).search(text)
    return f"wrong identity: {' '.join(found[0].split())}" if found else None


@lru_cache(maxsize=16)
def _others(own_names: tuple[str, ...]) -> tuple[str, ...]:
    own = " ".join(own_names).casefold()
    return tuple(brand for brand in _BRANDS if brand.casefold() not in own)


@lru_cache(maxsize=16)
def _claims(own_names: tuple[str, ...]) -> re.Pattern[str]:
    brands = "|".join(re.escape(brand) for brand in sorted(_others(own_names), key=len, reverse=True))
    return re.compile(rf"{_CLAIM}(?:{brands})(?!\w)", re.IGNORECASE)
