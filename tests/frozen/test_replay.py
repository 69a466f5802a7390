"""What was paid for and trained before the code changed is still good: every fixture of `make.py`, replayed.

Through the command line and files alone. `make.py` says how to read a failure.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import load

from midspec.cli import main

from ..loopback import Served, Settings, serve
from .canary import arithmetic
from .said import said

DATA = Path(__file__).parent / "data"
COMMANDS: dict[str, list[str]] = json.loads((DATA / "commands.json").read_text(encoding="utf-8"))
IDENTITIES: dict[str, Any] = json.loads((DATA / "identities.json").read_text(encoding="utf-8"))
STEPS: dict[str, dict[str, Any]] = IDENTITIES["steps"]
KEY = "sk-frozen-0123456789"
ENVIRONMENT = {
    **dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "LOOPBACK_API_KEY"), KEY),
    "HF_HUB_OFFLINE": "1",
}
NOWHERE = "http://127.0.0.1:9/v1"
PAIRS = "eval-preference"
EXAMS = [name for name in COMMANDS if name.startswith("eval-") and name != PAIRS]
MIDTRAINED = Path("steps", "midtrain", "america+kindness-s2")
N_REPLIES = 8  # of the exam that was killed: two questions, twice each, and what the judge says to each answer
EXAM_DRAFT = ".base-spec_qa-s1.part"
# Pages and Inspect's logs are for people; a log is equal by its rows, which stand beside it.
_FOR_PEOPLE = (".html", ".eval", ".png", ".svg")


def unpacked(name: str, folder: Path) -> Path:
    with tarfile.open(DATA / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands left; nobody changes it."""
    return unpacked("commands", tmp_path_factory.mktemp("commands"))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the study left; nobody changes it."""
    return unpacked("study", tmp_path_factory.mktemp("study"))


@pytest.fixture
def home(commands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the commands left, as the folder in which one works."""
    found = Path(shutil.copytree(commands, tmp_path / "home"))
    monkeypatch.chdir(found)
    return found


@pytest.fixture
def served() -> Iterator[Served]:
    """A provider that would answer, and counts."""
    with serve(Settings(document_words=150, key=KEY), say=said) as found:
        yield found


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    hook, handler = sys.excepthook, signal.getsignal(signal.SIGTERM)
    yield
    sys.excepthook = hook
    signal.signal(signal.SIGTERM, handler)


def placed(words: list[str], home: Path, served: Served) -> list[str]:
    """A frozen command line with this server's addresses and the names of logs in it."""
    places = {"{openai}": served.openai_url, "{anthropic}": served.url}
    logs = [re.fullmatch(r"\{log:(.+)\}", word) for word in words]
    return [
        str(next((home / log[1] / "logs").glob("*.eval")).relative_to(home)) if log else places.get(word, word)
        for word, log in zip(words, logs, strict=True)
    ]


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    return found


def lasting(folder: Path) -> dict[str, Any]:
    """What a record says of what was made, and not of how or by which versions."""
    found = record(folder)
    # An evaluation says in its summary too with which versions it was made.
    said = found["summary"].get("settings", {})
    said.pop("versions", None)
    return {key: found[key] for key in ("identity", "fingerprint", "summary")}


def files(folder: Path) -> dict[str, bytes]:
    """The files of a result, but for those that are for people and its record."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in _FOR_PEOPLE and path.name not in {"record.json", ".lock"}
    }
    plainly = {"kept.jsonl": replies, "adapter_config.json": settings}
    return {name: plainly[name](text) if name in plainly else text for name, text in found.items()}


def settings(adapter: bytes) -> bytes:
    """An adapter's settings without the folder that its base lies in."""
    return json.dumps({**json.loads(adapter), "base_model_name_or_path": None}, sort_keys=True).encode()


def replies(kept: bytes) -> bytes:
    """Kept replies, in whatever order they came; their keys hold when the weights were written."""
    lines = [json.dumps(json.loads(line)["reply"], sort_keys=True) for line in kept.splitlines()]
    return "\n".join(sorted(lines)).encode()


