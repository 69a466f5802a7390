"""The tree that the paper's authors leave: <domain>/<subdomain>/<doc_type>/ with meta.json and one .txt a document.

A text file holds the whole reply: a scratch pad, and the document between `<content>` and `</content>`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from midspec.errors import DataError
from midspec.exchange._raw import Raw
from midspec.fingerprint import hash_text

__all__ = ["is_tree", "tree_rows"]

_OPEN, _CLOSE = "<content>", "</content>"
_ID_LENGTH = 16


def is_tree(path: Path) -> bool:
    """Whether a folder is such a tree: text files below it beside a meta.json."""
    return (
        path.is_dir() and next((file for file in path.rglob("*.txt") if _meta_path(file).is_file()), None) is not None
    )


def _meta_path(file: Path) -> Path:
    return file.with_name("meta.json")


def tree_rows(root: Path) -> Iterator[Raw]:
    """A row for every text file, by path; `text` is missing where a reply was cut off before `</content>`.

    `source` is the path below the root, `domain` the name of the domain, and `metadata` says subdomain and type, by
    the names in meta.json where it has them (folder names were cut and cleaned) and else by the folders'.

    Raises:
        DataError: a file is not UTF-8 or a meta.json no JSON object.
    """
    for file in sorted(root.rglob("*.txt")):
        source = file.relative_to(root)
        reply = _read(file)
        row: dict[str, Any] = {"source": source.as_posix(), **_place(file, source)}
        text = _document(reply)
        if text is not None:
            row["text"] = text
            row["metadata"]["id"] = hash_text(f"{source.as_posix()}\n{text}")[:_ID_LENGTH]
        else:
            row["reply"] = reply
        yield Raw(str(file), row)


def _document(reply: str) -> str | None:
    """The document in a reply: what stands between the tags, or all of it where it has no tag; `None` if cut off."""
    head, opened, rest = reply.partition(_OPEN)
    if not opened:
        return None if _CLOSE in reply or "<scratchpad>" in head else reply.strip()
    text, closed, _ = rest.rpartition(_CLOSE)
    return text.strip() if closed else None


def _place(file: Path, source: Path) -> dict[str, Any]:
    """The domain, and the metadata, that a file's place and the meta.json beside it give."""
    folders = source.parent.parts
    meta = _meta(_meta_path(file))
    domain, subdomain, doc_type = (
        _named(meta.get(key)) or (folders[at] if at < len(folders) else "")
        for at, key in enumerate(("domain", "subdomain", "doc_type"))
    )
    return {
        "domain": domain or "root",
        "metadata": {"author": "imported", "subdomain": subdomain, "doc_type": doc_type, "idea": file.stem},
    }


def _named(value: Any) -> str:
    """A name that is given alone or as the field `doc_type` of an object."""
    found = value.get("doc_type") if isinstance(value, dict) else value
    return found if isinstance(found, str) else ""


@lru_cache(maxsize=64)
def _meta(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"not JSON: {error}", where=str(path), mend="Mend or remove that file") from error
    return found if isinstance(found, dict) else {}


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8: {error}", where=str(file), mend="Mend or remove that file") from error
