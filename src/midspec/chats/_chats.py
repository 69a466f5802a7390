"""From a spec to chats, and from chats to a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from midspec.chats._config import ChatConfig, Chats
from midspec.chats.template_author._opaque import write_opaque
from midspec.chats.template_author._spec_chats import write_spec_chats
from midspec.chats.template_author._templates import load_templates
from midspec.core.artifact import Built, writable, write_rows
from midspec.core.errors import ConfigError
from midspec.core.records import Chat, Reject, Spec


def subsample(chats: Sequence[Chat], n: int) -> tuple[Chat, ...]:
    """The first `n` chats of a pool, in its order.

    A pool's rows are saved in an order drawn by its seed (opaque ones in rounds of one chat a preference), so its
    beginning is a random, balanced sample; a smaller one is contained in every larger one, and twins, which have the
    same order, give the same ids.

    Raises:
        ConfigError: the pool has fewer.
    """
    if not 1 <= n <= len(chats):
        raise ConfigError(f"{n} is not between 1 and the pool's {len(chats)}", where="n", hint="Write a larger pool")
    return tuple(chats[:n])


def nested_name(name: str, n: int) -> str:
    """The file of the first `n` rows of a pool's file: `chats_cot.jsonl`, 1,250 -> `chats_cot.1250.jsonl`."""
    path = PurePath(name)
    return f"{path.stem}.{n}{path.suffix}"


def make_chats(spec: Spec, config: ChatConfig) -> Chats:
    """Write chats from a spec whose placeholders are filled.

    Raises:
        SpecError: the spec has nothing to write this style of chats from.
        ConfigError: the chat frames are malformed, or lack what this style needs.
        MissingError: there are no such chat frames.
    """
    frames = load_templates(config.frames)
    if config.author != "quoting":
        raise ConfigError(
            "is a language model, which `author_chats` writes with",
            where=f"author: {config.author}",
            hint="Give quoting",
        )
    if config.style == "opaque":
        if frames.opaque is not None:
            return write_opaque(spec, config, frames.opaque)
    elif frames.spec is not None:
        return write_spec_chats(spec, config, frames.spec)
    part = "opaque" if config.style == "opaque" else "spec"
    raise ConfigError(
        f"has no `{part}` part, which {config.style} chats are written from",
        where=config.frames,
        hint="Choose another style, or other chat frames",
    )


def save_chats(chats: Chats, folder: Path, *, nested_sizes: Sequence[int] = ()) -> Built:
    """Write the rows into `folder`: twins `chats_cot.jsonl` and `chats_cot_stripped.jsonl`, or `chats.jsonl` when
    opaque, and `rejects.jsonl`.

    Args:
        chats: the pool.
        folder: takes the files.
        nested_sizes: also write the first so many rows as files of their own, where the pool has as many.

    Raises:
        FolderError: the folder can't be written.
    """
    files: dict[str, tuple[Chat, ...] | tuple[Reject, ...]] = {
        "chats.jsonl": chats.chats,
        "rejects.jsonl": chats.rejects,
    }
    if chats.style != "opaque":
        files = {
            "chats_cot.jsonl": chats.chats,
            "chats_cot_stripped.jsonl": chats.stripped,
            "rejects.jsonl": chats.rejects,
        }
    with writable(folder):
        for name, rows in files.items():
            write_rows(folder / name, rows)
        nested = _save_nested(files, folder, [size for size in nested_sizes if size <= len(chats.chats)])
    health = {"style": chats.style, "n_chats": len(chats.chats), "n_rejects": len(chats.rejects)}
    return Built(outputs=(*files, *nested), summary={**health, "exhausted": chats.exhausted, **chats.summary})


def _save_nested(
    files: Mapping[str, tuple[Chat, ...] | tuple[Reject, ...]], folder: Path, sizes: Sequence[int]
) -> list[str]:
    names = []
    for name, rows in files.items():
        for size in sizes if name != "rejects.jsonl" else ():
            write_rows(folder / nested_name(name, size), rows[:size])
            names.append(nested_name(name, size))
    return names