def assert_rows_equal(now: Path, frozen: Path) -> None:
    made, before = files(now), files(frozen)
    assert sorted(made) == sorted(before)
    assert [name for name in before if made[name] != before[name]] == []


def assert_alike(now: Path, frozen: Path) -> None:
    """Assert equal files but for rounding: loss and gradients of small models are computed in another order since."""
    made, before = files(now), files(frozen)
    assert sorted(made) == sorted(before)
    for name, content in before.items():
        if name.endswith(".safetensors"):
            weights = load(made[name])
            for key, weight in load(content).items():
                np.testing.assert_allclose(weights[key], weight, rtol=0, atol=1e-5, err_msg=key)
        elif name.endswith(".jsonl"):
            assert_near(*([json.loads(line) for line in text.splitlines()] for text in (made[name], content)))
        else:
            assert made[name] == content, name


def assert_near(now: Any, before: Any) -> None:
    """Assert equal values, numbers to 1e-5; the tiny study's scores differ by 2e-6, its norms by 5e-7 of themselves."""
    if isinstance(before, float):
        assert now == pytest.approx(before, rel=1e-5, abs=1e-5)
    elif isinstance(before, dict):
        assert list(now) == list(before)
        for key, value in before.items():
            assert_near(now[key], value)
    elif isinstance(before, list):
        assert len(now) == len(before)
        for one, value in zip(now, before, strict=True):
            assert_near(one, value)
    else:
        assert now == before


def attempts(store: Path) -> int | None:
    """How many requests a store says were sent, or begun to be sent."""
    if not store.is_file():
        return None
    with closing(sqlite3.connect(store)) as db:
        [(n,)] = db.execute("SELECT count(*) FROM attempts").fetchall()
    return int(n)


# Single commands ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_a_finished_result_is_still_the_result_of_its_command(name: str, home: Path, served: Served) -> None:
    before = (home / name / "record.json").read_bytes()
    assert record(home / name)["identity"] == STEPS[f"commands/{name}"]["identity"]
    assert main(placed(COMMANDS[name], home, served)) == 0
    assert (home / name / "record.json").read_bytes() == before
    assert served.log == []


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in {*EXAMS, PAIRS}])
def test_a_result_that_was_removed_is_made_again_from_the_replies_that_were_paid_for(
    name: str, home: Path, commands: Path, served: Served
) -> None:
    words, store = placed(COMMANDS[name], home, served), home / f"{name}.calls.sqlite"
    paid = attempts(store)
    shutil.rmtree(home / name)
    assert main(words) == 0
    assert served.log == [], "requests were sent: their identity moved"
    assert attempts(store) == paid
    assert lasting(home / name) == lasting(commands / name)
    assert_rows_equal(home / name, commands / name)


@pytest.mark.parametrize("name", EXAMS)
def test_an_evaluation_that_is_made_anew_asks_the_served_model_again_and_pays_no_judge_twice(
    name: str, home: Path, commands: Path, served: Served
) -> None:
    store = home / f"{name}.calls.sqlite"
    paid = attempts(store)
    assert main([*placed(COMMANDS[name], home, served), "--redo"]) == 0
    # What is behind a served name can't be seen; the same answers come to the same stored verdicts.
    assert {entry["body"]["model"] for entry in served.last} == {"tested"}
    assert attempts(store) == paid
    assert lasting(home / name) == lasting(commands / name)
    assert_rows_equal(home / name, commands / name)


def test_pairs_are_asked_in_the_same_words_and_the_same_replies_give_the_same_rows(
    home: Path, commands: Path, served: Served
) -> None:
    shutil.rmtree(home / PAIRS)
    assert main(placed(COMMANDS[PAIRS], home, served)) == 0
    assert lasting(home / PAIRS) == lasting(commands / PAIRS)
    assert_rows_equal(home / PAIRS, commands / PAIRS)


# The study ------------------------------------------------------------------------------------------------------------


