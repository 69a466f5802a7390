"""A model behind a server of the OpenAI protocol: what it says is scored, what it can't give is not assumed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest

from midspec.core.artifact import read_rows
from midspec.core.errors import UnreachableError
from midspec.core.records import Answer, Item, ScoreRow
from midspec.evals import PreferenceConfig, run_preference


class Handler(BaseHTTPRequestHandler):
    """Takes the option named first; is cut off about corso, filtered about enzo, and broken about delta and brio."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        question = body["messages"][-1]["content"]
        if "down" in self.path:
            # The client's own pauses are told, so that the test does not wait them out.
            self.answer(503, {"error": {"message": "gone home"}}, {"retry-after-ms": "10"})
            return
        if "brio" in question and "delta" in question:
            self.answer(400, {"error": {"message": "no such pair", "type": "invalid_request_error"}})
            return
        words = question.split()
        text = words[words.index("or") - 1] if "or" in words else "hm"
        finish = "length" if "corso" in question else "content_filter" if "enzo" in question else "stop"
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        self.answer(
            200,
            {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": "tiny",
                "choices": [choice],
                "usage": usage,
            },
        )

    def answer(self, status: int, body: dict[str, Any], headers: Mapping[str, str] = {}) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        served.daemon_threads = True
        thread = Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}/v1"
        served.shutdown()
        thread.join()


def test_a_served_model_is_scored_on_what_it_says_and_on_nothing_else(
    server: str, items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    built = run_preference(
        "openai-api/loopback/tiny", items, nano, tmp_path, model_args={"base_url": server, "api_key": "none"}
    )
    rows = {(row.item, row.measure): row for row in read_rows(tmp_path / "scores.jsonl", ScoreRow)}
    assert rows["i0", "choice_generated"].value == 0.5
    assert rows["i0", "parsed"].value == 1.0
    for measure in ("choice_logprob", "margin_logprob", "option_mass", "agreement", "order_consistency"):
        assert rows["i0", measure].value is None
        assert "openai-api/loopback/tiny can't score a text" in (rows["i0", measure].unscored or "")
    assert rows["i1", "truncated"].value == 1.0
    assert rows["i2", "refused"].value == 1.0
    assert rows["i2", "choice_generated"].value is None
    assert all(row.value is None and "no such pair" in (row.unscored or "") for key, row in rows.items() if "i3" in key)
    assert built.summary["n_score_rows"] == len(rows) == 11 * 4 + 2 * 2
    stops = {(answer.item, answer.stop_reason) for answer in read_rows(tmp_path / "answers.jsonl", Answer)}
    assert {("i1", "max_tokens"), ("i2", "content_filter")} <= stops


def test_the_sampling_settings_are_sent_as_they_are_configured(
    server: str, items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    config = nano.model_copy(update={"temperature": 0.7, "seed": 11, "system": "be kind ."})
    run_preference(
        "openai-api/loopback/tiny", items[:1], config, tmp_path, model_args={"base_url": server, "api_key": "none"}
    )
    assert len(Handler.asked) == 6
    for body in Handler.asked:
        assert body["temperature"] == 0.7
        assert 8 in (body.get("max_tokens"), body.get("max_completion_tokens"))
        assert body["messages"][0] == {"role": "system", "content": "be kind ."}
    # No two questions are the same draw.
    assert len({body["seed"] for body in Handler.asked}) == 6


def test_switches_of_the_chat_template_are_sent_where_they_are_asked_for_and_only_there(
    server: str, items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    args: dict[str, Any] = {"base_url": server, "api_key": "none"}
    run_preference("openai-api/loopback/tiny", items[:1], nano, tmp_path, model_args=args)
    assert not any("chat_template_kwargs" in body for body in Handler.asked)
    Handler.asked.clear()
    switched = {**args, "template_args": {"enable_thinking": False}}
    run_preference("openai-api/loopback/tiny", items[:1], nano, tmp_path, model_args=switched)
    assert Handler.asked
    assert all(body["chat_template_kwargs"] == {"enable_thinking": False} for body in Handler.asked)


@pytest.mark.slow
def test_a_server_that_is_down_is_asked_a_few_times_and_not_for_ever(
    server: str, items: list[Item], nano: PreferenceConfig, tmp_path: Path
) -> None:
    down = {"base_url": server.replace("/v1", "/down"), "api_key": "none"}
    with pytest.raises(UnreachableError, match=r"gone home\. No question was answered; the same command goes on"):
        run_preference("openai-api/loopback/tiny", items[:1], nano, tmp_path, model_args=down)
    # Three attempts of ours, in each of which the client itself tries three times.
    assert 1 <= len(Handler.asked) <= 9
