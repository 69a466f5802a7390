"""Where the rows of others are: data set folders by their cards, splits and names; trees of texts. And our files."""

from __future__ import annotations

import errno
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import yaml
from pydantic import BaseModel

from midspec.core.artifact import writable
from midspec.core.errors import DataError, MidspecError, MissingError, one_line
from midspec.core.fingerprint import id_of
from midspec.exchange._formats import PACKED, TABLES, RawRow, file_rows
from midspec.exchange._row_forms import without_nulls

# Of a folder the files of the first group that it has are rows: a table beside JSONL is most often about it.
_ROWS = ((".jsonl", ".ndjson", ".json", ".parquet"), TABLES, (".txt",))
# Files that stand beside rows without being rows: midspec's own, and those of the `datasets` library.
_NO_ROWS = {"rejects.jsonl", "plan.jsonl", "coverage.json", "record.json", "manifest.json", "health.json"}
_NO_ROWS |= {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "meta.json", "summary.json"}
# Nobody expects these to be rows.
_ABOUT = {"readme", "license", "licence", "notice", "changelog", "citation"}
_SHOWN_ENDINGS = 5
# As the `datasets` library reads splits off names of files and folders.
_SPLITS = {"training": "train", "valid": "validation", "val": "validation", "dev": "validation"}
_SPLITS |= {"testing": "test", "eval": "test", "evaluation": "test"}
_SPLITS |= {name: name for name in ("train", "validation", "test")}
_GET_ALL = "Get the whole data set, or name the data file itself"
_PART = re.compile(r"(?:\A|/)data/(?P<split>[\w.]+)-\d{5}-of-\d{5}[^/]*\Z")
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")


def raw_rows(path: Path, *, config: str | None = None, split: str | None = None) -> Iterator[RawRow]:
    """Read every row of a file (JSONL, a JSON list, parquet, CSV, plain text; gzip, zstd, bzip2, xz) or of a folder.

    A folder is read as its card says (`configs` in the front matter of its README.md), or as the `datasets` library
    saved it (`save_to_disk`), or else as every data file in it, by name. A row that can't be read comes with its fault.

    Args:
        path: a file or a folder.
        config: which configuration of a folder whose card names several; its default by default.
        split: which split of a folder, by its card, as it was saved or by the names of its files; all by default.

    Raises:
        MissingError: there is nothing there, or no data file in the folder.
        DataError: a file that is cut off or damaged; or a configuration or split that is not there.
    """
    if not path.exists():
        raise MissingError("there is no such file or folder", where=str(path), hint="Check the path")
    if is_saved(path):
        yield from _saved_rows(path, split)
        return
    for file in data_files(path, config=config, split=split):
        yield from file_rows(file, path)


def is_saved(path: Path) -> bool:
    """Return whether the `datasets` library saved this folder with `save_to_disk`."""
    return any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))


def data_files(path: Path, *, config: str | None = None, split: str | None = None) -> list[Path]:
    """List the files that hold the rows of `path`, in order (see `raw_rows`)."""
    if path.is_file():
        return [path]
    by_split = _files_by_split(path, config)
    if split is not None:
        by_split = {split: _chosen(by_split, split, path)}
    found = sorted(file for files in by_split.values() for file in files)
    if not found and _row_files(path):  # in a folder, or of a split, other than its card names
        raise MissingError("its card names data files that are not there", where=str(path), hint=_GET_ALL)
    if not found:
        endings = _endings(file for files in _files_by_kind(path).values() for file in files)
        what = f"holds no JSONL, JSON, parquet, CSV or text file{f' ({endings})' if endings else ''}"
        raise MissingError(what, where=str(path), hint="Name a file or folder of rows, unpacked where it is an archive")
    return found


def split_names(path: Path, *, config: str | None = None) -> list[str]:
    """List the splits of a folder, in its order; none where it has none."""
    if path.is_dir() and is_saved(path):
        listed = path / "dataset_dict.json"
        return list(_read_meta(listed).get("splits") or []) if listed.is_file() else []
    return [name for name in _files_by_split(path, config) if name] if path.is_dir() else []


def _chosen(by_split: dict[str, list[Path]], split: str, folder: Path) -> list[Path]:
    wanted = split if split in by_split else _SPLITS.get(split, split)
    if wanted not in by_split or not wanted:
        names = [name for name in by_split if name]
        hint = f"Name one of {', '.join(names)}" if names else "Neither a card nor its files' names tell splits apart"
        raise DataError(f"has no split {split!r}", where=str(folder), hint=hint)
    return by_split[wanted]


def _files_by_split(folder: Path, config: str | None) -> dict[str, list[Path]]:
    """List the files of rows by split, as the card or their names tell it; "" for those of none."""
    by_split = _files_of_card(folder, config)
    return _files_by_names(folder) if by_split is None else by_split


def _files_by_names(folder: Path) -> dict[str, list[Path]]:
    by_split: dict[str, list[Path]] = {}
    for file in _row_files(folder):
        name = file.relative_to(folder).as_posix()
        part = _PART.search(name)  # as the Hub writes it, whatever the split is called
        words = [part["split"]] if part else re.split(r"[^a-z]+", name.lower())
        known = next((_SPLITS[word] for word in words if word in _SPLITS), part["split"] if part else "")
        by_split.setdefault(known, []).append(file)
    return by_split


def _row_files(folder: Path) -> list[Path]:
    kinds = _files_by_kind(folder)
    read = min(kinds)
    return kinds[read] if read < len(_ROWS) else []