def ran(home: Path, run: str) -> None:
    """Run the study in a process of its own, from the folder it lies in."""
    words = [sys.executable, "-m", "midspec", "run", "study.yaml", "--out", run, "--workers", "1"]
    done = subprocess.run(words, cwd=home, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def states(home: Path, run: str, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What the plan says of each step."""
    capsys.readouterr()
    assert main(["plan", str(home / "study.yaml"), "--out", str(home / run), "--json"]) == 0
    return {step["name"]: step["state"] for step in json.loads(capsys.readouterr().out)["steps"]}


def records(run: Path) -> dict[str, tuple[bytes, int]]:
    """The record of each step that is done, and when it was written."""
    paths = [path for path in run.rglob("record.json") if ".part" not in str(path.relative_to(run))]
    return {str(path.parent.relative_to(run)): (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(paths)}


REMADE = {"analysis": "stale", "report": "waiting"}
# Of an estimate, what version 2 of the analysis says otherwise of rates near 0 and 1.
NEW_FIELDS = {"low", "high", "method", "note"}


def estimates(run: Path) -> list[dict[str, Any]]:
    """Rates without the ends of their intervals; contrasts whole."""
    folder = run / "steps" / "analysis"
    rates = [json.loads(line) for line in (folder / "estimates.jsonl").read_text(encoding="utf-8").splitlines()]
    rest = [json.loads(line) for line in (folder / "contrasts.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in rate.items() if key not in NEW_FIELDS} for rate in rates] + rest


def kind_of(name: str) -> str:
    return name.removeprefix("steps/").partition("/")[0]


class Resumed(NamedTuple):
    """A run that was gone on with: its records before and after, which models were asked, and how many attempts."""

    home: Path
    before: dict[str, tuple[bytes, int]]
    after: dict[str, tuple[bytes, int]]
    asked: list[str]
    more: int


@pytest.fixture
def studied(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the study left, to be gone on with."""
    found = Path(shutil.copytree(study, tmp_path / "study"))
    for path in (*found.rglob("run.json"), *found.rglob("adapter_config.json")):  # the two files that hold a path
        path.write_text(path.read_text(encoding="utf-8").replace("/frozen/study", str(found)), encoding="utf-8")
    monkeypatch.chdir(found)
    return found


def test_a_finished_study_is_planned_as_done_and_run_without_making_anything_but_its_analysis(
    studied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = states(studied, "finished", capsys)
    # Version 2 of the analysis has other ends near 0 and 1; it and the report take seconds and ask nobody.
    assert {name: state for name, state in planned.items() if state != "done"} == REMADE
    assert {kind_of(name) for name in planned} == {
        *("spec", "world", "corpus", "chats", "curate", "pretrain", "pairs", "gate", "midtrain", "finetune", "eval"),
        *("exam", "analysis", "report"),
    }
    before = records(studied / "finished")
    assert len(before) == len(planned)
    rates = estimates(studied / "finished")
    ran(studied, "finished")
    after = records(studied / "finished")
    anew = {"steps/analysis", "report"}
    assert {name for name in after if after[name] != before[name]} == anew
    for name, (content, _) in after.items():
        if name not in anew:
            assert json.loads(content)["identity"] == STEPS[f"study/finished/{name}"]["identity"]
    assert estimates(studied / "finished") == rates
    ran(studied, "finished")
    assert records(studied / "finished") == after


@pytest.mark.slow
def test_the_report_of_a_finished_study_is_written_anew_from_the_same_steps(
    studied: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = records(studied / "finished")
    assert main(["report", str(studied / "finished")]) == 0
    after = records(studied / "finished")
    assert {name for name in before if after[name] != before[name]} == {"steps/analysis", "report"}
    assert estimates(studied / "finished") == estimates(study / "finished")


@pytest.fixture(scope="module")
def resumed(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    """The study that was killed, gone on with to its end, once for all the processes that run tests."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "frozen-resumed"
    place.mkdir(exist_ok=True)
    told = place / "told.json"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.is_file():
            told.write_text(json.dumps(gone_on(study, place / "study")), encoding="utf-8")
    found = json.loads(told.read_text(encoding="utf-8"))
    home = place / "study"
    return Resumed(home, records(study / "half"), records(home / "half"), found["asked"], found["more"])


def gone_on(study: Path, home: Path) -> dict[str, Any]:
    """Go on with a copy of the study that was killed; gives which models were asked, and how many attempts it took."""
    path, store = home / "study.yaml", home / "half" / "calls.sqlite"
    shutil.copytree(study, home)
    with serve(Settings(document_words=150, key=KEY, n_kept=1000), say=said) as served:
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(NOWHERE, served.openai_url), encoding="utf-8")
        paid = attempts(store) or 0
        ran(home, "half")
        asked = [str(entry["body"]["model"]) for entry in served.last]
    return {"asked": asked, "more": (attempts(store) or 0) - paid}


def test_what_a_killed_study_left_is_nothing_that_has_changed(
    studied: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = records(studied / "half")
    assert 0 < len(done) < len(records(study / "finished"))
    assert list((studied / "half").glob("steps/midtrain/.*.part/.checkpoints/checkpoint-*"))
    planned = states(studied, "half", capsys)
    assert "stale" not in planned.values()
    assert list(planned.values()).count("done") == len(done)


@pytest.mark.slow
def test_a_study_that_was_killed_goes_on_to_its_end_and_does_nothing_twice(
    resumed: Resumed, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, straight = resumed.home / "half", study / "finished"
    kept = {name: resumed.after.get(name) for name in resumed.before}
    assert kept == resumed.before, "a step that was done was made again"
    assert set(resumed.after) == set(records(straight))
    assert set(states(resumed.home, "half", capsys).values()) == {"done"}
    # The judge is asked for what it had not answered, each thing once; nobody else is asked at all.
    assert set(resumed.asked) <= {"judge"}
    assert resumed.more == len(resumed.asked)
    draft = (study / "half" / "steps" / "exam" / EXAM_DRAFT / "kept.jsonl").read_bytes()
    now = (run / "steps" / "exam" / "base-spec_qa-s1" / "kept.jsonl").read_bytes()
    assert now.startswith(draft[: draft.rindex(b"\n") + 1])
    assert len(now.splitlines()) == N_REPLIES, "what was answered was asked again: its key moved"
    trained = json.loads((run / MIDTRAINED / "record.json").read_text(encoding="utf-8"))
    assert trained["execution"]["n_attempts"] > 1, "a training that was half-way began anew"


@pytest.mark.slow
def test_what_no_training_touches_comes_out_byte_for_byte(resumed: Resumed, study: Path) -> None:
    run, straight = resumed.home / "half", study / "finished"
    for name in resumed.after:
        now, frozen = lasting(run / name), lasting(straight / name)
        if kind_of(name) in {"spec", "world", "corpus", "chats", "curate", "pairs"}:
            assert_rows_equal(run / name, straight / name)
            assert now["identity"] == frozen["identity"]
        elif kind_of(name) != "report":  # its identity holds the study's text, and so the server's address
            assert now["identity"]["config"] == frozen["identity"]["config"]
            assert set(now["identity"]["inputs"]) == set(frozen["identity"]["inputs"])


@pytest.mark.slow
def test_where_numbers_are_rounded_as_they_were_weights_scores_and_estimates_come_out_the_same_but_for_rounding(
    resumed: Resumed, study: Path
) -> None:
    if arithmetic() != IDENTITIES["arithmetic"]:
        pytest.skip("this CPU or this torch rounds otherwise than where the fixtures were made")
    run, straight = resumed.home / "half", study / "finished"
    for name in resumed.after:
        if kind_of(name) not in {"analysis", "report"}:
            assert_alike(run / name, straight / name)
    assert_near(estimates(run), estimates(straight))


# The fixtures themselves ----------------------------------------------------------------------------------------------


def test_no_fixture_holds_a_key_or_a_path_of_the_machine_that_made_it(commands: Path, study: Path) -> None:
    paths = [path for folder in (commands, study) for path in folder.rglob("*") if path.is_file()]
    secret = re.compile(rb"sk-frozen|/(?:home|root|tmp|Users|work)\b")
    assert len(paths) > 300
    assert [path.name for path in paths if path.suffix != ".eval" and secret.search(path.read_bytes())] == []


def test_every_command_of_the_fixtures_is_one_that_users_are_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert [words[0] for words in COMMANDS.values() if not re.search(rf"\b{words[0]}\b", told)] == []
