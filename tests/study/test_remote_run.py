"""A run at a URL: the bytes of a local one, on a real S3 server and on a shared disk, whatever ends it on the way."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.installed import install
from tests.s3_server import SECRET, FaultProxy, S3Server, environment, use_s3

from midspec.cli import main
from midspec.core.artifact import LockTiming, RemoteFolder, without_secrets
from midspec.core.errors import DataError, FolderError, InUseError, UnreachableError
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Estimate, Execution, Identity, Record
from midspec.llm import Outcome, Request, Store
from midspec.report import ContrastResult, ReportData
from midspec.study import (
    STEP_KINDS,
    Event,
    RemoteTiming,
    open_run_folder,
    parse_study,
    plan,
    report_again,
    run_study,
    view_run_folder,
)

TINY = Path(__file__).parent / "tiny.yaml"
QUICK = RemoteTiming(patience_s=5.0, lock=LockTiming(beat_s=0.2, stale_s=1.0, watch_s=1.0, settle_s=0.1))
OLD = {"left-over.txt": {"n_bytes": 5, "sha256": None}}
ROWS = ["corpus/thrift-s1", "corpus/thrift-s2", "spec/thrift"]


def ran(
    url: str | Path,
    cache: Path,
    only: Sequence[str] = ("corpus/thrift*",),
    redo: Sequence[str] = (),
    study: Path = TINY,
) -> list[str]:
    """Run steps of a study, the tiny one by default; return those that were made now."""
    told: list[Event] = []
    parsed = parse_study(study.read_text(encoding="utf-8"), home=study.parent)
    with open_run_folder(str(url), cache, QUICK) as (folder, remote):
        run_study(parsed, folder, only=only, redo=redo, workers=1, on_event=told.append, remote=remote)
    return sorted(event.step for event in told if event.kind == "done")


def stored(url: str) -> dict[str, bytes]:
    """Return all that a store holds, lists of files apart; records without what is about the run alone."""
    folder = RemoteFolder.at(url)
    contents = folder.read_all([name for name in folder.list() if not name.endswith(".stored.json")])
    return {name: lasting(name, data) for name, data in contents.items()}


def local(run: Path) -> dict[str, bytes]:
    """Return the same of a run folder, without the output of its workers."""
    files = {path.relative_to(run).as_posix(): path for path in run.rglob("*") if path.is_file()}
    return {name: lasting(name, path.read_bytes()) for name, path in files.items() if not name.startswith("logs/")}


def lasting(name: str, data: bytes) -> bytes:
    if not name.endswith("record.json"):
        return data
    return json.dumps(
        {key: one for key, one in json.loads(data).items() if key not in {"execution", "commit"}}
    ).encode()


@pytest.fixture(params=["s3", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a run that is not there yet, in both kinds of store."""
    return f"{request.getfixturevalue('s3')}/run" if request.param == "s3" else f"file://{tmp_path}/store/run"