def _files_by_kind(folder: Path) -> dict[int, list[Path]]:
    """List the files that may be rows by their group in `_ROWS`, behind which stand those of other endings."""
    kinds: dict[int, list[Path]] = {len(_ROWS): []}
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if file.name in _NO_ROWS or any(part.startswith(".") for part in inside.parts) or not file.is_file():
            continue
        name = PACKED.sub("", file.name.lower())
        kind = next((at for at, endings in enumerate(_ROWS) if name.endswith(endings)), len(_ROWS))
        kinds.setdefault(kind, []).append(file)
    return kinds


def passed_over(path: Path) -> str:
    """Return how many files of a folder are not read for their endings: `2 .md, 1 .csv`; nothing where all are."""
    if not path.is_dir() or is_saved(path):
        return ""
    kinds = _files_by_kind(path)
    read = min(kinds)
    return _endings(file for kind, files in kinds.items() if kind != read for file in files)


def _endings(files: Iterable[Path]) -> str:
    """Return how many files there are of each ending, but for those about the others."""
    endings = Counter(file.suffix.lower() for file in files if file.stem.lower() not in _ABOUT)
    named = [f"{n} {ending or 'without an ending'}" for ending, n in endings.most_common()]
    return ", ".join([*named[:_SHOWN_ENDINGS], "..."] if len(named) > _SHOWN_ENDINGS else named)


# Data set cards ------------------------------------------------------------------------------------------------
def _files_of_card(folder: Path, config: str | None) -> dict[str, list[Path]] | None:
    """List the files that a folder's card names, by split; `None` where it has no card or the card names none."""
    card = folder / "README.md"
    configs = _front_matter(card).get("configs") or []
    try:
        return _card_files(configs, config, folder)
    except (KeyError, TypeError, AttributeError, NotImplementedError) as error:
        hint = "Mend its front matter, or name the data file itself"
        raise DataError("what it says of data files can't be read", where=str(card), hint=hint) from error


def _card_files(configs: list[dict[str, Any]], config: str | None, folder: Path) -> dict[str, list[Path]] | None:
    listed = [entry for entry in configs if "data_files" in entry or "data_dir" in entry]
    if not listed:
        return None
    names = [str(entry.get("config_name", "default")) for entry in listed]
    default = next((name for name, entry in zip(names, listed, strict=True) if entry.get("default")), None)
    wanted = config or default or ("default" if "default" in names else names[0] if len(names) == 1 else None)
    if wanted not in names:
        what = f"has no configuration {wanted!r}" if wanted else "has several configurations and no default"
        raise DataError(what, where=str(folder), hint=f"Name one of {', '.join(names)}")
    entry = listed[names.index(wanted)]
    folder = folder / str(entry.get("data_dir") or "").strip("/")
    if (files := entry.get("data_files")) is None:
        return _files_by_names(folder)
    patterns: dict[str, list[str]] = {}
    # A card may give one pattern, a list of them, or a list by split.
    for entry in files if isinstance(files, list) else [files]:
        name, paths = (entry["split"], entry["path"]) if isinstance(entry, dict) else ("train", entry)
        patterns.setdefault(name, []).extend([paths] if isinstance(paths, str) else paths)
    found = {
        str(name): [file for each in paths for file in _matching(folder, each) if file.is_file()]
        for name, paths in patterns.items()
    }
    if not any(found.values()):
        what = f"its card names data files that are not there ({next(iter(patterns.values()), [''])[0]})"
        raise MissingError(what, where=str(folder), hint=_GET_ALL)
    return found


def _matching(folder: Path, pattern: str) -> set[Path]:
    return {file for one in _expand_braces(pattern) for file in folder.glob(one)}


def _expand_braces(pattern: str) -> list[str]:
    """Return the patterns that one with braces stands for (`{a,b}.jsonl`)."""
    found = _BRACES.search(pattern)
    if found is None:
        return [pattern]
    head, tail = pattern[: found.start()], pattern[found.end() :]
    return [one for part in found[1].split(",") for one in _expand_braces(f"{head}{part}{tail}")]


def _front_matter(card: Path) -> dict[str, Any]:
    if not card.is_file():
        return {}
    head, *rest = card.read_text(encoding="utf-8-sig", errors="replace").split("\n---", 1)
    if not rest or not head.startswith("---"):
        return {}
    try:
        found = yaml.safe_load(head.removeprefix("---"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(
            "the front matter is not YAML", where=str(card), hint="Fix it, or name the data file itself"
        ) from error
    return found if isinstance(found, dict) else {}


def _saved_rows(folder: Path, split: str | None) -> Iterator[RawRow]:
    """Read the rows of what the `datasets` library saved with `save_to_disk`."""
    import datasets
    import pyarrow as pa

    try:
        saved = datasets.load_from_disk(str(folder))
        parts = dict(saved) if isinstance(saved, datasets.DatasetDict) else {"train": saved}
        if split is not None and split not in parts:
            hint = f"Name one of {', '.join(map(str, parts))}"
            raise DataError(f"has no split {split!r}", where=str(folder), hint=hint)
        for name, part in parts.items():
            if split in (None, name):
                for number, row in enumerate(part, start=1):
                    yield RawRow(f"{folder}/{name}:{number}", without_nulls(row))
    except MidspecError:
        raise
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        if getattr(error, "errno", None) in {errno.EMFILE, errno.ENFILE}:
            raise
        what = f"the saved data set is cut off or damaged: {one_line(error)}"
        raise DataError(what, where=str(folder), hint="Get or save it again") from error


# Trees of text files --------------------------------------------------------------------------------------------
_OPEN, _CLOSE = "<content>", "</content>"
CUT_OFF = "the reply was cut off before </content>"


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
            metadata["id"] = id_of(source.as_posix(), text)
        else:
            row["reply"] = reply
        yield RawRow(str(file), row, "" if text is not None else CUT_OFF)


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
