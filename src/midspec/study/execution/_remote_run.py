"""A run at a URL: made in a working folder of this machine like any run, and copied to its store step by step.

What is done anywhere is not done again: records are brought here first, files when a step needs them. A finished step
is uploaded from a thread while others are made. One run at a time writes a store; its lock says which.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Self

from pydantic import BaseModel, ValidationError

from midspec.core.artifact import (
    DEFAULT_TIMING,
    REMOTE_LOCK,
    LockTiming,
    RemoteFolder,
    RemoteLock,
    is_url,
    locked,
    writable,
    write_json,
    write_text,
)
from midspec.core.errors import (
    DataError,
    FolderError,
    InUseError,
    MidspecError,
    MissingError,
    StaleError,
    UnreachableError,
    note,
)
from midspec.core.fingerprint import fingerprint, hash_text
from midspec.models import cache_folder
from midspec.study._step import REPLIES_FILE, RUN_FILE, STUDY_FILE, Step
from midspec.study.execution._executor import Event, Listener, StepTask
from midspec.study.execution._remote_states import UNFINISHED, RemoteStates
from midspec.study.execution._remote_store import Pointer, RemoteReplies, RemoteSteps

_LONGEST_PAUSE_S = 60.0
_NOT_OF_STEPS = frozenset({REMOTE_LOCK, STUDY_FILE})


class RemoteTiming(NamedTuple):
    """How often a run at a URL writes to its store.

    Attributes:
        replies_every_s: between two copies of the replies of language models while a step runs.
        patience_s: how long to try again while the store can't be reached.
        lock: of the heartbeat.
    """

    replies_every_s: float = 300.0
    patience_s: float = 600.0
    lock: LockTiming = DEFAULT_TIMING


_TIMING = RemoteTiming()


class _Place(BaseModel):
    """What this machine knows of a run at a URL; it stands beside the working folder.

    `unsent` are steps that were made here and have not reached the store, with the digest of what they replace there.
    """

    id: str
    url: str
    unsent: dict[str, str | None] = {}
    replies: str = ""
    replies_state: tuple[int, ...] = ()

    @classmethod
    def at(cls, path: Path, url: str) -> Self:
        with suppress(FileNotFoundError, ValidationError):
            return cls.model_validate_json(path.read_bytes())
        return cls(id=uuid.uuid4().hex, url=url)


class RemoteRun:
    """A run in a store at a URL, and its working folder here.

    Args:
        store: of the run.
        place: a folder of this machine, held by this process: the working folder is `run` in it.
        timing: how often it writes.
    """

    def __init__(self, store: RemoteFolder, place: Path, timing: RemoteTiming = _TIMING) -> None:
        self.folder, self.shown = place / "run", store.shown
        self._store, self._timing, self._path = store, timing, place / "place.json"
        self._place = _Place.at(self._path, store.shown)
        self._save()  # Before the lock is taken: by the id in it this place may take it back.
        self._lock = RemoteLock(store, self._place.id, timing.lock)
        self._steps = RemoteSteps(store, self.folder)
        self._replies = RemoteReplies(store, self.folder / REPLIES_FILE)
        self._replies_at = time.monotonic()
        self._states = RemoteStates(store, self.folder, self._lock.confirm)
        self._uploads: list[Future[None]] = []
        self._uploader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="upload")
        # Of their own: a large one does not keep finished steps waiting.
        self._state_sender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="states")
        self._mutex, self._stops = threading.Lock(), threading.Event()

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Hold the store, bring its records here, and upload at the end what is not there yet.

        Raises:
            InUseError: another run holds it.
            FolderError: it holds files that no run made, or refuses.
            UnreachableError: it does not answer.
            DataError: the replies in it are damaged.
        """
        with self._lock.held():
            try:
                self._pull()
                yield self
            except BaseException as error:
                # An error of a step is none of the store's: what was done and paid for is sent. So it is, without
                # patience, where SIGTERM says that the machine is taken. Ctrl-C does not wait.
                is_lost = isinstance(error, InUseError | UnreachableError)
                if isinstance(error, SystemExit):
                    self._stops.set()
                self._close(at_once=is_lost or not isinstance(error, Exception | SystemExit))
                raise
            self._close()
            self.check()

    def fetching(self, task_for: Callable[[Step], StepTask]) -> Callable[[Step], StepTask]:
        """Return a function that gives the task of a step when the files that it is made from are here.

        It raises what `fetch` does.
        """

        def task(step: Step) -> StepTask:
            made = task_for(step)
            places = [*made.job.places.values(), *filter(None, [made.same_result])]
            self.fetch(places, weights=step.kind != "report")  # A report shows no weights.
            if step.resumable and made.same_result is None:
                self._patiently(partial(self._states.fetch, step, fingerprint(made.identity)))
            return made

        return task

    def fetch(self, places: Iterable[Path], *, weights: bool = True) -> None:
        """Bring the files of finished steps here that are in the store alone.

        Args:
            places: folders of steps.
            weights: also the files of a model's weights.

        Raises:
            DataError: a file is missing in the store, or damaged.
            UnreachableError: the store has not answered for a long time.
        """
        for place in places:
            self._patiently(partial(self._steps.fetch, place, weights=weights))

    def follow(self, steps: Sequence[Step], listener: Listener, state_every_s: float | None = None) -> Listener:
        """Return a listener that also uploads what the run makes, and ends it where that can't go on.

        Args:
            steps: of the run.
            listener: that is called first.
            state_every_s: how often at most states of half-made steps are sent; never by default.
        """
        folders = {step.name: step.folder(self.folder) for step in steps}
        resumable = {step.name: step for step in steps if step.resumable and state_every_s is not None}

        def on_event(event: Event) -> None:
            listener(event)
            if event.kind == "begin":
                self._upload(self._push_study)
            elif event.kind == "done":
                name = folders[event.step].relative_to(self.folder).as_posix()
                with self._mutex:
                    self._place.unsent[name] = self._steps.digests.get(name)
                    self._save()
                self._upload(partial(self._push_step, folders[event.step], resumable.get(event.step)))
            elif event.kind != "end" and time.monotonic() - self._replies_at > self._timing.replies_every_s:
                self._replies_at = time.monotonic()
                self._upload(self._push_replies)
            step = resumable.get(event.step)
            if step is not None and state_every_s is not None and self._states.follow(event.kind, step):
                self._uploads.append(self._state_sender.submit(self._send_state, step, state_every_s))
            self.check()

        return on_event

    def check(self) -> None:
        """Raise what made an upload fail, or that another run has taken the store.

        Raises:
            InUseError: see above.
            MidspecError: whatever the store refused.
        """
        self._lock.check()
        for upload in [upload for upload in self._uploads if upload.done() and not upload.cancelled()]:
            self._uploads.remove(upload)
            upload.result()

    def _pull(self) -> None:
        names = self._steps.look()
        foreign = {name for name in names if name not in _NOT_OF_STEPS and not name.startswith(("calls", UNFINISHED))}
        if foreign and RUN_FILE not in names:
            raise FolderError("holds files that are not a midspec run", where=self.shown, hint="Choose another --out")
        pull_files(self._store, self.folder, [name for name in (RUN_FILE, STUDY_FILE) if name in names])
        left = self._steps.pull(self._place.unsent)
        self._place.unsent = {name: of for name, of in self._place.unsent.items() if self.folder / name in left}
        self._save()
        self._note_replies(self._replies.pull(self._place.replies, self._place.replies_state))
        if left and RUN_FILE not in names:  # Without it the store would hold files of nobody.
            self._upload(self._push_study)
        for place in left:
            self._upload(partial(self._push_step, place))
        self._states.look(names)
        self._upload(self._states.tidy)

    def _upload(self, action: Callable[[], None]) -> None:
        self._uploads.append(self._uploader.submit(self._patiently, action))

    def _push_study(self) -> None:
        for path in (self.folder / RUN_FILE, self.folder / STUDY_FILE):
            if path.is_file():
                self._store.write(path.name, path.read_bytes())

    def _send_state(self, step: Step, every_s: float = 0.0) -> None:
        try:
            self._states.send(step, every_s)
        except MidspecError as error:
            # The next one is sent in its turn. Where the store refuses all, the steps that are sent say so.
            note(f"what {step.name} has saved was not sent: {error}", self.shown)

    def _push_step(self, place: Path, resumable: Step | None = None) -> None:
        self._lock.confirm()
        self._steps.push(place)
        with self._mutex:
            self._place.unsent.pop(place.relative_to(self.folder).as_posix(), None)
            self._save()
        self._push_replies()
        if resumable is not None:  # In its turn: after what is being sent of it.
            self._uploads.append(self._state_sender.submit(self._patiently, partial(self._states.remove, resumable)))

    def _push_replies(self) -> None:
        self._lock.confirm()
        self._note_replies(self._replies.push())

    def _note_replies(self, pointer: Pointer | None) -> None:
        """Remember which replies this machine and the store have in common."""
        if pointer is not None:
            with self._mutex:
                self._place.replies, self._place.replies_state = pointer.sha256, pointer.state
                self._save()

    def _save(self) -> None:
        with writable(self._path.parent):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, self._place)

    def _patiently(self, action: Callable[[], None]) -> None:
        """Do something with the store; while it can't be reached, try again after growing pauses."""
        began, pause_s = time.monotonic(), 1.0
        while True:
            try:
                return action()
            except UnreachableError as error:
                if time.monotonic() - began > self._timing.patience_s or self._stops.is_set():
                    self._stops.set()  # What waits behind this is tried once more, and not for as long.
                    raise
                note(f"{error.what}; trying again for {self._timing.patience_s / 60:.0f} minutes", self.shown)
            self._stops.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _close(self, *, at_once: bool = False) -> None:
        """Wait for the uploads; `at_once` only for the one that is under way, and the others come next time."""
        if at_once:
            self._stops.set()
        else:
            self._upload(self._push_replies)
            self._uploads += [self._state_sender.submit(self._send_state, step) for step in self._states.begun]
        self._uploader.shutdown(cancel_futures=at_once)
        self._state_sender.shutdown(cancel_futures=at_once)


