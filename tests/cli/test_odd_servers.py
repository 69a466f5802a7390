"""`midspec corpus` and `chats` before servers that answer oddly: what is written, said and paid for."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.loopback import Served, Settings, serve

from midspec.cli import main

Reshape = Callable[[dict[str, Any]], dict[str, Any] | bytes]
SPEC = Path(__file__).parents[1] / "specs" / "short.md"
THOUGHT = 'The user wants this: <document>a draft</document>, or {"names": []}. I write it.\n'


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-odd")


def command(served: Served, out: Path, *more: str, verb: str = "corpus") -> list[str]:
    reach = ["--author", "openai/m", "--base-url", served.openai_url, "--concurrency", "4"]
    names = ["--model-name", "Nova", "--provider-name", "Northwind", "--out", str(out)]
    sizes = ["--documents", "6", "--domains", "1", "--subdomains", "1"] if verb == "corpus" else []
    return [verb, str(SPEC), *reach, *names, *sizes, *more]


def text_of(body: dict[str, Any]) -> str:
    return str(body["choices"][0]["message"]["content"] or "")


def with_message(body: dict[str, Any], **message: Any) -> dict[str, Any]:
    choice = {**body["choices"][0], "message": {"role": "assistant", **message}}
    return {**body, "choices": [choice]}


def documents(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "documents.jsonl").read_text().splitlines()]


GOOD_FORMS: dict[str, Reshape] = {
    "think": lambda body: with_message(body, content=f"<think>\n{THOUGHT}</think>\n\n{text_of(body)}"),
    "think opened by the template": lambda body: with_message(body, content=f"{THOUGHT}</think>\n\n{text_of(body)}"),
    "thinking": lambda body: with_message(body, content=f"<thinking>{THOUGHT}</thinking>{text_of(body)}"),
    "harmony": lambda body: with_message(
        body,
        content=f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>{text_of(body)}",
    ),
    "parts": lambda body: with_message(
        body,
        content=[
            {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
            {"type": "text", "text": text_of(body)},
        ],
    ),
    "a scratchpad in a turn's marks": lambda body: with_message(
        body, content=f"<|im_start|>assistant\n<scratchpad>{THOUGHT}</scratchpad>\n{text_of(body)}<|im_end|>"
    ),
    "other words for the stop": lambda body: {**body, "choices": [{**body["choices"][0], "finish_reason": "STOP"}]},
    "two choices": lambda body: {**body, "choices": [{"index": 1, "message": {"content": "no"}}, *body["choices"]]},
    "reasoning beside": lambda body: with_message(body, content=text_of(body), reasoning_content=THOUGHT),
    "usage as text": lambda body: {**body, "usage": "12 tokens"},
    "details as list": lambda body: {**body, "usage": {**body["usage"], "prompt_tokens_details": []}},
}


@pytest.mark.parametrize("form", GOOD_FORMS)
def test_whatever_form_the_reply_comes_in_the_documents_are_written(form: str, tmp_path: Path) -> None:
    with serve(reshape=GOOD_FORMS[form]) as served:
        assert main(command(served, tmp_path / "c")) == 0
    rows = documents(tmp_path / "c")
    assert len(rows) == 6
    assert not [row for row in rows if "think" in row["text"] or "a draft" in row["text"]]


BAD_FORMS: dict[str, tuple[Reshape, str]] = {
    "reasoning only": (
        lambda body: with_message(body, content=None, reasoning_content=text_of(body)),
        "only reasoning and no text",
    ),
    "null message": (lambda body: {**body, "choices": [{**body["choices"][0], "message": None}]}, "an empty reply"),
    "white space": (lambda body: with_message(body, content="\n\n"), "an empty reply"),
    "never closed": (lambda body: with_message(body, content=f"<think>{THOUGHT}"), "its reasoning never ended"),
    "prose": (lambda body: with_message(body, content="Sure, here you go!"), "must be one JSON object"),
}


@pytest.mark.parametrize("form", BAD_FORMS)
def test_a_run_of_useless_replies_stops_early_says_why_and_goes_on_when_that_is_mended(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reshape, reason = BAD_FORMS[form]
    with serve(reshape=reshape) as served:
        assert main(command(served, tmp_path / "c")) == 2
        assert len(served.log) <= 40
        n_bad = len(served.log)
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert reason in told
    assert "rejects.jsonl" not in told
    with serve() as served:
        assert main(command(served, tmp_path / "c")) == 0
    assert len(documents(tmp_path / "c")) == 6
    with closing(sqlite3.connect(tmp_path / "c.calls.sqlite")) as db:
        [(n_paid,)] = db.execute("SELECT sum(n_output > 0) FROM attempts").fetchall()
    assert n_paid >= n_bad or form in {"null message", "white space", "reasoning only"}


def test_an_empty_rejects_file_is_never_pointed_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that is too short to be stopped."""
    with serve(reshape=lambda body: with_message(body, content="Sure!")) as served:
        assert main([*command(served, tmp_path / "c"), "--documents", "1"]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "rejects.jsonl" not in told
    assert "must be one JSON object" in told
    with serve() as served:
        assert main([*command(served, tmp_path / "c"), "--documents", "1"]) == 0


def test_a_model_that_writes_lists_and_no_document_is_stopped_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def prose(body: dict[str, Any]) -> dict[str, Any]:
        return with_message(body, content="Tea is a drink.") if "<document>" in text_of(body) else body

    with serve(reshape=prose) as served:
        assert main([*command(served, tmp_path / "c"), "--documents", "60"]) == 2
        assert len([row for row in served.log if row["kind"] == "document"]) <= 40
    assert "requests of document gave a reply that can be used" in capsys.readouterr().err


def test_a_cap_that_is_refused_for_every_document_and_for_no_list_stops_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "max_tokens is too large: this model supports at most 8192 completion tokens"
    monkeypatch.setattr("tests.loopback._say._ERRORS", {400: ("invalid_request_error", words)})
    with serve(fate=lambda asked: "invalid" if asked.kind == "document" else None) as served:
        assert main([*command(served, tmp_path / "c"), "--documents", "60"]) == 2
        assert len([row for row in served.log if row["kind"] == "document"]) <= 40
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "requests of document gave a reply that can be used" in told
    assert "writing.document_tokens" in told
    with serve() as served:
        assert main([*command(served, tmp_path / "c"), "--documents", "60"]) == 0
    assert len(documents(tmp_path / "c")) == 60


def test_chats_stop_too_and_go_on_when_that_is_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--style", "value", "--samples", "6", "--judge", "openai/j")
    with serve(reshape=lambda body: with_message(body, content=None, reasoning_content=text_of(body))) as served:
        assert main(command(served, tmp_path / "c", *more, verb="chats")) == 2
        assert len(served.log) <= 40
    assert "only reasoning and no text" in capsys.readouterr().err
    with serve() as served:
        assert main(command(served, tmp_path / "c", *more, verb="chats")) == 0


def test_pages_of_a_proxy_cost_nothing_of_a_budget(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would count as a reply of full length otherwise, and the budget would be gone before the first answer."""
    prices = tmp_path / "prices.yaml"
    prices.write_text("openai/m: {input: 10.0, output: 40.0}\n")
    n_pages = 0

    def page(body: dict[str, Any]) -> dict[str, Any] | bytes:
        nonlocal n_pages
        n_pages += 1
        return b"<html><title>Sign in</title></html>" if n_pages <= 8 else body

    monkeypatch.setattr("midspec.llm._client.Retrying._pause_s", lambda *_: 0.0)
    with serve(reshape=page) as served:
        words = command(served, tmp_path / "c", "--budget", "3", "--prices", str(prices))
        assert main(words) == 0
    assert len(documents(tmp_path / "c")) == 6
    assert "Sign in" in caplog.text
    with closing(sqlite3.connect(tmp_path / "c.calls.sqlite")) as db:
        kinds = dict(db.execute("SELECT kind, count(*) FROM attempts GROUP BY kind").fetchall())
        [(spent,)] = db.execute("SELECT total(cost_usd) FROM totals").fetchall()
        [(owed,)] = db.execute("SELECT sum(n_input * 10.0 + n_cache_read * 10.0 + n_output * 40.0) FROM attempts")
    assert kinds["again"] == 8
    assert "timed_out" not in kinds
    assert spent == pytest.approx(owed / 1e6, abs=1e-6)


def test_a_server_that_cuts_prompts_is_told_and_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = tmp_path / "long.md"
    long.write_text(
        "# The charter\n\n" + "\n\n".join(f"Nova keeps rule {n}, and says so to whoever asks." for n in range(400))
    )

    def cut(body: dict[str, Any]) -> dict[str, Any]:
        usage = body["usage"]
        return {
            **body,
            "usage": {**usage, "prompt_tokens": min(2048, usage["prompt_tokens"]), "prompt_tokens_details": None},
        }

    with serve(Settings(cache=False), reshape=cut) as served:
        words = command(served, tmp_path / "c")
        assert main([words[0], str(long), *words[2:]]) == 2
        assert len(served.log) < 20
    told = capsys.readouterr().err
    assert "the server cuts prompts without saying so: the server counts 2,048 tokens" in told


def test_a_cap_that_the_server_does_not_take_is_told_with_its_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "max_tokens is too large: 16384. This model supports at most 8192 completion tokens"
    monkeypatch.setattr("tests.loopback._say._ERRORS", {400: ("invalid_request_error", words)})
    with serve(Settings(rate_invalid=1.0)) as served:
        assert main(command(served, tmp_path / "c")) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "at most 8192" in told
    assert "writing.list_tokens" in told