@pytest.fixture(scope="module")
def rows_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The steps of `ROWS` in a folder, made as always; nobody changes it."""
    folder = tmp_path_factory.mktemp("rows") / "run"
    ran(folder, folder.parent / "unused")
    return folder


def fill(url: str, run: Path, cache: Path) -> str:
    """Send a run that was made in a folder, as a machine does whose last run was killed before it sent anything."""
    with open_run_folder(url, cache, QUICK) as (folder, _):
        shutil.copytree(run, folder, dirs_exist_ok=True)
    with open_run_folder(url, cache, QUICK):
        return url


@pytest.fixture
def filled(url: str, rows_run: Path, tmp_path: Path) -> str:
    """The URL of a run that holds those steps, sent from the machine `first`."""
    return fill(url, rows_run, tmp_path / "first")


def test_a_run_in_a_store_has_the_bytes_of_a_run_in_a_folder(url: str, rows_run: Path, tmp_path: Path) -> None:
    assert ran(url, tmp_path / "cache") == ROWS
    assert stored(url) == local(rows_run)


def test_a_second_machine_goes_on_after_the_first_and_does_nothing_twice(
    s3: str, rows_run: Path, tmp_path: Path
) -> None:
    url = f"{s3}/run"
    assert ran(url, tmp_path / "first", only=["spec/thrift", "corpus/thrift-s1"]) == ["corpus/thrift-s1", "spec/thrift"]
    assert ran(url, tmp_path / "second") == ["corpus/thrift-s2"]
    assert ran(url, tmp_path / "first") == []
    assert stored(url) == local(rows_run)
    fetched = list((tmp_path / "first").rglob("corpus/thrift-s2/*"))
    assert [path.name for path in fetched] == ["record.json"], "what nobody needs here is not fetched"


def test_a_run_folder_that_was_copied_to_a_store_by_hand_is_gone_on_with(
    s3: str, rows_run: Path, tmp_path: Path
) -> None:
    files = {path.relative_to(rows_run).as_posix(): path for path in rows_run.rglob("*") if path.is_file()}
    RemoteFolder.at(s3).put({name: path for name, path in files.items() if "thrift-s2" not in name})
    _pay(tmp_path, "one")
    RemoteFolder.at(s3).put({"calls.sqlite": tmp_path / "calls.sqlite"})
    assert ran(s3, tmp_path / "cache") == ["corpus/thrift-s2"]
    [run] = (tmp_path / "cache").glob("*/run")
    assert _said(run, "one") == "one!"


def test_a_draft_that_a_killed_run_left_is_not_sent(url: str, rows_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(rows_run, run)
    shutil.copytree(run / "steps" / "corpus" / "thrift-s1", run / "steps" / "corpus" / ".thrift-s1.part")
    assert stored(fill(url, run, tmp_path / "first")) == local(rows_run)


def test_a_plan_reads_a_store_and_changes_nothing(filled: str) -> None:
    before = stored(filled)
    study = parse_study(TINY.read_text(encoding="utf-8"), home=TINY.parent)
    with view_run_folder(filled) as folder:
        planned = plan(study, folder)
    assert sorted(step.name for step in planned.steps if step.state == "done") == ROWS
    assert stored(filled) == before
    assert not folder.exists()


def test_status_tells_what_a_store_holds(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", filled]) == 0
    said = capsys.readouterr().out
    assert "steps are done" in said
    assert without_secrets(filled) in said


@pytest.mark.parametrize("command", ["status", "report"])
def test_an_empty_url_is_named_where_a_run_was_expected(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MIDSPEC_CACHE", str(tmp_path / "cache"))
    (tmp_path / "store").mkdir()
    url = f"file://{tmp_path}/store/none"
    assert main([command, url]) == 2
    assert f"midspec: {url}: there is no study run. " in capsys.readouterr().err


def test_nothing_of_an_older_version_comes_into_a_step_that_was_made_anew(
    url: str, rows_run: Path, tmp_path: Path
) -> None:
    fill(url, rows_run, tmp_path / "first")
    name = "steps/corpus/thrift-s1"
    RemoteFolder.at(url).write(f"{name}/.stored.json", json.dumps(OLD).encode())
    RemoteFolder.at(url).write(f"{name}/left-over.txt", b"older")
    with open_run_folder(url, tmp_path / "first", QUICK) as (folder, remote):
        assert remote is not None
        remote.fetch([folder / name])
        assert not (folder / name / "left-over.txt").exists()


def test_a_step_made_anew_replaces_the_stored_one_with_all_its_files(s3: str, rows_run: Path, tmp_path: Path) -> None:
    url = fill(f"{s3}/run", rows_run, tmp_path / "first")
    RemoteFolder.at(url).write("steps/corpus/thrift-s1/left-over.txt", b"of an older version")
    assert ran(url, tmp_path / "second", redo=["corpus/thrift-s1"]) == ["corpus/thrift-s1"]
    assert stored(url) == local(rows_run)


def test_other_files_at_a_url_are_left_alone(url: str, tmp_path: Path) -> None:
    RemoteFolder.at(url).write("thesis.tex", b"mine")
    with pytest.raises(FolderError, match="holds files that are not a midspec run"):
        ran(url, tmp_path / "cache")
    assert stored(url) == {"thesis.tex": b"mine"}


# What ends a run on the way -----------------------------------------------------------------------------------------


@contextmanager
def started(
    url: str, cache: Path, port: int | None = None, *, study: Path = TINY, only: Sequence[str] = ("corpus/thrift*",)
) -> Iterator[subprocess.Popen[str]]:
    """A run of some steps by the command; killed at the end of the block if it still runs."""
    wanted = [word for name in only for word in ("--only", name)]
    command = ["run", str(study), *wanted, "--out", url, "--cache", str(cache), "--workers", str(len(only))]
    variables = {**os.environ, **(environment(port) if port else {})}
    with subprocess.Popen(
        [sys.executable, "-m", "midspec", *command], stderr=subprocess.PIPE, text=True, env=variables
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_run_killed_in_mid_training_and_in_an_upload_is_gone_on_with_by_another_machine(
    s3: str, s3_process: S3Server, tmp_path: Path
) -> None:
    text = TINY.read_text(encoding="utf-8").replace("n_updates: 4,", "n_updates: 300, n_epochs: 60,", 1)
    text = text.replace("training:\n", "training:\n  execution: {save_every_updates: 5}\n")
    study, only = tmp_path / "long.yaml", ["corpus/thrift-s1", "pretrain/facts-s1"]
    study.write_text(text + "execution: {store: {state_every_s: 0.1}}\n", encoding="utf-8")
    url, state = f"{s3}/run", "unfinished/pretrain/facts-s1/state-000001.json"
    with FaultProxy(s3_process.port) as proxy:
        proxy.fault = lambda method, path: "hang" if method == "PUT" and "thrift-s1/plan" in path else None
        with started(url, tmp_path / "first", proxy.port, study=study, only=only) as process:
            while not (proxy.hit.wait(0.1) and state in RemoteFolder.at(url).list()):
                assert process.poll() is None, process.communicate()
            os.kill(process.pid, signal.SIGKILL)
    store, twin = RemoteFolder.at(url), RemoteFolder.at(f"{s3}/twin")
    there = store.read_all(list(store.list()))
    assert {"lock.json", "steps/spec/thrift/record.json", state} <= {*there}
    assert not {f"steps/{name}/record.json" for name in only} & {*there}, "nothing looks finished that is not"
    for name, data in there.items():
        twin.write(name, data)
    assert ran(f"{s3}/twin", tmp_path / "another", only, study=study) == only
    record = json.loads(twin.read("steps/pretrain/facts-s1/record.json") or b"")
    assert record["execution"]["n_attempts"] == 2, "it went on from the state in the store"
    assert ran(url, tmp_path / "first", only[:1], study=study) == [], "this machine has it, and sends it"
    assert "steps/corpus/thrift-s1/record.json" in store.list()
    ran(tmp_path / "straight", tmp_path / "unused", only, study=study)
    assert stored(f"{s3}/twin") == local(tmp_path / "straight")


@pytest.mark.slow
def test_of_two_processes_at_once_one_is_told_by_whom(s3: str, s3_process: S3Server, tmp_path: Path) -> None:
    url = f"{s3}/run"
    with FaultProxy(s3_process.port) as proxy:
        # The first one holds the store until it is killed, as its upload does not come through.
        proxy.fault = lambda method, path: "hang" if method == "PUT" and "/steps/" in path else None
        with started(url, tmp_path / "first", proxy.port) as first:
            assert proxy.hit.wait(240)
            for cache, says in (
                ("second", rf"another run is writing it \(process {first.pid} on "),
                ("first", r"on this"),
            ):
                with pytest.raises(InUseError, match=says) as told:
                    open_run_folder(url, tmp_path / cache).__enter__()
                assert str(told.value).endswith("Wait for it to end, or choose another --out")


@pytest.mark.slow
def test_of_two_runs_in_a_shared_folder_one_is_told(tmp_path: Path) -> None:
    study = parse_study(TINY.read_text(encoding="utf-8"), home=TINY.parent)
    said: list[str] = []

    def begin_another(event: Event) -> None:
        if event.kind == "start" and not said:
            command = [
                sys.executable,
                "-m",
                "midspec",
                "run",
                str(TINY),
                "--only",
                "spec/thrift",
                "--out",
                str(tmp_path / "run"),
            ]
            said.append(subprocess.run(command, capture_output=True, text=True, check=False).stderr)

    run_study(study, tmp_path / "run", only=["spec/thrift"], on_event=begin_another)
    assert said[0].splitlines()[-1].startswith(f"midspec: {tmp_path}/run: another process is writing this folder. Wait")


def test_a_run_ends_when_another_has_taken_its_store(url: str, tmp_path: Path) -> None:
    study = parse_study(TINY.read_text(encoding="utf-8"), home=TINY.parent)

    def take_over(event: Event) -> None:
        if event.kind == "begin":
            lock = json.loads(RemoteFolder.at(url).read("lock.json") or b"")
            RemoteFolder.at(url).write("lock.json", json.dumps({**lock, "owner": "another"}).encode())

    with (
        pytest.raises(InUseError, match="another run took it over"),
        open_run_folder(url, tmp_path / "cache", QUICK) as (folder, remote),
    ):
        run_study(study, folder, only=["corpus"], workers=1, on_event=take_over, remote=remote)
    assert not [name for name in stored(url) if name.startswith("steps/")], "nothing was written into the other's store"


def test_a_store_that_refuses_ends_the_run_in_one_line_and_what_was_made_is_sent_next_time(
    s3: str, s3_process: S3Server, monkeypatch: pytest.MonkeyPatch, rows_run: Path, tmp_path: Path
) -> None:
    url = f"{s3}/run"
    with FaultProxy(s3_process.port) as proxy:
        use_s3(monkeypatch, proxy.port)
        proxy.fault = lambda method, path: "reset" if method == "PUT" and "/steps/" in path else None
        with pytest.raises(UnreachableError, match=r"can't be reached, or not now \(.+\)\. Run the same command again"):
            ran(url, tmp_path / "cache")
        proxy.fault = lambda _method, _path: None
        assert "spec/thrift" not in ran(url, tmp_path / "cache")
    use_s3(monkeypatch, s3_process.port)
    assert stored(url) == local(rows_run)


SHEEP = """
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from midspec.core.artifact import CHECKPOINTS, Built
from midspec.core.errors import DataError
from midspec.study import Saved, Step