def place_name(shown: str) -> str:
    """Return the name of the folder that holds the working folder of a run at a URL, on every machine."""
    return hash_text(shown)[:16]


class RunPlace(NamedTuple):
    """The folder of a run on this machine, and the run in its store if it has one."""

    folder: Path
    remote: RemoteRun | None


@contextmanager
def open_run_folder(out: str | Path, cache: Path | None = None, timing: RemoteTiming = _TIMING) -> Iterator[RunPlace]:
    """Open the folder of a run for writing: a path as it is, a URL by a working folder of this machine.

    Args:
        out: path, or URL of any file system that fsspec knows.
        cache: where the working folder of a URL is kept; by default `runs/` in midspec's cache.
        timing: how often a run at a URL writes.

    Raises:
        ConfigError: the URL can't keep a run.
        InUseError: another run holds it, here or elsewhere.
        MidspecError: whatever the store refuses.
    """
    if not is_url(str(out)):
        yield RunPlace(Path(out), None)
        return
    store = RemoteFolder.at(str(out))
    place = (cache or cache_folder() / "runs") / place_name(store.shown)
    with (
        _held_here(place, store.shown),
        RemoteRun(store, place, timing).opened() as remote,
        _named_as(store.shown, remote.folder),
    ):
        yield RunPlace(remote.folder, remote)


