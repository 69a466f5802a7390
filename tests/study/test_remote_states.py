"""What a half-made step leaves in the store: never less than one whole state, whatever cuts the sending of the next."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from midspec.core.artifact import (
    CHECKPOINTS,
    Built,
    RemoteFolder,
    Start,
    build,
    draft_of,
    put_start,
    start_of,
    write_json,
)
from midspec.core.errors import InUseError
from midspec.core.fingerprint import fingerprint, hash_file
from midspec.core.records import Identity
from midspec.study import Job, Saved, Step
from midspec.study.execution._remote_states import RemoteStates

MARK = fingerprint(Identity(step="count@1", inputs={}, config={}))


@dataclass(frozen=True, kw_only=True, eq=False)
class CountStep(Step):
    """Keeps its newest state under its number, as training does."""

    kind = "count"
    resumable = True

    @property
    def settings(self) -> dict[str, object]:  # type: ignore[override]
        return {}

    def run(self, job: Job, folder: Path) -> Built:
        raise NotImplementedError

    def saved(self, folder: Path) -> Saved | None:
        states = sorted((folder / CHECKPOINTS).glob("*"), key=lambda path: int(path.name))
        if not states:
            return None
        files = [path for path in [*states[-1].rglob("*"), *folder.glob("kept/*")] if path.is_file()]
        return Saved(int(states[-1].name), tuple(sorted(path.relative_to(folder).as_posix() for path in files)))


STEP = CountStep(label="sheep", seed=1)


class Machine:
    """A working folder, and what it sends to a store."""

    def __init__(self, folder: Path, url: str, confirm: Callable[[], None] = lambda: None) -> None:
        self.run, self.url = folder / "run", url
        self.place = STEP.folder(self.run)
        self._confirm = confirm
        self.open()

    def open(self) -> None:
        """Begin to work on the run, as a new process does."""
        self.run.mkdir(parents=True, exist_ok=True)
        self.store = RemoteFolder.at(self.url)
        self.states = RemoteStates(self.store, self.run, self._confirm)
        self.states.look(self.store.list())
        self.states.follow("start", STEP)

    def save(self, at: int, text: str = "", n_attempts: int = 1) -> None:
        """Save a state as training does: the older one is removed when this is whole."""
        draft = draft_of(self.place)
        before = list((draft / CHECKPOINTS).glob("*"))
        new = draft / CHECKPOINTS / str(at)
        (new / "rng").mkdir(parents=True)
        (new / "weights").write_text(text or f"weights {at}", encoding="utf-8")
        (new / "rng" / "0").write_text("the same in all", encoding="utf-8")
        write_json(draft / ".started.json", {"fingerprint": MARK, "n_attempts": n_attempts})
        for old in before:
            shutil.rmtree(old)

    def send(self, at: int, text: str = "") -> None:
        self.save(at, text)
        self.states.send(STEP, 0)

    def here(self) -> dict[str, str]:
        """Return what the step would go on from here: names and texts of files."""
        draft = draft_of(self.place)
        files = [
            path for path in sorted(draft.rglob("*")) if path.is_file() and path.name not in {".started.json", ".lock"}
        ]
        return {path.relative_to(draft).as_posix(): path.read_text(encoding="utf-8") for path in files}

    def fetch(self) -> dict[str, str]:
        self.open()
        self.states.fetch(STEP, MARK)
        return self.here()

    def stored(self) -> list[str]:
        return sorted(RemoteFolder.at(self.url).list())


def state(at: int, text: str = "") -> dict[str, str]:
    files = {"rng/0": "the same in all", "weights": text or f"weights {at}"}
    return {f"{CHECKPOINTS}/{at}/{name}": content for name, content in files.items()}


@pytest.fixture(params=["s3", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a run, in both kinds of store."""
    return f"{request.getfixturevalue('s3')}/run" if request.param == "s3" else f"file://{tmp_path}/store/run"


def test_another_machine_goes_on_from_the_newest_state_alone(url: str, tmp_path: Path) -> None:
    first, second = Machine(tmp_path / "first", url), Machine(tmp_path / "second", url)
    for at in (3, 6, 9):
        first.send(at)
    assert len(first.stored()) == 3, "two files and their list"
    assert second.fetch() == state(9)
    assert start_of(second.place) == Start(MARK, 1)
    # It goes on, and the first one comes back.
    second.send(12)
    assert first.fetch() == state(12)
    assert not [path for path in (tmp_path / "first" / "states").rglob("*") if path.is_file()], (
        "nothing is left of sending and fetching"
    )


