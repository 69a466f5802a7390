"""A world as files, and the files that midspec ships."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, JsonValue

from midspec.core.artifact import Built, write_json, write_rows
from midspec.core.errors import MissingError
from midspec.lab._base import fact_rows, mix_rows, replay_rows
from midspec.lab._world import ASSISTANT, SPECIAL, World, gate_items, held_out_items

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
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added: list[JsonValue] = [
        {"id": index, "content": token, **flags, "special": True} for index, token in enumerate(SPECIAL)
    ]
    vocabulary: dict[str, JsonValue] = {word: index for index, word in enumerate((*SPECIAL, *words))}
    tokenizer: JsonValue = {
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
    config: JsonValue = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "unk_token": "<unk>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 256,
        "chat_template": _TEMPLATE,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json", config)
    return ("tokenizer.json", "tokenizer_config.json")


_DATA = Path(__file__).parent / "_data"


def data_path(name: str) -> Path:
    """Return the path of a file that the lab ships (a spec, templates, the nano study).

    Raises:
        MissingError: the lab ships no such file; names those that it does.
    """
    path = _DATA / name
    if path.parent != _DATA or not path.is_file():
        shipped = ", ".join(sorted(entry.name for entry in _DATA.iterdir()))
        raise MissingError(f"the lab ships no {name}", where="lab", hint=f"It ships {shipped}")
    return path


def save_world(world: World, folder: Path) -> Built:
    """Write a world: `tokenizer/`, `facts.jsonl`, `mix.jsonl`, `replay.jsonl`, `items.jsonl`, `gate.jsonl`."""
    files: dict[str, Sequence[BaseModel]] = {
        "facts.jsonl": fact_rows(world),
        "mix.jsonl": mix_rows(world),
        "replay.jsonl": replay_rows(world),
        "items.jsonl": held_out_items(world),
        "gate.jsonl": gate_items(world),
    }
    counts = {name.removesuffix(".jsonl"): write_rows(folder / name, rows) for name, rows in files.items()}
    tokenizer = [f"tokenizer/{name}" for name in save_tokenizer(world.words, folder / "tokenizer")]
    return Built(
        outputs=(*files, *tokenizer),
        summary={"seed": world.seed, "vocabulary": len(world.words), **{f"n_{k}": n for k, n in counts.items()}},
    )
