"""`midspec eval` where something fails: a signal, the server of the model under test, or the judge's."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.loopback import Fate, Served, serve
from tests.loopback._asked import Asked

from midspec.cli import main
from midspec.core.artifact import draft_of, read_rows
from midspec.core.records import ScoreRow

Reshape = Callable[[dict[str, Any]], dict[str, Any] | bytes]
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


def test_an_interrupted_evaluation_of_pairs_asks_no_answered_pair_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs, out, names = tmp_path / "pairs.jsonl", tmp_path / "out", ("corso", "delta", "enzo")
    rows = [{"id": name, "set": "s", "domain": "d", "options": [name, "brio"]} for name in names]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    hanging = {"delta", "enzo"}

    def fate(asked: Asked) -> Fate | None:
        return "hang" if any(name in asked.prompt for name in hanging) else None

    def n_of(served: Served, name: str) -> int:
        return sum(name in json.dumps(entry["body"]) for entry in served.last)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with serve(say=lambda asked: next(name for name in names if name in asked.prompt), fate=fate) as served:
            asked = ["eval", "openai-api/loopback/tested", "--base-url", served.openai_url]
            asked += ["--items", str(pairs), "--out", str(out)]
            kept = draft_of(out) / "kept.jsonl"
            thread = interrupt_when(lambda: kept.is_file() and kept.stat().st_size > 0)
            code = main(asked)
            thread.join()
            told, n_of_answered = capsys.readouterr().err.strip().splitlines(), n_of(served, "corso")
            hanging.clear()
            assert main(asked) == 0
            assert n_of(served, "corso") == n_of_answered > 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, told[-1]) == (130, "midspec: stopped. The same command goes on from here")
    assert [row.value for row in read_rows(out / "scores.jsonl", ScoreRow) if row.measure == "parsed"] == [1.0] * 3


def test_pairs_that_a_server_left_out_are_asked_for_by_the_same_command_and_no_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs, out, names = tmp_path / "pairs.jsonl", tmp_path / "out", ("corso", "delta", "enzo")
    rows = [{"id": name, "set": "s", "domain": "d", "options": [name, "brio"]} for name in names]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    failing = {"delta"}

    def fate(asked: Asked) -> Fate | None:
        return "500" if any(name in asked.prompt for name in failing) else None

    def n_of(served: Served, name: str) -> int:
        return sum(name in json.dumps(entry["body"]) for entry in served.last)

    with serve(say=lambda asked: next(name for name in names if name in asked.prompt), fate=fate) as served:
        asked = ["eval", "openai-api/loopback/tested", "--base-url", served.openai_url]
        asked += ["--items", str(pairs), "--out", str(out)]
        assert main(asked) == 0
        told, n_of_answered = capsys.readouterr().err.strip().splitlines(), n_of(served, "corso")
        failing.clear()
        assert main(asked) == 0
        assert main(asked) == 0
        assert n_of(served, "corso") == n_of_answered > 0
    assert told[-1] == "warning: what came is stored; the same command asks for what is missing"
    found = [row.value for row in read_rows(out / "scores.jsonl", ScoreRow) if row.measure == "choice_generated"]
    assert found == [1.0, 1.0, 1.0]
    assert not (out / "kept.jsonl").exists()


def with_choice(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**body, "choices": [{**body["choices"][0], **changes}]}


ODD: dict[str, tuple[Reshape, str]] = {
    "a page": (
        lambda _: b"<html><title>Sign in</title></html>",
        "the reply is not JSON, and of no model: Sign in",
    ),
    "no message": (lambda body: with_choice(body, message=None), "an empty reply"),
    "broken off": (
        lambda body: with_choice(body, finish_reason="error", error={"code": 502, "message": "upstream"}),
        'the model broke off: {"code": 502, "message": "upstream"}',
    ),
    "an error in words": (lambda _: {"error": "upstream"}, "status 200 with an error: upstream"),
}


@pytest.mark.parametrize("form", ODD)
def test_replies_that_are_none_are_told_in_the_words_of_an_author_and_asked_for_again(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reshape, words = ODD[form]
    with serve(say=say, reshape=reshape) as served:
        assert main(command(served, tmp_path)) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"the server gave no answer: {words}. No question was answered; the same command goes on from here" in told
    with serve(say=say) as served:
        assert main(command(served, tmp_path)) == 0
        assert n_asked(served, "tested") == N_QUESTIONS
    assert scores(tmp_path) == [9.0] * N_QUESTIONS
    assert len(list((tmp_path / "out" / "logs").glob("*.eval"))) == 1


READABLE: dict[str, Reshape] = {
    "typed parts": lambda body: with_choice(
        body, message={"role": "assistant", "content": [{"type": "text", "text": "I would tell you openly."}]}
    ),
    "a usage of nulls": lambda body: {**body, "usage": dict.fromkeys(body["usage"])},
}


@pytest.mark.parametrize("form", READABLE)
def test_replies_that_an_author_may_give_are_answers_in_an_evaluation_too(form: str, tmp_path: Path) -> None:
    with serve(say=say, reshape=lambda body: READABLE[form](body) if body["model"] == "tested" else body) as served:
        assert main(command(served, tmp_path)) == 0
        assert n_asked(served, "tested") == N_QUESTIONS
    assert scores(tmp_path) == [9.0] * N_QUESTIONS


def test_a_server_that_refuses_every_question_ends_the_evaluation_with_its_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(say=say, fate=Fates(tested="invalid")) as served:
        assert main(command(served, tmp_path)) == 2
        assert n_asked(served, "tested") == N_QUESTIONS
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "every item failed: Error code: 400 - the request can't be taken. No item could be asked" in told


@pytest.mark.parametrize("redo", [(), ("--redo",)])
def test_a_server_that_breaks_down_is_told_of_and_what_it_left_out_is_asked_for_later(
    redo: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fates = Fates(1, tested="500")
    with serve(say=say, fate=fates) as served:
        assert main(command(served, tmp_path)) == 0
        told = capsys.readouterr().err.strip().splitlines()
        assert scores(tmp_path).count(None) == N_QUESTIONS - 1
        fates.by_model.clear()
        n_before = n_asked(served, "tested")
        assert main(command(served, tmp_path, *redo)) == 0
        assert n_asked(served, "tested") - n_before == N_QUESTIONS - 1
        assert n_asked(served, "judge") == N_QUESTIONS
    assert any("scores are missing: the server gave no answer: 500: " in line for line in told)
    assert told[-1] == "warning: what came is stored; the same command asks for what is missing"
    assert any("model under test openai-api/loopback/tested: nothing answered since" in line for line in told)
    assert scores(tmp_path) == [9.0] * N_QUESTIONS


@pytest.mark.parametrize(
    ("fate", "words"),
    [("no_credit", "the account has no credit left"), ("no_model", "knows no such model or address (404")],
)
def test_where_nothing_could_be_judged_the_same_command_asks_only_the_judge(
    fate: Fate, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fates = Fates(judge=fate)
    with serve(say=say, fate=fates) as served:
        assert main(command(served, tmp_path)) == 2
        told = capsys.readouterr().err.strip().splitlines()[-1]
        assert n_asked(served, "tested") == N_QUESTIONS
        fates.by_model.clear()
        assert main(command(served, tmp_path)) == 0
        assert n_asked(served, "tested") == N_QUESTIONS
    assert told.startswith("midspec: the judge could not be asked: openai/judge: ")
    assert words in told
    assert told.endswith("The answers are kept: the same command asks only for judgements")
    assert scores(tmp_path) == [9.0] * N_QUESTIONS


def test_judgements_that_an_account_cost_are_counted_and_asked_for_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fates = Fates(1, judge="no_credit")
    with serve(say=say, fate=fates) as served:
        assert main(command(served, tmp_path)) == 0
        told = capsys.readouterr().err.strip().splitlines()
        fates.by_model.clear()
        assert main(command(served, tmp_path, "--redo")) == 0
        assert n_asked(served, "tested") == N_QUESTIONS
    assert any(
        line.startswith("warning: 2 of 3 judgements are missing: the judge could not be asked: openai/judge: ")
        for line in told
    )
    assert scores(tmp_path) == [9.0] * N_QUESTIONS


def test_a_judge_whose_server_is_down_is_told_of_while_it_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fates = Fates(judge="500")
    with serve(say=say, fate=fates) as served:

        def mend() -> None:
            while n_asked(served, "judge") < N_QUESTIONS:
                time.sleep(0.02)
            time.sleep(6)
            fates.by_model.clear()

        thread = threading.Thread(target=mend, daemon=True)
        thread.start()
        assert main(command(served, tmp_path)) == 0
        thread.join()
    told = capsys.readouterr().err.splitlines()
    assert any(line.startswith("judge openai/judge: nothing answered since ") and "500: " in line for line in told)
    assert any(line.startswith("judge openai/judge: answers again, after ") for line in told)
    assert scores(tmp_path) == [9.0] * N_QUESTIONS
