"""Where the pairs of an evaluation come from: a shipped set, a file, a folder, or a data set on the hub."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from midspec.errors import ConfigError, DataError, MissingError
from midspec.evals.preference._ask import check_items, read_items
from midspec.evals.preference._public import items_of_rows
from midspec.evals.preference._sets import shipped_items
from midspec.records import Item

__all__ = ["SHIPPED", "resolve_items"]

SHIPPED = "shipped:"
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_LONGEST_SAID = 200
# What `save_to_disk` of the `datasets` library leaves in a folder.
_SAVED = ("dataset_dict.json", "state.json")


def resolve_items(ref: str, *, base: Path | None = None) -> list[Item]:
    """The pairs that `ref` names, checked: there are some, each id once, each pair two different texts.

    Args:
        ref: `shipped:<value>` (see `VALUES`); a JSONL file of items; a file (JSONL, JSON, parquet) or a folder of a
            data set of pairs, also as `datasets` saves it; or its name on the hub, `owner/name`. A file or folder
            of that name goes before the hub.
        base: the folder that relative paths start from; the working directory by default.

    Raises:
        MissingError: no set is shipped under that name, there is no such file, or the hub does not give it.
        DataError: rows that are no pairs.
        ConfigError: a data set is named, and the library that reads it is not installed.
    """
    if ref.startswith(SHIPPED):
        return shipped_items(ref.removeprefix(SHIPPED))
    path = Path(ref) if base is None else base / ref
    if path.is_file() and _holds_items(path):
        return read_items(path)
    if path.exists():
        items = items_of_rows(_local_rows(path), path.name.partition(".")[0] or ref)
    elif _HUB_NAME.fullmatch(ref) and not path.suffix:
        items = items_of_rows(_hub_rows(ref), ref)
    else:
        raise MissingError(
            "there is no such file", where=str(path), mend="Check the path, or name a shipped set: shipped:<value>"
        )
    check_items(items, where=ref)
    return items


def _holds_items(path: Path) -> bool:
    """Whether this is a file of our own items; what can't be read as rows of another form is taken for one."""
    if path.suffix != ".jsonl":
        return False
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"")
    try:
        row = json.loads(first)
    except ValueError:  # Also of bytes that are no UTF-8.
        return True
    return not isinstance(row, dict) or {"id", "set", "options"} <= row.keys()


def _local_rows(path: Path) -> list[dict[str, Any]]:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in _READ)
    try:
        if any((path / name).is_file() for name in _SAVED):
            return _all_splits(_library(str(path)).load_from_disk(str(path)))
        rows = [row for file in files for row in _READ[file.suffix](file)]
    except KeyError as error:
        raise DataError("is no JSONL, JSON or parquet file", where=str(path), mend="Give one of these") from error
    except (OSError, ValueError) as error:  # Also of JSON and of bytes that are no UTF-8.
        raise DataError(f"can't be read: {_said(error)}", where=str(path), mend="Write it again") from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError("holds no rows of pairs", where=str(path), mend="Give JSONL, JSON or parquet rows")
    return rows


def _json_rows(file: Path) -> list[dict[str, Any]]:
    text = file.read_text(encoding="utf-8-sig")
    found = (
        json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.split("\n") if line]
    )
    return list(found)


def _parquet_rows(file: Path) -> list[dict[str, Any]]:
    _library(str(file))
    from pyarrow import parquet

    return list(parquet.read_table(file).to_pylist())


_READ = {".jsonl": _json_rows, ".json": _json_rows, ".parquet": _parquet_rows}


def _hub_rows(name: str) -> list[dict[str, Any]]:
    datasets = _library(name)
    try:
        return _all_splits(datasets.load_dataset(name))
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise MissingError(
            f"can't be had from the hub: {_said(error)}",
            where=name,
            mend="Check the name and the network, or name a file or folder of it; shipped:<value> needs neither",
        ) from error


def _library(where: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            "the library `datasets` is not installed", where=where, mend="Install midspec[exchange]"
        ) from error
    return datasets


def _all_splits(found: Any) -> list[dict[str, Any]]:
    """The rows of every split, in order; the public sets have one."""
    parts = found.values() if isinstance(found, dict) else [found]
    return [dict(row) for part in parts for row in part]


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:_LONGEST_SAID].rstrip(".") or type(error).__name__
