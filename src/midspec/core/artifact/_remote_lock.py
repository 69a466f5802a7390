"""One writer for a folder at a URL: a lock file that tells whose it is, and a heartbeat that says that he lives.

A store can't tell that a process has died, so its lock outlives it. It is taken over at once by the next run from the
same place (a folder of one machine, which that machine holds for one process at a time), and by another place after it
has not changed for a while. Clocks of two machines may differ: the time in a lock decides only whether to watch it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import ValidationError

from midspec.core.artifact._remote import RemoteFolder
from midspec.core.errors import InUseError, MidspecError, note
from midspec.core.records import Strict

REMOTE_LOCK = "lock.json"
_TRIES = 5


class LockTiming(NamedTuple):
    """How often a lock is renewed, and how long it must stand still before another may take it.

    Attributes:
        beat_s: between two renewals.
        stale_s: after the last renewal, by its own clock, another place may begin to watch.
        watch_s: how long it must not change while it is watched; several beats.
        settle_s: between the taking over of a lock and the look whether another took it too, where a store has no
            conditional requests.
    """

    beat_s: float = 20.0
    stale_s: float = 90.0
    watch_s: float = 70.0
    settle_s: float = 2.0


DEFAULT_TIMING = LockTiming()


class Holder(Strict):
    """Who holds a lock: this process, its place (a folder of its machine), since when, and its last sign of life."""

    owner: str
    place: str
    host: str
    pid: int
    since: str
    beat_at: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    def to_json(self) -> bytes:
        """Return what stands in the lock file."""
        return self.model_dump_json().encode()


class RemoteLock:
    """The lock of a folder at a URL, held by one process.

    Args:
        folder: to hold.
        place: an id of the folder of this machine from which it is written.
        timing: of the heartbeat.
    """

    def __init__(self, folder: RemoteFolder, place: str, timing: LockTiming = DEFAULT_TIMING) -> None:
        self._folder, self._timing = folder, timing
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._holder = Holder(
            owner=uuid.uuid4().hex,
            place=place,
            host=socket.gethostname(),
            pid=os.getpid(),
            since=now,
            beat_at=time.time(),
        )
        self._written = self._holder.to_json()
        self._lost_to = ""
        self._is_over, self._beating = threading.Event(), threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock, and renew it from a thread.

        Raises:
            InUseError: another process holds it; says which.
        """
        self._acquire()
        thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()
            # A store that does not answer any more keeps the lock; it grows stale, and this place may take it at once.
            with suppress(MidspecError):
                if self._is_ours(self._folder.read(REMOTE_LOCK)):
                    self._folder.remove([REMOTE_LOCK])

    def check(self) -> None:
        """Raise if another process has taken the lock; costs nothing.

        Raises:
            InUseError: see above.
        """
        if self._lost_to:
            hint = "Run the same command again when it has ended: what is done is kept"
            raise InUseError(f"another run took it over ({self._lost_to})", where=self._folder.shown, hint=hint)

    def confirm(self) -> None:
        """Raise if the lock is not ours any more, by a look at the store.

        Raises:
            InUseError: see above.
        """
        with self._beating:  # On a file system the file is empty for a moment while it is renewed.
            self._look(self._folder.read(REMOTE_LOCK))
        self.check()

    def _acquire(self) -> None:
        holder = None
        for _ in range(_TRIES):
            if self._folder.create(REMOTE_LOCK, self._written):
                self._warn_if_not_exclusive()
                return
            there = self._folder.read(REMOTE_LOCK)
            if there is None:
                continue  # It was given back between the two requests.
            if self._is_ours(there):
                return  # Our request was sent twice, and the first one had come through.
            holder = _read(there)
            # Of one place and machine only one process is here at a time, so that the holder is dead.
            mine = self._holder
            is_own_place = holder is not None and (holder.place, holder.host) == (mine.place, mine.host)
            if not is_own_place and not self._is_stale(there, holder):
                break
            if self._take_over(there):
                return
        raise InUseError(
            f"another run is writing it ({holder or 'which has just begun'})",
            where=self._folder.shown,
            hint="Wait for it to end, or choose another --out",
        )

    def _is_stale(self, there: bytes, holder: Holder | None) -> bool:
        """Return whether a lock stands still: by its own time first, and then by watching it."""
        age_s = time.time() - holder.beat_at if holder else None
        if age_s is not None and abs(age_s) < self._timing.stale_s:
            return False
        watch_s = self._timing.watch_s
        note(
            f"its lock looks abandoned ({holder or 'unreadable'}); watching it for {watch_s:.0f} s", self._folder.shown
        )
        deadline = time.monotonic() + watch_s
        while time.monotonic() < deadline:
            time.sleep(min(5.0, watch_s / 5))
            if self._folder.read(REMOTE_LOCK) != there:
                return False
        return True

    def _take_over(self, there: bytes) -> bool:
        if not self._folder.replace(REMOTE_LOCK, self._written, expected=there):
            return False
        if not self._folder.is_conditional:
            time.sleep(self._timing.settle_s)
        return self._is_ours(self._folder.read(REMOTE_LOCK))

    def _warn_if_not_exclusive(self) -> None:
        """Say so where a store lets a second writer create the same file."""
        if self._folder.create(REMOTE_LOCK, self._written):
            what = "the store takes no notice of conditional writes, so of two runs begun at once both may go on"
            note(what, self._folder.shown)

    def _beat(self) -> None:
        while not self._is_over.wait(self._timing.beat_s):
            # Only another owner ends a run: a store may be away for a while.
            with self._beating, suppress(MidspecError):
                fresh = self._holder.model_copy(update={"beat_at": time.time()}).to_json()
                if self._folder.replace(REMOTE_LOCK, fresh, expected=self._written):
                    self._written = fresh
                else:
                    self._look(self._folder.read(REMOTE_LOCK))

    def _look(self, there: bytes | None) -> None:
        if there is None:
            self._lost_to = "its lock was removed"
        elif not self._is_ours(there):
            self._lost_to = str(_read(there) or "its lock can't be read")
        else:
            self._written = there  # A renewal whose reply was lost.

    def _is_ours(self, there: bytes | None) -> bool:
        holder = _read(there) if there is not None else None
        return holder is not None and holder.owner == self._holder.owner


def _read(there: bytes) -> Holder | None:
    try:
        return Holder.model_validate_json(there)
    except ValidationError:
        return None
