"""Where the rows of a mix come from: a local file or folder, or a data set on the hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from midspec.errors import MidspecError, MissingError
from midspec.exchange._mix_config import MixPart
from midspec.exchange._raw import Raw, data_files, is_saved, raw_rows
from midspec.exchange._read import refuse_twins
from midspec.exchange._tree import is_tree, tree_rows
from midspec.fingerprint import hash_file

__all__ = ["Origin", "open_source"]

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"@([0-9a-f]{40})(?:/|$)")


class Origin(NamedTuple):
    """An opened source: its rows, and what identifies them: a commit of the hub, or hashes of local files."""

    rows: Iterable[Raw]
    revision: str | None
    sha256: dict[str, str]


def open_source(part: MixPart, base: Path) -> Origin:
    """Open a part's source; a name that is a file or folder below `base` is local, any other `owner/name` the hub's.

    Raises:
        MissingError: there is no such file, and no such data set can be had.
        DataError: a folder without the split or configuration asked for.
    """
    path = base / part.source
    if path.exists():
        return _local(part, path)
    if not _HUB_NAME.fullmatch(part.source):
        raise MissingError(
            "there is no such file or folder", where=f"{part.name}: {part.source}", mend="Check the source of that part"
        )
    return _hub(part)


def _local(part: MixPart, path: Path) -> Origin:
    if part.file is not None:
        path = path / part.file
    if is_tree(path):
        texts = sorted(path.rglob("*.txt"))
        return Origin(tree_rows(path), None, {text.relative_to(path).as_posix(): hash_file(text) for text in texts})
    ours = path / f"{part.kind}.jsonl"
    start = ours if ours.is_file() else path
    if not ours.is_file():
        refuse_twins(path)
    names = [] if is_saved(start) else data_files(start, config=part.config, split=part.split)
    hashes = {name.name if name == start else name.relative_to(start).as_posix(): hash_file(name) for name in names}
    return Origin(raw_rows(start, config=part.config, split=part.split), None, hashes)


def _hub(part: MixPart) -> Origin:
    try:
        return _hub_file(part, part.file) if part.file is not None else _hub_rows(part)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, MidspecError):
            raise
        # No such data set, one that asks for a login or for a script, no network, an unknown split or configuration.
        said = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        mend = "Check name, split and configuration, log in where it asks for it, or name a local file instead"
        raise MissingError(
            f"can't be had from the hub: {said}", where=f"{part.name}: {part.source}", mend=mend
        ) from error


def _hub_rows(part: MixPart) -> Origin:
    import datasets

    builder = datasets.load_dataset_builder(part.source, part.config, revision=part.revision)
    builder.download_and_prepare(verification_mode="no_checks")
    found = builder.as_dataset(split=part.split or "train")
    # The address that a data set's files were read at ends with their commit, whatever branch or tag was asked for;
    # read from the cache, without a network, their folder is called by it.
    commit = _COMMIT.search(f"{builder.base_path} @{builder.hash}")
    return Origin(_numbered(part.source, found), commit[1] if commit else part.revision, {})


def _hub_file(part: MixPart, file: str) -> Origin:
    from huggingface_hub import hf_hub_download

    path = Path(hf_hub_download(part.source, file, repo_type="dataset", revision=part.revision))
    # The library keeps each commit's files in a folder that is called by it.
    commit = next((name for name in path.parts if _COMMIT.fullmatch(f"@{name}")), part.revision)
    return Origin(raw_rows(path), commit, {file: hash_file(path)})


def _numbered(name: str, rows: Iterable[dict[str, Any]]) -> Iterator[Raw]:
    for number, row in enumerate(rows, start=1):
        yield Raw(f"{name}:{number}", row)