@contextmanager
def _held_here(place: Path, shown: str) -> Iterator[None]:
    held = False
    try:
        with locked(place):
            held = True
            yield
    except InUseError as error:
        if held:
            raise
        hint = "Wait for it to end, or choose another --out"
        raise InUseError("another run on this machine is writing it", where=shown, hint=hint) from error


@contextmanager
def view_run_folder(out: str | Path, files: Sequence[str] = ()) -> Iterator[Path]:
    """Open the folder of a run to look at it: at a URL, a passing copy of its records, without lock.

    Args:
        out: path or URL.
        files: further files of it that are wanted, where they are there.

    Raises:
        ConfigError: the URL can't keep a run.
        MidspecError: whatever the store refuses.
    """
    if not is_url(str(out)):
        yield Path(out)
        return
    store = RemoteFolder.at(str(out))
    with TemporaryDirectory(prefix="midspec-") as apart:
        folder = Path(apart) / store.shown.rpartition("/")[2]
        folder.mkdir()
        steps = RemoteSteps(store, folder)
        names = steps.look()
        steps.pull({})
        pull_files(store, folder, [name for name in (RUN_FILE, STUDY_FILE, *files) if name in names])
        with _named_as(store.shown, folder):
            yield folder


@contextmanager
def _named_as(shown: str, folder: Path) -> Iterator[None]:
    """Let errors about what a run holds call its folder by its URL; those about this machine's disk name the disk."""
    try:
        yield
    except (DataError, MissingError, StaleError) as error:
        error.where = error.where.replace(str(folder), shown)
        raise


def pull_files(store: RemoteFolder, folder: Path, names: Sequence[str]) -> None:
    """Bring small files of a run here, each in one move."""
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in store.read_all(names).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_text(folder / name, data.decode("utf-8", "replace"))
