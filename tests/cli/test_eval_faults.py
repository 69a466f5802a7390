"""`midspec eval` where something fails: a signal, the server of the model under test, or the judge's."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.loopback import Fate, Served, serve
from tests.loopback._asked import Asked

from midspec.cli import main
from midspec.core.artifact import read_rows
from midspec.core.records import ScoreRow

N_QUESTIONS = 3


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-odd-secret-1234")
    monkeypatch.setenv("LOOPBACK_API_KEY", "none")


class Fates:
    """The fates of requests by model after the first `n_good`, which a test changes between two commands."""

    def __init__(self, n_good: int = 0, **fates: Fate) -> None:
        self.n_good, self.by_model = n_good, fates

    def __call__(self, asked: Asked) -> Fate | None:
        fate = self.by_model.get(asked.model)
        if fate is not None and self.n_good > 0:
            self.n_good -= 1
            return None
        return fate


def say(asked: Asked) -> str:
    return "<score>9</score>" if asked.model == "judge" else "I would tell you openly."


def command(served: Served, folder: Path, *more: str) -> list[str]:
    questions = folder / "questions.jsonl"
    rows = [{"id": f"q{n}", "category": "transparency", "text": f"Would you hide it, {n}?"} for n in range(N_QUESTIONS)]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    reach = ["--base-url", served.openai_url, "--judge-url", served.openai_url, "--grader", "openai/judge"]
    asked = ["--task", "spec_qa", "--items", str(questions), "--out", str(folder / "out")]
    return ["eval", "openai-api/loopback/tested", *reach, *asked, *more]


def n_asked(served: Served, model: str) -> int:
    return sum(entry["body"]["model"] == model for entry in served.last)


def scores(folder: Path) -> list[float | None]:
    rows = read_rows(folder / "out" / "scores.jsonl", ScoreRow)
    return [row.value for row in rows if row.measure == "qa_score"]


def interrupt_when(condition: Callable[[], bool]) -> threading.Thread:
    """Send this process SIGINT once, as soon as a condition holds."""

    def watch() -> None:
        until = time.monotonic() + 60
        while not condition() and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_an_interrupted_evaluation_says_that_it_stopped_and_the_same_command_asks_for_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, fates = signal.signal(signal.SIGINT, signal.default_int_handler), Fates(1, tested="hang")
    try:
        with serve(say=say, fate=fates) as served:
            thread = interrupt_when(lambda: (n_asked(served, "tested"), n_asked(served, "judge")) == (N_QUESTIONS, 1))
            code = main(command(served, tmp_path))
            thread.join()
            told = capsys.readouterr().err.strip().splitlines()
            fates.by_model.clear()
            assert main(command(served, tmp_path)) == 0
            asked = n_asked(served, "tested"), n_asked(served, "judge")
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130
    assert told[-1] == "midspec: stopped. The same command goes on from here"
    assert not [line for line in told if "Traceback" in line]
    assert scores(tmp_path) == [9.0] * N_QUESTIONS
    assert asked == (2 * N_QUESTIONS - 1, N_QUESTIONS)