@dataclass(frozen=True, kw_only=True, eq=False)
class SheepStep(Step):
    kind = "sheep"
    resumable = True
    opens_model = False
    settings = property(lambda self: {})

    @classmethod
    def from_study(cls, name, settings, made):
        yield cls(label=name)

    def saved(self, folder):
        states = sorted((folder / CHECKPOINTS).glob("*/count"), key=lambda path: int(path.parent.name))
        return Saved(int(states[-1].parent.name), (str(states[-1].relative_to(folder)),)) if states else None

    def run(self, job, folder):
        before = self.saved(folder)
        at = before.at if before else 0
        with open(os.environ["SHEEP_NOTES"], "a") as notes:
            notes.write(f"from {at}\\n")
        while at < 20:
            at += 1
            place = folder / CHECKPOINTS / str(at)
            place.mkdir(parents=True)
            (place / "count").write_text("z" * at)
            shutil.rmtree(place.with_name(str(at - 1)), ignore_errors=True)
            job.on_progress(at, 20, "asleep")
            if at == 12 and os.path.exists(os.environ["SHEEP_NOTES"] + ".wolf"):
                raise DataError("a wolf", where=self.name, hint="Chase it away")
        (folder / "sheep.txt").write_text((place / "count").read_text())
        return Built(outputs=("sheep.txt",), summary={})
