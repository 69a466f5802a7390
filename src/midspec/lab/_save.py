"""The lab's door: a world as files, and the files that midspec ships."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from midspec.artifact import Built, write_rows
from midspec.errors import MissingError
from midspec.lab._base import fact_rows, mix_rows, replay_rows
from midspec.lab._items import gate_items, held_out_items
from midspec.lab._tokenizer import save_tokenizer
from midspec.lab._world import World

__all__ = ["data_path", "save_world"]

_DATA = Path(__file__).parent / "_data"


def data_path(name: str) -> Path:
    """The path of a file that the lab ships (a spec, frames, the nano study).

    Raises:
        MissingError: the lab ships no such file; names those that it does.
    """
    path = _DATA / name
    if path.parent != _DATA or not path.is_file():
        shipped = ", ".join(sorted(entry.name for entry in _DATA.iterdir()))
        raise MissingError(f"the lab ships no {name}", where="lab", mend=f"It ships {shipped}")
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
