"""A world as files, and the files that midspec ships."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, JsonValue

from midspec.core.artifact import RECORD, Built, write_json, write_rows
from midspec.core.errors import MissingError, did_you_mean
from midspec.core.records import Document
from midspec.lab._base import Row, fact_rows, mix_rows, replay_rows
from midspec.lab._world import ASSISTANT, MIRROR, SPECIAL, World, gate_items, held_out_items, mirror_of

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


_TOKENIZER = "tokenizer.json"
_ABOUT_TRAINING = frozenset({RECORD, "metrics.jsonl", "preflight.json"})
_DATA = Path(__file__).parent / "_data"


def data_path(name: str) -> Path:
    """Return the path of a file that the lab ships (a spec, templates, the nano study).

    Raises:
        MissingError: the lab ships no such file; names those that it does.
    """
    path = _DATA / name
    if _DATA.resolve() not in path.resolve().parents or not path.is_file():
        files = (entry for entry in _DATA.rglob("*") if entry.is_file())
        shipped = sorted(entry.relative_to(_DATA).as_posix() for entry in files)
        raise MissingError(f"the lab ships no {name}", where="lab", hint=did_you_mean(name, shipped))
    return path


def save_world(world: World, folder: Path) -> Built:
    """Write a world: `tokenizer/`, `facts.jsonl`, `mix.jsonl`, `replay.jsonl`, `items.jsonl`, `gate.jsonl`."""
    return _save(world, world.words, folder, _rows(world))


def _rows(world: World) -> dict[str, list[Row]]:
    return {"facts": fact_rows(world), "mix": mix_rows(world), "replay": replay_rows(world)}


def save_mirror(world: World, seed: int, folder: Path) -> Built:
    """Write the mirrored world of `world`, in the same files as `save_world`: every row with the words of `MIRROR`.

    Args:
        world: the one to mirror.
        seed: what the mirrored world's items are called after.
        folder: to write into.
    """
    words = tuple(MIRROR.get(word, word) for word in world.words)
    rows = {name: [_mirrored(row) for row in rows] for name, rows in _rows(world).items()}
    return _save(mirror_of(world, seed), words, folder, rows)


def _save(world: World, words: tuple[str, ...], folder: Path, rows: Mapping[str, Sequence[Row]]) -> Built:
    files: dict[str, Sequence[BaseModel]] = {f"{name}.jsonl": rows[name] for name in rows}
    files |= {"items.jsonl": held_out_items(world), "gate.jsonl": gate_items(world)}
    counts = {name.removesuffix(".jsonl"): write_rows(folder / name, rows) for name, rows in files.items()}
    tokenizer = [f"tokenizer/{name}" for name in save_tokenizer(words, folder / "tokenizer")]
    return Built(
        outputs=(*files, *tokenizer),
        summary={"seed": world.seed, "vocabulary": len(words), **{f"n_{k}": n for k, n in counts.items()}},
    )


def _mirrored(row: Row) -> Row:
    def exchange(text: str) -> str:
        return " ".join(MIRROR.get(word, word) for word in text.split(" "))

    if isinstance(row, Document):
        return row.model_copy(update={"text": exchange(row.text)})
    turns = (turn.model_copy(update={"content": exchange(turn.content)}) for turn in row.messages)
    return row.model_copy(update={"messages": tuple(turns)})


def save_mirrored_model(model: Path, folder: Path) -> tuple[str, ...]:
    """Write the model of a world as one of the mirrored world: the same weights, and a tokenizer that exchanges words.

    Args:
        model: its folder.
        folder: to write into.

    Returns:
        The names of the files.
    """
    names = sorted(path.name for path in model.iterdir() if path.is_file() and path.name not in _ABOUT_TRAINING)
    for name in names:
        shutil.copyfile(model / name, folder / name)
    tokenizer = json.loads((model / _TOKENIZER).read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    mirrored = {word: vocabulary[MIRROR.get(word, word)] for word in vocabulary}
    tokenizer["model"]["vocab"] = dict(sorted(mirrored.items(), key=lambda entry: entry[1]))
    write_json(folder / _TOKENIZER, tokenizer)
    return tuple(names)
