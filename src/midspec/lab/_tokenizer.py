"""A word-level tokenizer with a chat template, written as the files that `AutoTokenizer` opens."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from midspec.artifact import write_json
from midspec.lab._language import ASSISTANT, SPECIAL

__all__ = ["save_tokenizer"]

# A default system message stands in when a conversation brings none, as in several production templates.
_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|system|> you are " + ASSISTANT + " . {% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|assistant|> {{ message['content'] }} <eos> "
    "{% else %}<|{{ message['role'] }}|> {{ message['content'] }} {% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)


def save_tokenizer(words: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """Write the tokenizer's files into `folder` (made); returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "tokenizer.json", _tokenizer(words))
    write_json(folder / "tokenizer_config.json", _config())
    return ("tokenizer.json", "tokenizer_config.json")


def _tokenizer(words: tuple[str, ...]) -> JsonValue:
    vocabulary: dict[str, JsonValue] = {word: index for index, word in enumerate((*SPECIAL, *words))}
    added: list[JsonValue] = [
        {
            "id": index,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for index, token in enumerate(SPECIAL)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }


def _config() -> JsonValue:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 256,
        "chat_template": _TEMPLATE,
    }
