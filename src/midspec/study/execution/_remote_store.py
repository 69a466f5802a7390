"""What a store at a URL holds of a run: finished steps with their records, and the replies of language models.

The layout is that of a run folder. Beside each record stands `.stored.json` with the size and hash of every file of the
step, also of those that are no part of its result (Inspect's logs). A record is written last and removed first, so that
where there is one the step is whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import TypeAdapter, ValidationError

from midspec.core.artifact import RECORD, RemoteFolder, check_name, writable, write_text
from midspec.core.errors import DataError, MissingError, note
from midspec.core.fingerprint import fingerprint, hash_file
from midspec.core.records import Record, Strict
from midspec.llm import copy_store, store_state
from midspec.study._step import REPLIES_FILE

_MANIFEST, _POINTER, _ADAPTER = ".stored.json", "calls.json", "adapter_config.json"
_BASE = "base_model_name_or_path"
# A folder that begins with a dot is a draft, which holds its record for a moment before it is moved.
_RECORD_OF_STEP = re.compile(rf"((?:steps/[^/.][^/]*(?:/[^/.][^/]*)?)|report)/{re.escape(RECORD)}")
_WEIGHTS = (".safetensors", ".bin", ".gguf")


class StoredFile(Strict):
    """Size and hash of a file in the store; no hash where a file was put there by other means."""

    n_bytes: int
    sha256: str | None


_FILES = TypeAdapter(dict[str, StoredFile])


class RemoteSteps:
    """The finished steps of a run in its store, and those in a working folder of this machine.

    A folder here may hold the record alone, which is enough for a plan; its files are fetched when a step needs them.

    Args:
        store: of the run.
        run: the working folder.
    """

    def __init__(self, store: RemoteFolder, run: Path) -> None:
        self._store, self._run = store, run
        self._sizes: dict[str, int] = {}
        self._fetched: set[tuple[str, bool]] = set()
        self.digests: dict[str, str] = {}

    def look(self) -> frozenset[str]:
        """Look through the store; return the names of all its files."""
        self._sizes = self._store.list()
        return frozenset(self._sizes)

    def pull(self, unsent: dict[str, str | None]) -> list[Path]:
        """Bring the records here up to the store's; return the folders whose steps are here and not in the store.

        The store was looked through before.
        Where both have a step with other content the store's counts: what others made from it is in the store too.

        Args:
            unsent: steps that were made here and not sent before the run ended, with the digest of what they replace.
        """
        with writable(self._run):
            stored = self._records()
            for name, (text, record) in stored.items():
                place = self._run / name
                mine = _record_at(place)
                self.digests[name] = record.digest
                if mine is not None and mine.digest != record.digest:
                    if unsent.get(name) == record.digest:
                        continue
                    shutil.rmtree(place)
                if mine is None or mine.digest != record.digest or mine.execution != record.execution:
                    place.mkdir(parents=True, exist_ok=True)
                    write_text(place / RECORD, text)
            left = []
            for path in [*self._run.glob(f"steps/**/{RECORD}"), *self._run.glob(f"report/{RECORD}")]:
                name, mine = path.parent.relative_to(self._run).as_posix(), _record_at(path.parent)
                if not _RECORD_OF_STEP.fullmatch(f"{name}/{RECORD}") or (
                    mine and mine.digest == self.digests.get(name)
                ):
                    continue
                if mine is None or not all((path.parent / file).is_file() for file in mine.outputs):
                    shutil.rmtree(path.parent)  # Its files were never fetched, and its record has left the store.
                else:
                    left.append((mine.execution.finished_at, path.parent))
        return [place for _, place in sorted(left)]

    def _records(self) -> dict[str, tuple[str, Record]]:
        found = self._store.read_all([name for name in self._sizes if _RECORD_OF_STEP.fullmatch(name)])
        records = {}
        for name, data in found.items():
            try:
                record = Record.model_validate_json(data)
            except ValidationError:
                record = None
            if record is None or record.digest != fingerprint(record.outputs):
                note("the record is damaged, so its step counts as not done", self._store.url(name))
                continue
            for file in record.outputs:
                check_name(file, self._store.url(name))
            records[name.removesuffix(f"/{RECORD}")] = (data.decode(), record)
        return records

    def fetch(self, place: Path, *, weights: bool = True) -> None:
        """Bring the files of a finished step here, unless they are, and those of the checkpoint that it adapts.

        Args:
            place: the step's folder.
            weights: also the files of a model's weights.

        Raises:
            DataError: a file is missing in the store, or not what was stored; it is not put in place.
        """
        if not place.is_relative_to(self._run):
            return  # Of another run, whose equal result is taken over.
        name, record = place.relative_to(self._run).as_posix(), _record_at(place)
        if record is None or name not in self.digests or (name, weights) in self._fetched:
            return
        # A folder with all outputs has all the rest. Of a step made anew here the store may still hold an older one.
        is_whole = all((place / file).is_file() for file in record.outputs)
        there = {} if is_whole else self._manifest(name, record)
        wanted = {
            file: stored
            for file, stored in there.items()
            if not (place / file).is_file() and (weights or not file.endswith(_WEIGHTS))
        }
        draft = place.with_name(f".{place.name}.fetched")
        try:
            with writable(self._run):
                self._download(name, wanted, draft)
                # The outputs last.
                for file in sorted(wanted, key=lambda file: file in record.outputs):
                    (place / file).parent.mkdir(parents=True, exist_ok=True)
                    (draft / file).replace(place / file)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        self._fetched.add((name, weights))
        if weights and (place / _ADAPTER).is_file():
            base = (place / str(_adapter(place).get(_BASE, ""))).resolve()
            if base.is_relative_to(self._run.resolve()) and base != place.resolve():
                self.fetch(self._run / base.relative_to(self._run.resolve()))

    def _download(self, name: str, wanted: dict[str, StoredFile], draft: Path) -> None:
        hint = f"Remove {self._store.url(name)} there and run again: that step is made anew"
        if missing := [file for file in wanted if f"{name}/{file}" not in self._sizes]:
            raise DataError("is missing in the store", where=self._store.url(f"{name}/{missing[0]}"), hint=hint)
        self._store.get({f"{name}/{file}": draft / file for file in wanted})
        for file, stored in wanted.items():
            where, n_bytes = self._store.url(f"{name}/{file}"), (draft / file).stat().st_size
            if n_bytes != stored.n_bytes:
                raise DataError(f"is damaged: {n_bytes:,} bytes of {stored.n_bytes:,}", where=where, hint=hint)
            if stored.sha256 is not None and hash_file(draft / file) != stored.sha256:
                raise DataError("is damaged: its content is not what was stored", where=where, hint=hint)

    def _manifest(self, name: str, record: Record) -> dict[str, StoredFile]:
        """Return all files of a stored step; where they were copied there by hand, as the store lists them."""
        sizes = {
            file.removeprefix(f"{name}/"): n_bytes
            for file, n_bytes in self._sizes.items()
            if file.startswith(f"{name}/") and file.rpartition("/")[2] not in {RECORD, _MANIFEST}
        }
        files = {file: StoredFile(n_bytes=n_bytes, sha256=None) for file, n_bytes in sizes.items()}
        if (data := self._store.read(f"{name}/{_MANIFEST}")) is not None:
            try:
                files = _FILES.validate_json(data)
            except ValidationError as error:
                where, hint = self._store.url(f"{name}/{_MANIFEST}"), "Remove it there and run again"
                raise DataError("is damaged", where=where, hint=hint) from error
        for file, sha256 in record.outputs.items():
            n_bytes = files[file].n_bytes if file in files else 0
            files[file] = StoredFile(n_bytes=n_bytes, sha256=sha256)
        for file in files:
            check_name(file, self._store.url(name))
        return files

    def push(self, place: Path) -> None:
        """Upload a finished step: first what it is made of, and its record last.

        Raises:
            DataError: its record can't be read.
        """
        name, record = place.relative_to(self._run).as_posix(), _record_at(place)
        if record is None:
            return
        here = {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*")) if path.is_file()}
        hidden = {file for file, path in here.items() if path.name.startswith(".") and file not in record.outputs}
        files = {file: path for file, path in here.items() if file not in hidden | {RECORD}}
        if not record.outputs.keys() <= files.keys():
            return  # A record alone, which came from the store.
        before = {file for file in self._sizes if file.startswith(f"{name}/")}
        self._store.remove([f"{name}/{RECORD}"] if f"{name}/{RECORD}" in before else [])
        with TemporaryDirectory(prefix="midspec-") as apart:
            if _ADAPTER in files and _ADAPTER not in record.outputs:
                files[_ADAPTER] = self._portable(place, Path(apart) / _ADAPTER)
            stored = {
                file: StoredFile(n_bytes=path.stat().st_size, sha256=record.outputs.get(file) or hash_file(path))
                for file, path in files.items()
            }
            self._store.put({f"{name}/{file}": path for file, path in files.items()})
        self._store.write(f"{name}/{_MANIFEST}", _FILES.dump_json(stored, indent=2))
        self._store.write(f"{name}/{RECORD}", (place / RECORD).read_bytes())
        now = {f"{name}/{file}": each.n_bytes for file, each in stored.items()} | {f"{name}/{RECORD}": 0}
        self._store.remove(sorted(before - now.keys() - {f"{name}/{_MANIFEST}"}))
        self._sizes = {file: n for file, n in self._sizes.items() if file not in before} | now
        self.digests[name] = record.digest
        self._fetched |= {(name, True), (name, False)}

    def _portable(self, place: Path, copy: Path) -> Path:
        """Write an adapter's configuration that names a base of the same run by a path from its own folder."""
        config = _adapter(place)
        base = Path(str(config.get(_BASE, "")))
        if base.is_absolute() and base.is_relative_to(self._run.resolve()):
            config[_BASE] = os.path.relpath(base, place.resolve())
        copy.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
        return copy


