"""An exam that was killed asks, when it is started again, for what is missing and for nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
from tests.evals.engine.killed import eval_task, preference
from tests.loopback import Served, Settings, serve
from tests.loopback._asked import Asked
from tests.loopback._settings import Fate

from midspec.core.artifact import read_rows
from midspec.core.records import ScoreRow
from midspec.evals._log_files import remove_unfinished_logs

ROOT = Path(__file__).parents[3]
N_QUESTIONS = 10
N_SAMPLES = 2 * N_QUESTIONS
N_ANSWERED = 7


class Stage:
    """Answers a number of questions and lets the others hang, until it is told to answer all."""

    def __init__(self) -> None:
        self.n_free: float = N_ANSWERED

    def fate(self, asked: Asked) -> Fate:
        if asked.model != "tested":
            return "ok"
        self.n_free -= 1
        return "ok" if self.n_free >= 0 else "hang"

    def say(self, asked: Asked) -> str:
        if asked.model == "judge":
            return "<verdict>yes</verdict>"
        words = asked.prompt.split()
        return words[0] if words[1] == "or" else str(2 * int(words[2]))


def start(what: str, served: Served, folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    words = (sys.executable, "-m", "tests.evals.engine.killed", what, served.openai_url, str(folder), str(N_QUESTIONS))
    return subprocess.Popen(words, cwd=ROOT, env={**os.environ, "HF_HUB_OFFLINE": "1"})


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < until, "it never came so far"
        time.sleep(0.05)


def n_kept(folder: Path) -> int:
    path = folder / "kept.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def draws(served: Served, model: str) -> Counter[tuple[str, int]]:
    """How often each sample was asked for: a question and the seed of its draw."""
    bodies = [entry["body"] for entry in served.last if entry["body"]["model"] == model]
    return Counter((body["messages"][-1]["content"], body.get("seed", 0)) for body in bodies)


@pytest.mark.slow
def test_no_finished_sample_is_generated_or_judged_twice_after_a_kill(tmp_path: Path) -> None:
    stage = Stage()
    with serve(Settings(n_kept=1000), fate=stage.fate, say=stage.say) as served:
        process = start("exam", served, tmp_path / "killed")
        wait_for(lambda: n_kept(tmp_path / "killed") == 2 * N_ANSWERED, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        finished = (tmp_path / "killed" / "kept.jsonl").read_bytes()
        stage.n_free = float("inf")
        eval_task(served.openai_url, tmp_path / "killed", N_QUESTIONS)
        tested, judged = draws(served, "tested"), draws(served, "judge")
        assert len(tested) == N_SAMPLES
        assert sum(count == 1 for count in tested.values()) >= N_ANSWERED
        assert sum(tested.values()) <= N_SAMPLES + 4, "only what was under way is asked again"
        assert sum(judged.values()) == N_SAMPLES
        (tmp_path / "straight").mkdir()
        eval_task(served.openai_url, tmp_path / "straight", N_QUESTIONS)
    assert (tmp_path / "killed" / "kept.jsonl").read_bytes().startswith(finished)
    for name in ("scores.jsonl", "answers.jsonl", "judgements.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    assert all(
        row.value == 1.0
        for row in read_rows(tmp_path / "killed" / "scores.jsonl", ScoreRow)
        if row.measure != "n_thoughts"
    )
    assert len(list((tmp_path / "killed" / "logs").glob("*.eval"))) == 1


@pytest.mark.slow
def test_an_item_whose_questions_were_answered_is_asked_nothing_after_a_kill(tmp_path: Path) -> None:
    stage = Stage()
    stage.n_free = 2 * N_ANSWERED
    folder = tmp_path / "killed"
    with serve(Settings(n_kept=1000), fate=stage.fate, say=stage.say) as served:
        process = start("preference", served, folder)
        # 14 answers to 10 items of two questions each: four items at least are whole.
        wait_for(lambda: n_kept(folder) >= 2 * N_ANSWERED - N_QUESTIONS, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        n_whole = n_kept(folder)
        before = sum(draws(served, "tested").values())
        stage.n_free = float("inf")
        preference(served.openai_url, folder, N_QUESTIONS)
        assert sum(draws(served, "tested").values()) - before == 2 * (N_QUESTIONS - n_whole)
    assert not (folder / "kept.jsonl").exists()
    assert len(list((folder / "logs").glob("*.eval"))) == 1
    rows = list(read_rows(folder / "scores.jsonl", ScoreRow))
    assert {row.value for row in rows if row.measure == "choice_generated"} == {0.5}


def test_logs_that_a_power_cut_left_empty_or_half_do_not_stop_the_run_that_finished_the_work(tmp_path: Path) -> None:
    """Inspect writes its snapshots whole but does not sync them. A whole archive that it can't read is not removed."""
    finished, unknown = tmp_path / "finished.eval", tmp_path / "unknown.eval"
    for name, data in (("finished", b"not opened"), ("empty", b""), ("half", b"PK\x03\x04")):
        (tmp_path / f"{name}.eval").write_bytes(data)
    with ZipFile(unknown, "w") as archive:
        archive.writestr("header.json", '{"version": 99}')
    remove_unfinished_logs(finished)
    assert sorted(tmp_path.iterdir()) == [finished, unknown]