"""


def test_what_a_step_had_saved_when_it_failed_is_gone_on_from_elsewhere(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "sheep" not in STEP_KINDS  # kinds are looked for once in a process: the found ones come back after the test
    monkeypatch.delitem(vars(STEP_KINDS), "_all")
    site = install(tmp_path / "site", "sheep", "steps", "sheep = sheep:SheepStep", sheep=SHEEP)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("SHEEP_NOTES", str(tmp_path / "notes"))
    study, wolf = tmp_path / "sheep.yaml", tmp_path / "notes.wolf"
    study.write_text(TINY.read_text(encoding="utf-8") + "steps: {sheep: {kind: sheep}}\n", encoding="utf-8")
    wolf.touch()
    with pytest.raises(DataError, match="a wolf"):
        ran(url, tmp_path / "first", ["sheep/sheep"], study=study)
    wolf.unlink()
    assert ran(url, tmp_path / "second", ["sheep/sheep"], study=study) == ["sheep/sheep"]
    assert (tmp_path / "notes").read_text(encoding="utf-8").split() == ["from", "0", "from", "12"]
    there = stored(url)
    assert there["steps/sheep/sheep/sheep.txt"] == b"z" * 20
    assert not [name for name in there if name.startswith("unfinished/")]


# What a store holds is not trusted ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("cut", r"/documents\.jsonl: is damaged: 100 bytes of [\d,]+\. Remove .+/steps/corpus/thrift-s1 there and run"),
        ("another byte", r"/documents\.jsonl: is damaged: its content is not what was stored"),
        ("removed", r"/documents\.jsonl: is missing in the store"),
    ],
)
def test_a_damaged_file_is_told_and_not_put_in_place(filled: str, tmp_path: Path, change: str, says: str) -> None:
    store, name = RemoteFolder.at(filled), "steps/corpus/thrift-s1/documents.jsonl"
    data = store.read(name) or b""
    if change == "removed":
        store.remove([name])
    else:
        store.write(name, data[:100] if change == "cut" else data.replace(b"a", b"b", 1))
    with open_run_folder(filled, tmp_path / "second", QUICK) as (folder, remote):
        assert remote is not None
        with pytest.raises(DataError, match=says):
            remote.fetch([folder / "steps" / "corpus" / "thrift-s1"])
        assert [path.name for path in (folder / "steps/corpus/thrift-s1").iterdir()] == ["record.json"]


def test_a_step_that_was_removed_or_has_a_damaged_record_is_made_anew(s3: str, rows_run: Path, tmp_path: Path) -> None:
    filled = fill(f"{s3}/run", rows_run, tmp_path / "first")
    with open_run_folder(filled, tmp_path / "second", QUICK):
        pass  # This machine has the records of all steps, and no files.
    store, name = RemoteFolder.at(filled), "steps/corpus/thrift-s2/record.json"
    store.remove([name for name in store.list() if "thrift-s1/" in name])
    store.write(name, (store.read(name) or b"")[:500])
    assert ran(filled, tmp_path / "second") == ["corpus/thrift-s1", "corpus/thrift-s2"]
    assert stored(filled) == local(rows_run)


def test_a_record_that_names_a_file_elsewhere_is_refused(filled: str, tmp_path: Path) -> None:
    store, name = RemoteFolder.at(filled), "steps/corpus/thrift-s2/record.json"
    record = json.loads(store.read(name) or b"")
    record["outputs"]["../../../../evil"] = "0" * 64
    record["digest"] = fingerprint(record["outputs"])
    store.write(name, json.dumps(record).encode())
    with pytest.raises(DataError, match=r"names a file outside of its folder \('\.\./\.\./\.\./\.\./evil'\)"):
        open_run_folder(filled, tmp_path / "second", QUICK).__enter__()


def test_no_credential_gets_into_a_store_or_a_cache(s3: str, rows_run: Path, tmp_path: Path) -> None:
    folder = RemoteFolder.at(fill(f"{s3}/run", rows_run, tmp_path / "cache"))
    kept = [path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    kept += folder.read_all(list(folder.list())).values()
    assert len(kept) > 20
    assert not any(SECRET.encode() in data for data in kept)


# Replies of language models -----------------------------------------------------------------------------------------


def _pay(folder: Path, *tasks: str) -> None:
    with Store(folder / "calls.sqlite") as store:
        for task in tasks:
            request = Request(task=task, stage="test", prompt=f"Say {task}.", max_tokens=10)
            store.close(store.open(request, "toy/model", "author", "{}"), Outcome(kind="ok", text=f"{task}!"))


def _said(folder: Path, task: str) -> str | None:
    with Store(folder / "calls.sqlite") as store:
        outcome = store.answer(task, 0)
    return None if outcome is None else outcome.text


def test_replies_that_were_paid_for_are_on_the_next_machine(url: str, tmp_path: Path) -> None:
    with open_run_folder(url, tmp_path / "first", QUICK) as (folder, _):
        _pay(folder, "one")
    with open_run_folder(url, tmp_path / "second", QUICK) as (folder, _):
        assert _said(folder, "one") == "one!"
        assert (folder / "calls.sqlite").stat().st_mode & 0o777 == 0o600
        _pay(folder, "two")
    with open_run_folder(url, tmp_path / "first", QUICK) as (folder, _):
        assert (_said(folder, "one"), _said(folder, "two")) == ("one!", "two!")
    with open_run_folder(url, tmp_path / "first", QUICK) as (folder, _):
        assert not list(folder.glob("calls-before-*")), "nothing was only here"
    copies = [name for name in RemoteFolder.at(url).list() if name.startswith("calls/")]
    assert len(copies) == 1, "older copies are removed"


def test_replies_are_sent_though_a_step_fails(url: str, tmp_path: Path) -> None:
    with suppress(DataError), open_run_folder(url, tmp_path / "first", QUICK) as (folder, _):
        _pay(folder, "one")
        raise DataError("a step's own")
    with open_run_folder(url, tmp_path / "second", QUICK) as (folder, _):
        assert _said(folder, "one") == "one!"


def test_replies_that_a_dead_run_did_not_send_are_set_aside_and_not_lost(url: str, tmp_path: Path) -> None:
    with open_run_folder(url, tmp_path / "first", QUICK) as (folder, _):
        _pay(folder, "one")
    _pay(folder, "unsent")
    with open_run_folder(url, tmp_path / "second", QUICK) as (other, _):
        _pay(other, "two")
    with open_run_folder(url, tmp_path / "first", QUICK) as (again, _):
        assert (again, _said(again, "two"), _said(again, "unsent")) == (folder, "two!", None)
    [aside] = folder.glob("calls-before-*.sqlite")
    shutil.copy(aside, tmp_path / "calls.sqlite")
    assert _said(tmp_path, "unsent") == "unsent!"


def test_damaged_replies_are_told(url: str, tmp_path: Path) -> None:
    with open_run_folder(url, tmp_path / "first", QUICK) as (folder, _):
        _pay(folder, "one")
    store = RemoteFolder.at(url)
    [copy] = [name for name in store.list() if name.startswith("calls/")]
    store.write(copy, (store.read(copy) or b"")[:-4096])
    with pytest.raises(DataError, match=r"calls/\w+\.sqlite: is damaged\. Remove .+/calls\.json there"):
        open_run_folder(url, tmp_path / "second", QUICK).__enter__()


# Checkpoints --------------------------------------------------------------------------------------------------------


def _step(folder: Path, **files: str) -> None:
    """A finished step as a training leaves it: `adapter_config` is beside its outputs, as it names a place."""
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    outputs = {path.name: hash_of(path) for path in sorted(folder.iterdir()) if path.name != "adapter_config.json"}
    identity = Identity(step="midtrain@1", inputs={}, config={"name": folder.name})
    record = Record(
        identity=identity,
        fingerprint=fingerprint(identity),
        outputs=outputs,
        digest=fingerprint(outputs),
        summary={},
        versions={},
        commit=None,
        execution=Execution(started_at="", finished_at="", seconds=0, host="", folder=str(folder), n_attempts=1),
    )
    (folder / "record.json").write_text(record.model_dump_json(), encoding="utf-8")


def hash_of(path: Path) -> str:
    from midspec.core.fingerprint import hash_file

    return hash_file(path)


def test_an_adapter_finds_its_base_on_another_machine(url: str, tmp_path: Path) -> None:
    with open_run_folder(url, tmp_path / "first", QUICK) as (folder, _):
        (folder / "run.json").write_text("{}", encoding="utf-8")
        base = folder / "steps" / "pretrain" / "base-s1"
        _step(base, config__json='{"model_type": "llama"}', model__safetensors="weights")
        config = json.dumps({"base_model_name_or_path": str(base.resolve()), "r": 8})
        _step(folder / "steps" / "midtrain" / "a-s1", adapter_model__safetensors="few", adapter_config__json=config)
    with open_run_folder(url, tmp_path / "first", QUICK):
        pass  # Steps without a mark, as a run leaves them that was killed before it sent them.
    shutil.rmtree(tmp_path / "first")
    with open_run_folder(url, tmp_path / "second", QUICK) as (folder, remote):
        assert remote is not None
        adapter = folder / "steps" / "midtrain" / "a-s1"
        remote.fetch([adapter], weights=False)
        assert not (adapter / "adapter_model.safetensors").exists()
        remote.fetch([adapter])
        named = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
        assert (adapter / named).resolve() == (folder / "steps" / "pretrain" / "base-s1").resolve()
        assert (adapter / named / "model.safetensors").read_text(encoding="utf-8") == "weights"


@pytest.mark.slow
def test_the_whole_study_on_two_machines_and_s3_has_the_bytes_of_one_folder(
    s3: str, run_folder: Path, tmp_path: Path
) -> None:
    # The first machine sends what comes before the arms, and all of the second seed.
    part = Path(shutil.copytree(run_folder, tmp_path / "part"))
    shutil.rmtree(part / "report")
    before, steps = {"spec", "world", "corpus", "chats", "pretrain"}, part / "steps"
    for folder in (steps / "analysis", *steps.glob("*/*s1")):
        if folder.parent.name not in before:
            shutil.rmtree(folder)
    url = fill(f"{s3}/run", part, tmp_path / "first")
    began = time.monotonic()
    made = ran(url, tmp_path / "second", only=["*"])
    assert "report" in made
    assert not {name.partition("/")[0] for name in made} & before
    assert not [name for name in made if name.endswith("s2")]
    assert time.monotonic() - began < 240
    there, here = stored(url), local(run_folder)
    results = [name for name in here if "/logs/" not in name and name.startswith("steps/")]
    assert {name: there[name] for name in results} == {name: here[name] for name in results}
    assert len([name for name in there if "/logs/" in name]) == len([name for name in here if "/logs/" in name]) > 0
    with open_run_folder(url, tmp_path / "third", QUICK) as (folder, remote):
        page = report_again(folder, remote=remote)
        assert not list(folder.rglob("*.safetensors")), "a report needs no weights"
    assert page.stat().st_size > 10_000
    assert "report/report.html" in RemoteFolder.at(url).list()


def test_an_index_takes_runs_in_stores_and_in_folders_alike(
    filled: str, rows_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"value": 0.3, "low": 0.1, "high": 0.5, "level": 0.95, "seed_sd": 0.1, "mde": 0.2}
    counted = {"n_asked": 80, "n_scored": 80, "n_items": 40, "n_seeds": 2, "by_seed": ()}
    named = {
        "kind": "contrast",
        "name": "a against b",
        "arm": "a",
        "minus": "b",
        "set": "s",
        "measure": "choice_logprob",
    }
    one = Estimate.model_validate(named | found | counted | {"method": "by hand"})
    report = ReportData(
        title="Two runs",
        question=("Which?",),
        main_set="s",
        main_measure="choice_logprob",
        main_contrasts=(one.name,),
        arms=(),
        panels=(),
        estimates=(),
        contrasts=(ContrastResult(estimate=one, verdict="a is more."),),
    )
    data, here, page = report.model_dump_json().encode(), tmp_path / "here", tmp_path / "index.html"
    RemoteFolder.at(filled).write("report/report_data.json", data)
    shutil.copytree(rows_run, here)
    (here / "report").mkdir()
    (here / "report" / "report_data.json").write_bytes(data)
    before = stored(filled)
    assert main(["report", f"{filled}/", str(here), "--index", str(page)]) == 0
    assert stored(filled) == before
    said = capsys.readouterr().out.splitlines()
    assert said[: len(said) // 2] == said[len(said) // 2 : -1]
    text = page.read_text(encoding="utf-8")
    assert f"<span>{without_secrets(filled)}/report/report.html</span>" in text
    assert re.findall(r'href="([^"]+)"', text) == ["data:,", "index.csv", "here/report/report.html"]
    assert len(set(re.findall(r"[\d.]+ minutes of CPU<", text))) == 1
    with (tmp_path / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [*csv.reader(file)][1:]
    assert {row[0] for row in rows} == {"run", "here"}
    assert [row[1:] for row in rows if row[0] == "run"] == [row[1:] for row in rows if row[0] == "here"]


@pytest.mark.parametrize(
    ("run", "page", "said"),
    [
        ("file://{0}/nothing", "{0}/index.html", "midspec: file://{0}/nothing: there is no report"),
        ("memory://run", "{0}/index.html", "midspec: memory://run: can't keep a run"),
        ("nowhere://run/first", "{0}/index.html", "midspec: nowhere://run/first: there is no kind of URL nowhere://"),
        ("file://{0}/nothing", "s3://runs/index.html", "midspec: --index s3://runs/index.html: is a URL"),
    ],
)
def test_what_no_index_is_made_of_is_refused_in_one_line(
    run: str, page: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", run.format(tmp_path), "--index", page.format(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(said.format(tmp_path))
    assert told.count("\n") == 1
    assert not (tmp_path / "index.html").exists()