def test_what_a_step_keeps_on_its_way_is_sent_once(url: str, tmp_path: Path) -> None:
    first, second = Machine(tmp_path / "first", url), Machine(tmp_path / "second", url)
    kept = draft_of(first.place) / "kept"
    kept.mkdir(parents=True)
    (kept / "model").write_text("kept", encoding="utf-8")
    first.send(1)
    name = f"unfinished/count/sheep-s1/{hash_file(kept / 'model')}"
    first.store.write(name, b"KEPT")  # as nobody does: it shows that it is not sent again
    first.send(2)
    assert first.store.read(name) == b"KEPT"
    first.store.write(name, b"kept")
    assert second.fetch() == {**state(2), "kept/model": "kept"}


def test_a_machine_that_is_further_keeps_what_it_has(url: str, tmp_path: Path) -> None:
    first, second = Machine(tmp_path / "first", url), Machine(tmp_path / "second", url)
    first.send(5)
    second.save(7)
    assert second.fetch() == state(7)
    second.states.send(STEP, 0)
    assert first.fetch() == state(7)


def test_a_state_of_other_inputs_is_none(url: str, tmp_path: Path) -> None:
    first, second = Machine(tmp_path / "first", url), Machine(tmp_path / "second", url)
    first.send(5)
    second.states.look(second.store.list())
    second.states.fetch(STEP, "0" * 64)
    assert second.here() == {}


@pytest.mark.parametrize("how", ["removed when it is stored", "removed by the next run"])
def test_a_finished_step_leaves_nothing(url: str, tmp_path: Path, how: str) -> None:
    first = Machine(tmp_path / "first", url)
    first.send(5)
    neighbour = "unfinished/count/sheep-s12/" + "0" * 64
    first.store.write(neighbour, b"of another step")
    first.states.follow("done", STEP)
    if how == "removed when it is stored":
        first.states.remove(STEP)
    else:  # The process was killed in between.
        identity = Identity(step="count@1", inputs={}, config={})
        build(first.place, identity, lambda folder: Built(outputs=()))
        first.open()
        first.states.tidy()
    assert first.stored() == [neighbour]


def test_a_finished_step_s_state_is_sent_no_further(url: str, tmp_path: Path) -> None:
    first = Machine(tmp_path / "first", url)
    first.send(5)
    first.states.follow("done", STEP)
    first.send(6)
    assert Machine(tmp_path / "second", url).fetch() == state(5)


# What cuts the sending ----------------------------------------------------------------------------------------------


class DyingStore(RemoteFolder):
    """A store whose user dies before it asks for one thing more."""

    n_left = 10_000

    def _at(self, name: str) -> str:
        self.n_left -= 1
        if self.n_left < 0:
            raise SystemExit
        return super()._at(name)


def test_a_process_that_dies_at_any_request_leaves_a_whole_state(url: str, tmp_path: Path) -> None:
    first, found = Machine(tmp_path / "first", url), []
    for n_left in range(40):
        at = 2 * n_left
        first.open()
        first.send(at)
        assert len(first.stored()) == 3, "what the last one left is removed"
        dying = DyingStore.at(url)
        first.states._store = dying
        dying.n_left = n_left
        with suppress(SystemExit):
            first.send(at + 1)
        there = Machine(tmp_path / f"second-{n_left}", url).fetch()
        assert there in [state(at), state(at + 1)]
        found.append(there == state(at + 1))
        if dying.n_left >= 0:
            break
    assert len(found) > 5
    assert found == sorted(found), "the older one, and from one request on the newer"
    assert {*found} == {False, True}


