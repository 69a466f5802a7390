"""Half-made steps in a store at a URL: the newest whole state of each, from which any machine goes on.

`unfinished/KIND/NAME/` holds files under the hash of their content, and `state-000007.json`, which says what they are.
Files are sent first and their list last, under the next number; then all else there is removed. So the list with the
highest number is whole wherever an upload was cut, and where two machines send at once a number is of one of them.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from midspec.core.artifact import (
    CHECKPOINTS,
    RemoteFolder,
    Start,
    check_name,
    draft_of,
    put_start,
    read_record,
    start_of,
    writable,
)
from midspec.core.errors import DataError, FolderError, MissingError, note
from midspec.core.fingerprint import hash_file
from midspec.core.records import Strict
from midspec.study._step import Saved, Step

UNFINISHED = "unfinished/"
_FILE = re.compile(rf"{UNFINISHED}([^/.][^/]*/[^/.][^/]*)/[^/]+")
_LIST = re.compile(r"state-(\d{6})\.json$")
_MAX_CPU_SHARE = 0.03
_LINK_TRIES = 3


def _inside(name: str) -> str:
    """Refuse a file outside of the folders of a draft: beside them stand its record and its lock."""
    check_name(name, "a saved state")
    place, slash, _ = name.partition("/")
    if not slash or (place.startswith(".") and place != CHECKPOINTS):
        raise ValueError("is not in a folder of a draft")
    return name


class StoredState(Strict):
    """A state in the store: of which identity, in which attempt, how far it is, and the hashes of its files by name."""

    fingerprint: str
    n_attempts: int
    at: int
    files: dict[Annotated[str, AfterValidator(_inside)], Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]


class RemoteStates:
    """The states of a run's half-made steps in its store.

    Args:
        store: of the run.
        run: the working folder.
        confirm: raises where the store is no longer this run's.
    """

    def __init__(self, store: RemoteFolder, run: Path, confirm: Callable[[], None]) -> None:
        self._store, self._run, self._confirm = store, run, confirm
        self._apart = run.with_name("states")
        self._stored: set[str] = set()
        self._sent: dict[str, Saved] = {}
        self._hashes: dict[str, set[str]] = {}
        self._begun: dict[str, Step] = {}
        self._due_at: dict[str, float] = {}
        self._quiet_until = 0.0

    def look(self, names: Iterable[str]) -> None:
        """Take in which steps have a state in the store, from the names of all its files."""
        shutil.rmtree(self._apart, ignore_errors=True)
        self._stored = {found[1] for found in map(_FILE.fullmatch, names) if found}

    def tidy(self) -> None:
        """Remove from the store the states of steps that are finished there."""
        for key in sorted(self._stored):
            if (record := read_record(self._run / "steps" / key)) is not None:
                newest = next(self._states(key), None)
                if newest is None or newest.fingerprint == record.fingerprint:
                    self._remove(key)

    @property
    def begun(self) -> tuple[Step, ...]:
        """Return the steps that were begun and are not finished."""
        return tuple(self._begun.values())

    def follow(self, kind: str, step: Step) -> bool:
        """Take in an event of a resumable step; return whether its state should be sent now."""
        if kind == "start":
            self._begun[step.name], self._due_at[step.name] = step, 0.0
        elif kind == "done":
            self._begun.pop(step.name, None)
        elif kind == "progress" and time.monotonic() >= max(self._due_at[step.name], self._quiet_until):
            state = step.saved(draft_of(step.folder(self._run)))
            if state is not None and state != self._sent.get(step.name):
                self._due_at[step.name] = math.inf  # Until it is sent.
                return True
        return False

    def send(self, step: Step, every_s: float) -> None:
        """Send the newest whole state of a step, unless it is in the store, and remove what it replaces.

        The next one is due after `every_s` seconds, and later where sending takes more than 3% of the machine's time.

        Raises:
            InUseError: another run has taken the store.
            UnreachableError, FolderError: it does not answer, or refuses.
        """
        began, cpu_s = time.monotonic(), time.process_time()
        try:
            with self._linked(step) as held:
                if held is not None:
                    self._send(step, *held)
        finally:
            share = _MAX_CPU_SHARE * (os.cpu_count() or 1)
            self._quiet_until = time.monotonic() + (time.process_time() - cpu_s) / share
            self._due_at[step.name] = began + every_s

    def _send(self, step: Step, start: Start, state: Saved, files: dict[str, Path]) -> None:
        key = self._key(step)
        place = f"{UNFINISHED}{key}"
        hashes = {name: hash_file(path) for name, path in files.items()}
        self._confirm()
        before = self._store.list(place)
        self._stored.add(key)
        wanted = {hashes[name]: path for name, path in files.items()}
        for sha256, path in wanted.items():
            if step.name not in self._begun:
                return
            # What this process did not send or fetch itself may be cut.
            if sha256 not in self._hashes.get(key, set()) or f"{place}/{sha256}" not in before:
                self._store.put({f"{place}/{sha256}": path})
        self._confirm()
        number = max((int(found[1]) for found in map(_LIST.search, before) if found), default=0) + 1
        listed = f"{place}/state-{number:06}.json"
        stored = StoredState(fingerprint=start.fingerprint, n_attempts=start.n_attempts, at=state.at, files=hashes)
        data = stored.model_dump_json(indent=2).encode()
        if not self._store.create(listed, data) and self._store.read(listed) != data:
            return  # Another machine was quicker. Nothing is removed: what it sent may have the same names.
        self._sent[step.name], self._hashes[key] = state, set(wanted)
        self._store.remove([name for name in before if name.rpartition("/")[2] not in wanted])

    @contextmanager
    def _linked(self, step: Step) -> Iterator[tuple[Start, Saved, dict[str, Path]] | None]:
        """Hold the files of a step's newest state by links, as training removes them when it has a newer one.

        It gives `None` where there is nothing new to send.
        """
        folder = step.folder(self._run)
        draft, apart = draft_of(folder), self._apart / self._key(step)
        held = None
        try:
            for _ in range(_LINK_TRIES):
                shutil.rmtree(apart, ignore_errors=True)
                start, state = start_of(folder), step.saved(draft)
                if start is None or state is None or state == self._sent.get(step.name):
                    break
                with suppress(FileNotFoundError):
                    files = self._hold(draft, apart, state)
                    # A state is removed after a newer one is whole, or after the mark of the start.
                    if step.saved(draft) == state and start_of(folder) == start:
                        held = start, state, files
                        break
            yield held
        finally:
            shutil.rmtree(apart, ignore_errors=True)

    def _hold(self, draft: Path, apart: Path, state: Saved) -> dict[str, Path]:
        n_bytes = sum((draft / name).stat().st_size for name in state.files)
        # While it is sent two newer ones may be written, of which one may be whole.
        if shutil.disk_usage(draft).free < 2 * n_bytes:
            what = f"the disk has no room to hold a half-made step ({n_bytes / 1e6:,.0f} MB) while it is sent"
            raise FolderError(what, where=str(draft), hint="Free space")
        for name in state.files:
            _link(draft / name, apart / name)
        return {name: apart / name for name in state.files}

    def fetch(self, step: Step, mark: str) -> None:
        """Bring a step's state here, unless what was begun here is as far; one that is damaged is passed over.

        Args:
            step: that is made next.
            mark: the fingerprint of its identity.

        Raises:
            UnreachableError, FolderError: the store does not answer, or refuses; the folder here can't be written.
            InUseError: another process is making the step.
        """
        key, folder = self._key(step), step.folder(self._run)
        if key not in self._stored:
            return
        mine = step.saved(draft_of(folder)) if (start := start_of(folder)) and start.fingerprint == mark else None
        for stored in self._states(key):
            if stored.fingerprint != mark or (mine is not None and mine.at >= stored.at):
                continue
            where = self._store.url(f"{UNFINISHED}{key}")
            try:
                files = self._download(key, stored)
                put_start(folder, Start(mark, stored.n_attempts), files)
            except (DataError, MissingError) as error:
                note(f"its half-made state {error.what}, so it is not gone on from", where)
                continue
            finally:
                shutil.rmtree(self._apart / key, ignore_errors=True)
            note(f"goes on from {stored.at}, which another machine has reached", where)
            self._sent[step.name] = Saved(stored.at, tuple(stored.files))
            self._hashes[key] = set(stored.files.values())
            return

    def _download(self, key: str, stored: StoredState) -> dict[str, Path]:
        apart = self._apart / key
        with writable(self._run):
            paths = {sha256: apart / sha256 for sha256 in stored.files.values()}
            self._store.get({f"{UNFINISHED}{key}/{sha256}": path for sha256, path in paths.items()})
            for sha256, path in paths.items():
                if hash_file(path) != sha256:
                    raise DataError(
                        "is damaged", where=self._store.url(f"{UNFINISHED}{key}/{sha256}"), hint="Remove it"
                    )
        files = {name: apart / "files" / name for name in stored.files}
        for name, sha256 in stored.files.items():
            _link(paths[sha256], files[name])  # Two files may have one content.
        return files

    def _states(self, key: str) -> Iterator[StoredState]:
        """Yield the states of a step that can be read, the newest first."""
        names = self._store.list(f"{UNFINISHED}{key}")
        for name in sorted(filter(_LIST.search, names), reverse=True):
            with suppress(ValidationError, DataError):
                yield StoredState.model_validate_json(self._store.read(name) or b"")

    def remove(self, step: Step) -> None:
        """Remove the state of a step that is finished in the store."""
        self._remove(self._key(step))

    def _remove(self, key: str) -> None:
        if key in self._stored:
            names = self._store.list(f"{UNFINISHED}{key}")
            # The lists first: without its files a list is of no use.
            self._store.remove(sorted(names, key=lambda name: _LIST.search(name) is None))
            self._stored.discard(key)

    def _key(self, step: Step) -> str:
        return step.folder(self._run).relative_to(self._run / "steps").as_posix()


def _link(source: Path, place: Path) -> None:
    """Give a file a second name, or copy it where the file system has no links."""
    with writable(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, place)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copyfile(source, place)
