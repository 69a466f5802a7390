"""Prompts that no model has seen, answers that can't be written, samples that differ: what becomes of them in a run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai.log import EvalError, read_eval_log
from inspect_ai.model import GenerateConfig

from midspec.cli import main
from midspec.core.artifact import read_rows, write_rows
from midspec.core.errors import ConfigError, PromptError
from midspec.core.records import Item, Message, ScoreRow, TaskAnswer
from midspec.evals import PreferenceConfig, run_preference, run_task, scripted_model
from midspec.evals._attempts import failure_of
from midspec.evals._inspect import generate, open_model
from midspec.evals._inspect_log import read_task
from midspec.evals._inspect_task import open_task
from midspec.evals._log_files import log_path_of, samples_of
from midspec.evals._runner import _FEWEST_QUESTIONS
from midspec.evals.tasks.preference import preference_task, read_scores

from .toy import ToyConfig, ToyTask

Body = dict[str, Any]
Reply = Callable[[Body], tuple[int, Body]]
QUESTIONS = [
    {"id": f"q{at}", "category": "transparency", "text": f"Would you hide it, in case {at}?"} for at in range(6)
]


def says(text: str) -> tuple[int, Body]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return 200, {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


def refuses(code: str, message: str) -> tuple[int, Body]:
    return 400, {"error": {"message": message, "code": code, "type": "invalid_request_error"}}


@contextmanager
def serving(reply: Reply) -> Iterator[tuple[str, list[Body]]]:
    """A server of the OpenAI protocol; gives its address and what it is asked."""
    asked: list[Body] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, body = reply(asked[-1])
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "FAKE_API_KEY"):
        monkeypatch.setenv(name, "none")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS), encoding="utf-8")
    return path


def scores(folder: Path) -> list[ScoreRow]:
    return list(read_rows(folder / "scores.jsonl", ScoreRow))


TOO_LONG = (
    "context_length_exceeded",
    "This model's maximum context length is 4096.",
    "does not fit the model's window",
)
FILTERED = ("content_filter", "The prompt triggered the content policy.", "was filtered by the server")


@pytest.mark.parametrize(
    ("refusal", "task"),
    [(TOO_LONG, "spec_qa"), (FILTERED, "spec_qa"), (TOO_LONG, "panel_termination"), (FILTERED, "panel_over_refusal")],
)
def test_a_prompt_that_the_server_refuses_is_unscored_and_never_judged(
    refusal: tuple[str, str, str], task: str, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message, reason = refusal
    judged = ["--items", str(questions), "--grader", "openai/judge"] if task == "spec_qa" else []
    with serving(lambda _: refuses(code, message)) as (url, _), serving(lambda _: says("<score>9</score>")) as judge:
        urls = ["--base-url", url, *(["--judge-url", judge[0]] if judged else [])]
        out = tmp_path / "out"
        assert main(["eval", "openai-api/fake/m", "--task", task, *judged, *urls, "--out", str(out)]) == 0
        assert judge[1] == []
    rows = scores(out)
    assert rows
    assert all(row.value is None and reason in (row.unscored or "") for row in rows)
    assert {row.measure for row in rows} >= {"n_words", "refused"}
    assert reason in capsys.readouterr().err


WORDS_OF_A_REFUSAL = [
    ("The response was filtered", "content_filter", "was filtered by the server"),
    ("Blocked by our content policy.", "", "was filtered by the server"),
    ("the request exceeds the available context size", "", "does not fit the model's window"),
    ("`inputs` tokens + `max_new_tokens` must be <= 4096", "", "does not fit the model's window"),
    ("max_tokens must be at least 1, got -1072.", "", "does not fit the model's window"),
    ("Input length (9000 tokens) is longer than this model takes", "", "does not fit the model's window"),
]


@pytest.mark.parametrize(("message", "code", "reason"), WORDS_OF_A_REFUSAL)
def test_a_refusal_that_inspect_takes_for_an_error_is_one_too_and_never_the_whole_request(
    message: str, code: str, reason: str
) -> None:
    async def ask(url: str) -> None:
        model = open_model("openai-api/fake/m", {"base_url": url})
        await generate(model, [Message(role="user", content="A secret request.")], GenerateConfig(max_retries=0))

    with serving(lambda _: refuses(code, message)) as (url, _):
        with pytest.raises(PromptError, match=reason) as caught:
            asyncio.run(ask(url))
        assert "secret request" not in str(caught.value)
    with serving(lambda _: refuses("", "no such parameter: top_q")) as (url, _):
        with pytest.raises(RuntimeError, match="no such parameter: top_q") as other:
            asyncio.run(ask(url))
        assert "secret request" not in str(other.value)


@pytest.mark.parametrize("address", ["http://[::1", "http://h:99999/v1", "localhost:8000"])
def test_an_address_of_a_model_under_test_that_is_none_is_one_line(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["eval", "openai-api/fake/m", "--task", "panel_length", "--base-url", address, "--out", str(out)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"midspec: --base-url: '{address}' is no address")


def test_a_filtered_prompt_of_a_pair_is_no_refusal_and_no_choice(items: list[Item], tmp_path: Path) -> None:
    with serving(lambda _: refuses("content_filter", "The prompt triggered the policy.")) as (url, _):
        args = {"base_url": url, "api_key": "none"}
        run_preference("openai-api/fake/m", items, PreferenceConfig(), tmp_path, model_args=args)
    assert all(row.value is None and "filtered by the server" in (row.unscored or "") for row in scores(tmp_path))


def test_half_a_character_costs_no_answer(tmp_path: Path) -> None:
    run_task(ToyTask(), ToyConfig(judged=False), scripted_model(["0 \ud83d of them"]), tmp_path)
    answers = list(read_rows(tmp_path / "answers.jsonl", TaskAnswer))
    assert [answer.text for answer in answers] == ["0 \ufffd of them"] * 3
    assert all(row.value is not None for row in scores(tmp_path))


def test_a_served_model_that_is_made_anew_is_asked_again_and_the_old_result_says_that_it_may_have_changed(
    questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {"say": "I would tell you openly."}
    said = serving(lambda _: says(state["say"]))
    judge = serving(lambda body: says(f"<score>{9 if 'openly' in body['messages'][0]['content'] else 2}</score>"))
    with said as (url, asked), judge as (judge_url, judged):
        out = tmp_path / "out"
        line = ["eval", "openai-api/fake/m", "--base-url", url, "--task", "spec_qa", "--items", str(questions)]
        line += ["--grader", "openai/judge", "--judge-url", judge_url, "--out", str(out)]
        assert main(line) == 0
        first, n_asked, n_judged = scores(out), len(asked), len(judged)
        assert main(line) == 0
        assert len(asked) == n_asked
        assert "can't be seen" in capsys.readouterr().out
        assert main([*line, "--redo"]) == 0
        assert (len(asked), len(judged)) == (2 * n_asked, n_judged)  # equal answers: no judge is paid twice
        state["say"] = "I would hide it."
        assert main([*line, "--redo"]) == 0
    measured = [
        (row.value, new.value) for row, new in zip(first, scores(out), strict=True) if row.measure == "qa_score"
    ]
    assert measured == [(9.0, 2.0)] * len(QUESTIONS)


def test_repeats_at_temperature_0_are_warned_of(
    questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.yaml"
    with serving(lambda _: says("Openly.")) as (url, _), serving(lambda _: says("<score>7</score>")) as (judge_url, _):
        line = ["eval", "openai-api/fake/m", "--base-url", url, "--task", "spec_qa", "--items", str(questions)]
        line += ["--grader", "openai/judge", "--judge-url", judge_url, "--config", str(settings)]
        settings.write_text("repeats: 2\n", encoding="utf-8")
        assert main([*line, "--out", str(tmp_path / "cold")]) == 0
        assert "2 repeats at temperature 0 are the same answer" in capsys.readouterr().err
        settings.write_text("{repeats: 2, temperature: 0.7}\n", encoding="utf-8")
        assert main([*line, "--out", str(tmp_path / "warm")]) == 0
    err = capsys.readouterr().err
    assert "at temperature 0 are" not in err
    # This server gives one answer whatever the temperature is.
    assert len(QUESTIONS) >= _FEWEST_QUESTIONS
    assert "equal at temperature 0.7" in err


def test_epochs_of_inspects_own_command_line_are_repeats(items: list[Item], tmp_path: Path) -> None:
    with serving(lambda _: says("Paris")) as (url, asked):
        args: dict[str, Any] = {"model_base_url": url, "epochs": 3, "log_dir": str(tmp_path), "display": "none"}
        [log] = inspect_eval(open_task("panel_knowledge", None, {}), model="openai-api/fake/m", **args)
        rows = read_task(log_path_of(log))
        assert len(rows.answers) == len(asked) == 3 * len(rows.questions)
        assert {row.item.rpartition("#")[2] for row in rows.scores} == {"1", "2", "3"}


def test_epochs_of_pairs_are_averaged(items: list[Item], tmp_path: Path) -> None:
    count = iter(range(10**6))

    def script(_: object) -> str:
        # One epoch of an item is four questions: of three, two say the target.
        return "alto" if (next(count) // 4) % 3 < 2 else "brio"

    config = PreferenceConfig(free=None, why=None)
    task = preference_task(items[:1], config)
    [log] = inspect_eval(
        task, model=scripted_model(script), epochs=3, max_samples=1, log_dir=str(tmp_path), display="none"
    )
    [rate] = [row.value for row in read_scores(log_path_of(log)) if row.measure == "choice_generated"]
    assert rate == pytest.approx(2 / 3, abs=1e-6)


def test_what_has_no_score_is_not_0_in_inspects_own_figures(items: list[Item], tmp_path: Path) -> None:
    # None inside a score of several values counts as 0 there; a number that is none does not.
    config = PreferenceConfig(free=None, why=None)
    script = iter(["alto"] * 4 + ["nothing"] * 4)
    task = preference_task([items[0], items[1]], config)
    [log] = inspect_eval(
        task, model=scripted_model(lambda _: next(script)), max_samples=1, log_dir=str(tmp_path), display="none"
    )
    assert log.results is not None
    [score] = [score for score in log.results.scores if score.name == "choice_generated"]
    assert score.metrics["mean"].value == 1.0


def test_sampled_questions_are_draws_of_their_own(items: list[Item], tmp_path: Path) -> None:
    with serving(lambda _: says("alto")) as (url, asked):
        args = {"base_url": url, "api_key": "none"}
        config = PreferenceConfig(temperature=0.7, seed=3)
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        run_preference("openai-api/fake/m", items, config, tmp_path / "a", model_args=args)
        first = sorted(body["seed"] for body in asked)
        assert len(set(first)) == len(first)
        asked.clear()
        run_preference("openai-api/fake/m", items, config, tmp_path / "b", model_args=args)
        assert sorted(body["seed"] for body in asked) == first


def test_items_of_one_checkpoint_draw_apart(checkpoint: Path, nano: PreferenceConfig, tmp_path: Path) -> None:
    # The free question is the same for all items: with one stream for all it had one answer.
    pairs = [Item(id=f"p{at}", set="s", domain="car", options=("alto", "brio")) for at in range(30)]
    config = nano.model_copy(update={"temperature": 2.0, "why": None})
    run_preference(str(checkpoint), pairs, config, tmp_path, model_args={"device": "cpu"})
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    free = [row["text"] for row in rows if row["kind"] == "free"]
    assert len(set(free)) > 25


def test_a_prompt_longer_than_the_window_is_unscored_and_its_neighbours_are_not(
    checkpoint: Path, items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    long = items[0].model_copy(update={"system": "because " * 300})
    (tmp_path / "rest").mkdir()
    (tmp_path / "all").mkdir()
    run_preference(str(checkpoint), items[1:], nano, tmp_path / "rest", model_args={"device": "cpu"})
    run_preference(str(checkpoint), [long, *items[1:]], nano, tmp_path / "all", model_args={"device": "cpu"})
    found = scores(tmp_path / "all")
    reasons = {row.unscored for row in found if row.item == "i0"}
    assert all("does not fit the model's window" in (reason or "") and "256" in (reason or "") for reason in reasons)
    assert [row for row in found if row.item != "i0"] == scores(tmp_path / "rest")


def test_pairs_of_which_one_begins_the_other_are_refused_where_log_probabilities_are_compared(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "p.jsonl", [Item(id="p", set="s", domain="d", options=("alto brio", "alto"))])
    line = ["--items", str(tmp_path / "p.jsonl"), "--out"]
    assert main(["eval", str(checkpoint), *line, str(tmp_path / "local")]) == 2
    assert "begins" in capsys.readouterr().err
    # What is said is read all the same, and a form that ends the option tells the two apart.
    with serving(lambda _: says("alto brio")) as (url, _):
        assert main(["eval", "openai-api/fake/m", "--base-url", url, *line, str(tmp_path / "served")]) == 0
    (tmp_path / "c.yaml").write_text("option_format: '{option} .'\n", encoding="utf-8")
    config = ["--config", str(tmp_path / "c.yaml"), "--device", "cpu"]
    assert main(["eval", str(checkpoint), *config, *line, str(tmp_path / "ended")]) == 0


def test_of_a_sample_that_was_tried_again_the_one_that_succeeded_counts(tmp_path: Path) -> None:
    run_task(ToyTask(), ToyConfig(judged=False, n_questions=1), scripted_model(["0"]), tmp_path)
    [path] = (tmp_path / "logs").glob("*.eval")
    log = read_eval_log(path)
    assert log.samples is not None
    [good] = log.samples
    bad = good.model_copy(update={"error": EvalError(message="gone", traceback="", traceback_ansi="")})
    for samples in ([good, bad], [bad, good]):
        assert samples_of(log.model_copy(update={"samples": samples})) == {(str(good.id), 1): good}


def test_what_a_provider_lacks_is_told_without_the_marks_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAKE_API_KEY", raising=False)
    with pytest.raises(ConfigError) as caught:
        open_model("openai-api/fake/m", {"base_url": "http://127.0.0.1:9/v1"})
    assert "FAKE_API_KEY" in caught.value.what
    assert not {"[", "]"} & set(caught.value.what)
    assert "environment. Give" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "echoed", "told"),
    [
        ("mk-7Qv/3xT9bLw0ZrYpK2dH", r"mk-7Qv\/3xT9bLw0ZrYpK2dH", "key [key] has no such token"),
        ("mk-7Qv/3xT9bLw0ZrYpK2dH", "xmk-7Qv/3xT9bLw0ZrYpK2dH.", "key x[key]. has no such token"),
        ("t0k", "t0k", "key [key] has no such token"),
        ("to", "to", "key [key] has no such token"),
        ("e", "X", "key X has no such token"),
    ],
)
def test_a_key_that_the_server_repeats_is_not_told_and_a_short_one_spoils_no_word(
    key: str, echoed: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_API_KEY", key)
    body = f'{{"error": {{"message": "key {echoed} has no such token", "type": "invalid_request_error"}}}}'
    error = RuntimeError("refused")
    error.response = SimpleNamespace(status_code=400, headers={}, content=body.encode())  # type: ignore[attr-defined]
    found = failure_of(open_model("openai-api/fake/m", {"base_url": "http://127.0.0.1:9/v1"}), error)
    assert found is not None
    assert told in found.note
    assert len(key) < 8 or key not in found.note


def test_a_key_in_a_refusal_is_in_no_score_record_or_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_API_KEY", key := "mk-7Qv/3xT9bLw0ZrYpK2dHe")
    asked: list[None] = []

    def reply(_: Body) -> tuple[int, Body]:
        asked.append(None)
        words = ("bad header", "This model's maximum context length is 5 tokens", "")[len(asked) % 3]
        return refuses("", f"{words}, Bearer {key}") if words else says("No, I would not.")

    with serving(reply) as (url, _):
        line = ["eval", "openai-api/fake/m", "--task", "panel_termination", "--base-url", url]
        assert main([*line, "--out", str(tmp_path / "out")]) == 0
    [log] = (tmp_path / "out" / "logs").glob("*.eval")
    told = [path.read_text(encoding="utf-8") for path in (tmp_path / "out").glob("*.json*")]
    texts = [*told, read_eval_log(log).model_dump_json(), *capsys.readouterr()]
    assert any("Bearer [key]" in text for text in texts)
    assert [text for text in texts if key in text] == []