def test_a_list_that_was_cut_on_a_disk_is_passed_over(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store/run"
    first = Machine(tmp_path / "first", url)
    first.send(1)
    [listed] = [name for name in first.stored() if name.endswith(".json")]
    cut = (first.store.read(listed) or b"")[:-40]
    first.store.write(listed.replace("000001", "000002"), cut)
    assert Machine(tmp_path / "second", url).fetch() == state(1)
    first.send(3)
    assert len(first.stored()) == 3, "and the next one takes its place"
    assert Machine(tmp_path / "third", url).fetch() == state(3)


def test_of_two_that_send_at_once_one_is_whole(url: str, tmp_path: Path) -> None:
    machines = [Machine(tmp_path / name, url) for name in ("first", "second", "third")]
    for n in range(3):
        with ThreadPoolExecutor(len(machines)) as pool:
            sent = [
                pool.submit(one.send, 10 * n + k, f"of machine {k}, {n}" if k else "of all")
                for k, one in enumerate(machines, start=1)
            ]
            for each in sent:
                each.result()
        found = Machine(tmp_path / f"reader-{n}", url).fetch()
        assert found in [state(10 * n + k, f"of machine {k}, {n}") for k in (1, 2, 3)]


def test_a_machine_that_lost_the_store_sends_no_list(url: str, tmp_path: Path) -> None:
    n_asked = 0

    def confirm() -> None:
        nonlocal n_asked
        n_asked += 1
        if n_asked == 4:  # after the files of the second state
            raise InUseError("another run took it over", where=url, hint="")

    first = Machine(tmp_path / "first", url, confirm)
    first.send(1)
    with pytest.raises(InUseError):
        first.send(2)
    assert Machine(tmp_path / "second", url).fetch() == state(1)


@pytest.mark.parametrize("harm", ["cut", "removed", "changed"])
def test_a_damaged_state_is_told_and_the_step_begins_anew(
    url: str, harm: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Machine(tmp_path / "first", url)
    first.send(1)
    name = next(name for name in first.stored() if not name.endswith(".json"))
    if harm == "removed":
        first.store.remove([name])
    else:
        first.store.write(name, b"we" if harm == "cut" else b"other")
    assert Machine(tmp_path / "second", url).fetch() == {}
    assert "so it is not gone on from" in caplog.text
    assert f"{url}/unfinished/count/sheep-s1" in caplog.text


@pytest.mark.parametrize(
    "name", ["record.json", ".lock", "../../../evil", "/elsewhere/evil", f"{CHECKPOINTS}/../../evil", ".hidden/x", ""]
)
def test_a_state_that_names_a_file_elsewhere_is_none(name: str, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store/run"
    first = Machine(tmp_path / "first", url)
    first.send(1)
    [listed] = [each for each in first.stored() if each.endswith(".json")]
    text = (first.store.read(listed) or b"").decode()
    first.store.write(listed, text.replace(f"{CHECKPOINTS}/1/weights", name).encode())
    second = Machine(tmp_path / "second", url)
    assert second.fetch() == {}
    assert not draft_of(second.place).exists()
    assert not list(tmp_path.rglob("evil"))


def test_a_state_is_held_while_training_replaces_it(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, newer = Machine(tmp_path / "first", url), iter([2, 3])
    first.save(1)
    put = first.store.put

    def put_late(files: Mapping[str, Path]) -> None:
        if (at := next(newer, None)) is not None:  # Between the look at the files and their sending.
            first.save(at)
        put(files)

    monkeypatch.setattr(first.store, "put", put_late)
    first.states.send(STEP, 0)
    assert Machine(tmp_path / "second", url).fetch() == state(1)
    first.states.send(STEP, 0)
    assert Machine(tmp_path / "third", url).fetch() == state(3)


def test_states_are_sent_at_most_so_often(tmp_path: Path) -> None:
    first = Machine(tmp_path / "first", f"file://{tmp_path}/store/run")
    assert not first.states.follow("progress", STEP), "nothing is saved"
    first.save(1)
    assert first.states.follow("progress", STEP)
    assert not first.states.follow("progress", STEP), "it is being sent"
    first.states.send(STEP, 3600)
    first.save(2)
    assert not first.states.follow("progress", STEP), "an hour is not over"
    first.states.send(STEP, 0)
    first.states._quiet_until = 0.0
    assert not first.states.follow("progress", STEP), "nothing is new"
    first.save(3)
    assert first.states.follow("progress", STEP)


def test_a_start_that_was_put_there_is_gone_on_with(tmp_path: Path) -> None:
    identity = Identity(step="count@1", inputs={}, config={})
    (tmp_path / "weights").write_text("half", encoding="utf-8")
    put_start(tmp_path / "a", Start(MARK, 2), {f"{CHECKPOINTS}/1/weights": tmp_path / "weights"})

    def make(folder: Path) -> Built:
        assert (folder / CHECKPOINTS / "1" / "weights").read_text(encoding="utf-8") == "half"
        return Built(outputs=())

    record, _ = build(tmp_path / "a", identity, make, resumable=True)
    assert record.execution.n_attempts == 3
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["record.json"]
