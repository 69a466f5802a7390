"""Files that others wrote (JSONL, JSON, parquet, data set folders, trees of texts), as plain rows with their places."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

import yaml
from pydantic import BaseModel

from midspec.core.artifact import writable
from midspec.core.errors import DataError, MissingError
from midspec.core.fingerprint import hash_text

ID_LENGTH = 16
_ENDINGS = (".jsonl", ".jsonl.gz", ".ndjson", ".json", ".parquet")
# Files that stand beside rows without being rows: midspec's own, and those of the `datasets` library.
_NO_ROWS = {"rejects.jsonl", "plan.jsonl", "coverage.json", "record.json", "manifest.json", "health.json"}
_NO_ROWS |= {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "meta.json", "summary.json"}


class RawRow(NamedTuple):
    """One row as it was read: `file:line` (or `file:row`, from 1), and its keys and values."""

    where: str
    row: dict[str, Any]


def raw_rows(path: Path, *, config: str | None = None, split: str | None = None) -> Iterator[RawRow]:
    """Read every row of a file (JSONL, gzipped or not; a JSON list; parquet) or of a data set folder.

    A folder is read as its card says (`configs` in the front matter of its README.md), or as the `datasets` library
    saved it (`save_to_disk`), or else as every data file in it, by name.

    Args:
        path: a file or a folder.
        config: which configuration of a folder whose card names several; its default by default.
        split: which split, where the card names splits; all by default.

    Raises:
        MissingError: there is nothing there, or no data file in the folder.
        DataError: a row that is no JSON object; or a configuration or split that is not there.
    """
    if not path.exists():
        raise MissingError("there is no such file or folder", where=str(path), hint="Check the path")
    if is_saved(path):
        yield from _saved_rows(path, split)
        return
    for file in data_files(path, config=config, split=split):
        yield from _file_rows(file)


def is_saved(path: Path) -> bool:
    """Return whether the `datasets` library saved this folder with `save_to_disk`."""
    return any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))


def data_files(path: Path, *, config: str | None = None, split: str | None = None) -> list[Path]:
    """List the files that hold the rows of `path`, in order (see `raw_rows`)."""
    if path.is_file():
        return [path]
    listed = _files_of_card(path, config, split)
    if listed is None:
        listed = [
            file
            for file in path.rglob("*")
            if file.is_file()
            and file.name.endswith(_ENDINGS)
            and file.name not in _NO_ROWS
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
        ]
    found = sorted(listed)
    if not found:
        raise MissingError(
            "holds no JSONL, JSON or parquet file", where=str(path), hint="Name a file or folder of rows"
        )
    return found


# Data set cards ------------------------------------------------------------------------------------------------
def _files_of_card(folder: Path, config: str | None, split: str | None) -> list[Path] | None:
    """List the files that a folder's card names; `None` where it has no card or the card names none."""
    listed = [entry for entry in _front_matter(folder / "README.md").get("configs") or [] if "data_files" in entry]
    if not listed:
        return None
    names = [str(entry.get("config_name", "default")) for entry in listed]
    default = next((name for name, entry in zip(names, listed, strict=True) if entry.get("default")), None)
    wanted = config or default or ("default" if "default" in names else names[0] if len(names) == 1 else None)
    if wanted not in names:
        what = f"has no configuration {wanted!r}" if wanted else "has several configurations and no default"
        raise DataError(what, where=str(folder), hint=f"Name one of {', '.join(names)}")
    files = listed[names.index(wanted)]["data_files"]
    patterns: dict[str, list[str]] = {}
    # A card may give one pattern, a list of them, or a list by split.
    for entry in files if isinstance(files, list) else [files]:
        name, paths = (entry["split"], entry["path"]) if isinstance(entry, dict) else ("train", entry)
        patterns.setdefault(name, []).extend([paths] if isinstance(paths, str) else paths)
    if split is not None and split not in patterns:
        hint = f"Name one of {', '.join(patterns)}"
        raise DataError(f"has no split {split!r}", where=str(folder), hint=hint)
    chosen = [patterns[split]] if split is not None else list(patterns.values())
    return [file for group in chosen for pattern in group for file in folder.glob(pattern) if file.is_file()]


def _front_matter(card: Path) -> dict[str, Any]:
    if not card.is_file():
        return {}
    head, *rest = card.read_text(encoding="utf-8").split("\n---", 1)
    if not rest or not head.startswith("---"):
        return {}
    try:
        found = yaml.safe_load(head.removeprefix("---"))
    except yaml.YAMLError as error:
        raise DataError(
            "the front matter is not YAML", where=str(card), hint="Fix it, or name the data file itself"
        ) from error
    return found if isinstance(found, dict) else {}


# Rows ----------------------------------------------------------------------------------------------------------
def _file_rows(file: Path) -> Iterator[RawRow]:
    if file.name.endswith(".parquet"):
        yield from _parquet_rows(file)
    elif file.name.endswith(".json"):
        yield from _json_rows(file)
    else:
        with gzip.open(file) if file.name.endswith(".gz") else file.open("rb") as opened:
            yield from _lines(opened, file)