def _record_at(place: Path) -> Record | None:
    """Return the record in a folder; `None` where there is none that can be read."""
    try:
        return Record.model_validate_json((place / RECORD).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None


def _adapter(place: Path) -> dict[str, object]:
    config = json.loads((place / _ADAPTER).read_text(encoding="utf-8"))
    assert isinstance(config, dict)
    return config


class Pointer(Strict):
    """Which copy of the replies is the newest in the store, its hash, and how many replies it has."""

    file: str
    sha256: str
    state: tuple[int, ...]


class RemoteReplies:
    """Copies of a run's replies of language models in its store: a new file each time, and then a pointer to it.

    Args:
        store: of the run.
        path: the file of replies here.
    """

    def __init__(self, store: RemoteFolder, path: Path) -> None:
        self._store, self._path = store, path
        self._sent: tuple[int, ...] | None = None

    def pull(self, known: str, state: tuple[int, ...]) -> Pointer | None:
        """Bring the store's replies here, unless those here are these, or these and more; return which they are.

        Args:
            known: hash of the copy that was sent or fetched last from this machine; empty where none was.
            state: of the file here at that time.

        Raises:
            DataError: the copy is not what was stored.
        """
        pointer = self._pointer()
        if pointer is None:
            if not self._path.is_file():
                with suppress(MissingError):  # A run folder that was copied by hand has the file itself.
                    self._take(REPLIES_FILE, "", state)
            self._sent = ()
            return None
        if pointer.sha256 != known or not self._path.is_file():
            check_name(pointer.file, self._store.shown)
            self._take(pointer.file, pointer.sha256, state)
        self._sent = pointer.state
        return pointer

    def _take(self, name: str, sha256: str, state: tuple[int, ...]) -> None:
        """Put a copy of the store in place; what is only in the file here is kept beside it."""
        draft = self._path.with_name(f".{self._path.name}.fetched")
        with writable(self._path.parent):
            try:
                self._store.get({name: draft})
                if sha256 and hash_file(draft) != sha256:
                    hint = f"Remove {self._store.url(_POINTER)} there: replies that are not here are asked for again"
                    raise DataError("is damaged", where=self._store.url(name), hint=hint)
                if self._path.is_file() and store_state(self._path) != state:
                    aside = self._path.with_name(f"{self._path.stem}-before-{sha256[:8]}.sqlite")
                    copy_store(self._path, aside)
                    note(f"holds replies that are not in the store; they are kept in {aside.name}", str(self._path))
                for end in ("-wal", "-shm"):
                    self._path.with_name(f"{self._path.name}{end}").unlink(missing_ok=True)
                draft.chmod(0o600)
                draft.replace(self._path)
            finally:
                draft.unlink(missing_ok=True)

    def push(self) -> Pointer | None:
        """Upload a copy of the replies if there are new ones; return where it is, or `None`.

        Nothing is sent before the store's own were looked at: they may be more.
        """
        if self._sent is None or not self._path.is_file() or store_state(self._path) == self._sent:
            return None
        before = self._pointer()
        with TemporaryDirectory(prefix="midspec-") as apart:
            copy = Path(apart) / REPLIES_FILE
            copy_store(self._path, copy)
            state, sha256 = store_state(copy), hash_file(copy)
            pointer = Pointer(file=f"calls/{sha256[:16]}.sqlite", sha256=sha256, state=state)
            self._store.put({pointer.file: copy})
        self._store.write(_POINTER, pointer.model_dump_json(indent=2).encode())
        if before is not None and before.file != pointer.file:
            self._store.remove([before.file])
        self._sent = state
        return pointer

    def _pointer(self) -> Pointer | None:
        if (data := self._store.read(_POINTER)) is None:
            return None
        try:
            return Pointer.model_validate_json(data)
        except ValidationError as error:
            hint = "Remove it there: replies that are not here are asked for again"
            raise DataError("is damaged", where=self._store.url(_POINTER), hint=hint) from error
