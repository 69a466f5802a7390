"""Rows in from elsewhere, out to elsewhere, and mixed: each a step, identified by the content of its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from midspec.core import artifact
from midspec.core.artifact import Built
from midspec.core.errors import MissingError
from midspec.core.fingerprint import hash_file
from midspec.core.records import Identity, Record

if TYPE_CHECKING:
    from midspec.exchange import ChatRows, Form, MixConfig


def export_rows(
    rows: Path,
    form: Form,
    out: Path,
    *,
    strict: bool = False,
    chat_rows: ChatRows = "messages",
    license_id: str | None = None,
    redo: bool = False,
) -> tuple[Record, bool]:
    """A result folder in a form that others read; gives the record, and whether it was made now.

    Raises:
        MissingError, DataError: there are no rows, or rows of another form.
        StaleError: `out` holds the export of other rows.
    """
    from midspec.exchange import export

    def make(folder: Path) -> Built:
        return export(rows, form, folder, strict=strict, chat_rows=chat_rows, license_id=license_id, title=rows.name)

    settings: dict[str, JsonValue] = {"form": form, "strict": strict, "chat_rows": chat_rows, "license": license_id}
    return _build("export", rows, out, settings, make, redo=redo)


def import_rows(rows: Path, out: Path, *, strip_prefix: str = "", redo: bool = False) -> tuple[Record, bool]:
    """What the field has as our rows; gives the record, and whether it was made now.

    Raises:
        MissingError, DataError: there are no rows, or a row that is neither a document nor a chat.
    """
    from midspec.exchange import import_folder

    def make(folder: Path) -> Built:
        return import_folder(rows, folder, strip_prefix=strip_prefix)

    return _build("import", rows, out, {"strip_prefix": strip_prefix}, make, redo=redo)


def mix_rows(config: MixConfig, out: Path, *, base: Path, redo: bool = False) -> tuple[Record, bool]:
    """A mix of local files and hub data sets; gives the record, and whether it was made now.

    Raises:
        MissingError, ConfigError, DataError: a source that can't be had, or holds no rows.
    """
    from midspec.exchange import build_mix

    return _mixed("mix", config, out, {}, base, lambda folder: build_mix(config, folder, base=base), redo=redo)


def neutral_rows(
    config: MixConfig, match_tokens: int, out: Path, *, base: Path, redo: bool = False
) -> tuple[Record, bool]:
    """A corpus without values, of as many tokens as another; gives the record, and whether it was made now.

    Raises:
        MissingError, ConfigError, DataError: as `mix_rows`; or the sources hold too little.
    """
    from midspec.exchange import build_neutral

    def make(folder: Path) -> Built:
        return build_neutral(config, match_tokens, folder, base=base)

    return _mixed("neutral", config, out, {"match_tokens": match_tokens}, base, make, redo=redo)


def _mixed(
    step: str,
    config: MixConfig,
    out: Path,
    more: dict[str, JsonValue],
    base: Path,
    make: Callable[[Path], Built],
    *,
    redo: bool,
) -> tuple[Record, bool]:
    inputs: dict[str, str] = {}
    for part in config.parts:
        place = base / Path(part.source).expanduser()
        inputs |= _hashes(place, part.name) if place.exists() else {part.name: f"name:{part.source}"}
    identity = Identity(step=f"{step}@1", inputs=inputs, config={"mix": config.model_dump(mode="json"), **more})
    return artifact.build(out, identity, make, redo=redo)


def _build(
    step: str,
    rows: Path,
    out: Path,
    settings: dict[str, JsonValue],
    make: Callable[[Path], Built],
    *,
    redo: bool,
) -> tuple[Record, bool]:
    identity = Identity(step=f"{step}@1", inputs=_hashes(rows, "rows"), config=settings)
    return artifact.build(out, identity, make, redo=redo)


def _hashes(path: Path, role: str) -> dict[str, str]:
    """The content of a file, or of every file of a folder but its record, which tells of the run too."""
    if path.is_file():
        return {role: hash_file(path)}
    if not path.is_dir():
        raise MissingError("there is no such file or folder", where=str(path), hint="Check the path")
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    return {f"{role}/{file.relative_to(path)}": hash_file(file) for file in files if file.name != artifact.RECORD}