def _lines(opened: Iterable[bytes], file: Path) -> Iterator[RawRow]:
    # Bytes are split at line feeds only: U+2028 and its like are ordinary text inside a JSON string.
    for number, line in enumerate(opened, start=1):
        content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if content.strip():
            where = f"{file}:{number}"
            yield RawRow(where, _check_object(_parse_json(content, where), where))


def _json_rows(file: Path) -> Iterator[RawRow]:
    """Read the rows of a JSON list; a file of one object a line that is called .json is common too."""
    content = file.read_bytes().removeprefix(b"\xef\xbb\xbf")
    if not content.lstrip().startswith(b"["):
        with file.open("rb") as opened:
            yield from _lines(opened, file)
        return
    for number, row in enumerate(_parse_json(content, str(file)), start=1):
        where = f"{file}:{number}"
        yield RawRow(where, _check_object(row, where))


def _parse_json(content: bytes, where: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise DataError(f"not JSON: {error}", where=where, hint="Fix or remove that line") from error


def _check_object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        kind = type(row).__name__
        raise DataError(f"a row is a JSON object, not a {kind}", where=where, hint="Fix or remove that line")
    return row


def _parquet_rows(file: Path) -> Iterator[RawRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            number = 0
            for batch in table.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield RawRow(f"{file}:{number}", row)
    except pa.ArrowInvalid as error:
        raise DataError(f"not a parquet file: {error}", where=str(file), hint="Write it again") from error


def _saved_rows(folder: Path, split: str | None) -> Iterator[RawRow]:
    """Read the rows of what the `datasets` library saved with `save_to_disk`."""
    import datasets

    saved = datasets.load_from_disk(str(folder))
    parts = dict(saved) if isinstance(saved, datasets.DatasetDict) else {"train": saved}
    if split is not None and split not in parts:
        hint = f"Name one of {', '.join(map(str, parts))}"
        raise DataError(f"has no split {split!r}", where=str(folder), hint=hint)
    for name, part in parts.items():
        if split in (None, name):
            for number, row in enumerate(part, start=1):
                yield RawRow(f"{folder}/{name}:{number}", row)


# Trees of text files --------------------------------------------------------------------------------------------
_OPEN, _CLOSE = "<content>", "</content>"


def is_tree(path: Path) -> bool:
    """Return whether a folder is a tree as the paper's scripts leave it: text files below it beside a meta.json."""
    return path.is_dir() and any(file.with_name("meta.json").is_file() for file in path.rglob("*.txt"))


def tree_rows(root: Path) -> Iterator[RawRow]:
    """Read a row from every text file, by path; `text` is missing where a reply was cut off before `</content>`.

    `source` is the path below the root, `domain` the name of the domain, and `metadata` says subdomain and type, by
    the names in meta.json where it has them (folder names were cut and cleaned) and else by the folders'.

    Raises:
        DataError: a file is not UTF-8 or a meta.json no JSON object.
    """
    for file in sorted(root.rglob("*.txt")):
        source = file.relative_to(root)
        try:
            reply = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"not UTF-8: {error}", where=str(file), hint="Fix or remove that file") from error
        meta, folders = _read_meta(file.with_name("meta.json")), source.parent.parts
        # A name is given alone or as the field `doc_type` of an object.
        given = [meta.get(key) for key in ("domain", "subdomain", "doc_type")]
        names = [each.get("doc_type") if isinstance(each, dict) else each for each in given]
        domain, subdomain, doc_type = (
            name if name and isinstance(name, str) else (folders[at] if at < len(folders) else "")
            for at, name in enumerate(names)
        )
        metadata = {"author": "imported", "subdomain": subdomain, "doc_type": doc_type, "idea": file.stem}
        row: dict[str, Any] = {"source": source.as_posix(), "domain": domain or "root", "metadata": metadata}
        if (text := _text_of_reply(reply)) is not None:
            row["text"] = text
            metadata["id"] = hash_text(f"{source.as_posix()}\n{text}")[:ID_LENGTH]
        else:
            row["reply"] = reply
        yield RawRow(str(file), row)


def _text_of_reply(reply: str) -> str | None:
    """Return what stands between the tags, or all of a reply without tags; `None` if it was cut off."""
    head, opened, rest = reply.partition(_OPEN)
    if not opened:
        return None if _CLOSE in reply or "<scratchpad>" in head else reply.strip()
    text, closed, _ = rest.rpartition(_CLOSE)
    return text.strip() if closed else None


@lru_cache(maxsize=64)
def _read_meta(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        meta = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"not JSON: {error}", where=str(path), hint="Fix or remove that file") from error
    return meta if isinstance(meta, dict) else {}


# Writing --------------------------------------------------------------------------------------------------------
class RowFile:
    """A JSONL file that exists only if a row was written to it; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self.n_rows = 0
        self.n_bytes = 0

    def __enter__(self) -> RowFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, row: BaseModel) -> None:
        """Write one row, its keys in the order of its fields."""
        line = row.model_dump_json().encode() + b"\n"
        with writable(self._path.parent):
            if self._file is None:
                self._file = self._path.open("wb")
            self._file.write(line)
        self.n_rows += 1
        self.n_bytes += len(line)
