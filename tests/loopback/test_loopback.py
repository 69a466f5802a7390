"""The provider itself, against the official clients as the outside truth."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from . import Served, Settings, serve

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["domains", "verdict", "note"],
    "properties": {
        "domains": {"type": "array", "items": {"$ref": "#/$defs/Domain"}},
        "verdict": {"enum": ["pass", "fail", "unclear"]},
        "note": {"anyOf": [{"type": "string", "maxLength": 30}, {"type": "null"}]},
    },
    "$defs": {
        "Domain": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "clauses"],
            "properties": {
                "name": {"type": "string"},
                "clauses": {
                    "type": "array",
                    "minItems": 2,
                    "maxItems": 4,
                    "items": {"type": "integer", "minimum": 3, "maximum": 9},
                },
            },
        }
    },
}
LIST = "Think first. Not exactly 2.\nGive exactly 7 domains."
DOCUMENT = "Write it.\n<plan>...</plan>\n<document>...</document>\n<verdict>keep|reject|hold</verdict>"
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}


@pytest.fixture
def served() -> Iterator[Served]:
    with serve() as running:
        yield running


def openai_client(served: Served, **more: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=served.openai_url, api_key="none", max_retries=0, **more)


def anthropic_client(served: Served, **more: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=served.url, api_key="none", max_retries=0, **more)


def ask_openai(served: Served, text: str, **more: Any) -> Any:
    with openai_client(served) as client:
        return client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}], **more)


def ask_anthropic(served: Served, content: Any, **more: Any) -> Any:
    with anthropic_client(served) as client:
        messages: Any = [{"role": "user", "content": content}]
        return client.messages.create(model="m", max_tokens=more.pop("max_tokens", 4000), messages=messages, **more)


def test_a_schema_is_filled_with_as_many_unique_entries_as_the_prompt_says(served: Served) -> None:
    reply = ask_openai(served, LIST, response_format=FORMAT)
    made = json.loads(reply.choices[0].message.content)
    assert set(made) == {"domains", "verdict", "note"}
    assert len({entry["name"] for entry in made["domains"]}) == 7
    assert all(len(set(entry["clauses"])) == len(entry["clauses"]) == 2 for entry in made["domains"])
    assert all(3 <= number <= 9 for entry in made["domains"] for number in entry["clauses"])
    assert made["verdict"] == "pass"
    assert 0 < len(made["note"]) <= 30
    assert reply.choices[0].finish_reason == "stop"


def test_both_protocols_fill_the_tags_that_end_a_prompt(served: Served) -> None:
    texts = [
        ask_openai(served, DOCUMENT).choices[0].message.content,
        ask_anthropic(served, DOCUMENT).content[0].text,
    ]
    for text in texts:
        assert text.count("<plan>") == text.count("</plan>") == text.count("</document>") == 1
        assert "<verdict>keep</verdict>" in text
        assert 350 < len(text.split()) < 500
    schema = {"format": {"type": "json_schema", "schema": SCHEMA}}
    made = json.loads(ask_anthropic(served, LIST, output_config=schema).content[0].text)
    assert len(made["domains"]) == 7


def test_the_same_questions_get_the_same_replies_and_another_draw_another(served: Served) -> None:
    first, second = (ask_openai(served, DOCUMENT).choices[0].message.content for _ in range(2))
    assert first != second
    with serve() as other:
        assert ask_openai(other, DOCUMENT).choices[0].message.content == first


def test_a_prefix_is_read_from_the_cache_once_an_answer_of_it_is_complete(served: Served) -> None:
    prefix = "The spec says this. " * 500
    usages = [ask_openai(served, prefix + f"Task {n}").usage for n in range(2)]
    assert [usage.prompt_tokens_details.cached_tokens for usage in usages] == [0, 2432]
    marked = [{"type": "text", "text": prefix, "cache_control": {"type": "ephemeral"}}]
    two = [ask_anthropic(served, [*marked, {"type": "text", "text": f"Task {n}"}]).usage for n in range(2)]
    assert [(usage.cache_creation_input_tokens, usage.cache_read_input_tokens) for usage in two] == [
        (2500, 0),
        (0, 2500),
    ]
    assert two[0].input_tokens == two[1].input_tokens == 2
    assert [row["n_shareable"] for row in served.log] == [0, 2432, 0, 2500]


def test_faults_arrive_as_the_clients_know_them() -> None:
    fates = ("500", "429", "invalid", "overloaded", "reset", "refused", "truncated", "filtered", "empty")
    with serve(Settings(fates=fates + fates, retry_after_s=3)) as served:
        kinds: list[Any] = []
        waits: list[str] = []
        for ask in (ask_openai, ask_anthropic):
            for _ in fates:
                try:
                    kinds.append(stop_of(ask(served, DOCUMENT)))
                except (openai.APIError, anthropic.APIError) as error:
                    kinds.append(type(error).__name__)
                    waits += [error.response.headers["retry-after"]] if "RateLimit" in kinds[-1] else []
        errors = ["InternalServerError", "RateLimitError", "BadRequestError"]
        assert kinds[:9] == [
            *errors, "InternalServerError", "APIConnectionError", "refusal", "length", "content_filter", "stop",
        ]  # fmt: skip
        assert kinds[9:] == [
            *errors, "OverloadedError", "APIConnectionError", "refusal", "max_tokens", "BadRequestError", "end_turn",
        ]  # fmt: skip
        assert waits == ["3", "3"]
        assert [row["fate"] for row in served.log] == list(fates + fates)


def stop_of(reply: Any) -> str:
    if isinstance(reply, anthropic.types.Message):
        return str(reply.stop_reason)
    return "refusal" if reply.choices[0].message.refusal else str(reply.choices[0].finish_reason)


def test_a_reply_longer_than_the_cap_is_cut_there(served: Served) -> None:
    reply = ask_openai(served, DOCUMENT, max_completion_tokens=10)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 10
    assert len(reply.choices[0].message.content) == 40


def test_a_hang_lasts_until_the_client_gives_up() -> None:
    with serve(Settings(fates=("hang",))) as served, openai_client(served, timeout=0.2) as client:
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
        client.close()
        until = time.monotonic() + 60
        while not served.log[0]["gone"] and time.monotonic() < until:
            time.sleep(0.01)
        assert served.log[0]["gone"]
        assert served.provider.n_in_flight == 0


def test_a_wrong_key_is_told_apart_and_headers_are_kept_for_tests_only() -> None:
    with serve(Settings(key="none")) as served:
        ask_openai(served, "x")
        ask_anthropic(served, "x")
        with openai.OpenAI(base_url=served.openai_url, api_key="wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                client.models.list()
            client.api_key = "none"
            assert [model.id for model in client.models.list()] == ["loopback"]
        assert [row["path"] for row in served.log] == ["/v1/chat/completions", "/v1/messages"]
        assert served.last[0]["headers"]["authorization"] == "Bearer none"


def test_embeddings_are_near_for_texts_that_share_words(served: Served) -> None:
    with openai_client(served) as client:
        data = client.embeddings.create(
            model="m", input=["a b c d", "a b c e", "x y z w"], encoding_format="float"
        ).data
    near, far = (sum(a * b for a, b in zip(data[0].embedding, data[n].embedding, strict=True)) for n in (1, 2))
    assert near > far


def test_a_message_batch_ends_after_its_delay_with_every_entry_by_its_id() -> None:
    settings = Settings(batch_delay_s=0.2, fates=("ok", "500", "hang", "ok"))
    with serve(settings) as served, anthropic_client(served) as client:
        params: Any = {"model": "m", "max_tokens": 4000, "messages": [{"role": "user", "content": DOCUMENT}]}
        batch = client.messages.batches.create(requests=[{"custom_id": f"e{n}", "params": params} for n in range(4)])
        assert batch.processing_status == "in_progress"
        time.sleep(0.25)
        batch = client.messages.batches.retrieve(batch.id)
        assert (batch.processing_status, batch.request_counts.succeeded) == ("ended", 2)
        results = {each.custom_id: each.result.type for each in client.messages.batches.results(batch.id)}
        assert results == {"e0": "succeeded", "e1": "errored", "e2": "expired", "e3": "succeeded"}
        assert [each.id for each in client.messages.batches.list()] == [batch.id]
        other = client.messages.batches.create(requests=[{"custom_id": "x", "params": params}])
        assert client.messages.batches.cancel(other.id).request_counts.canceled == 1


def test_a_file_of_requests_is_a_batch_whose_replies_are_a_file_and_whose_failures_another() -> None:
    with serve(Settings(fates=("ok", "invalid", "hang"))) as served, openai_client(served) as client:
        body = {"model": "m", "messages": [{"role": "user", "content": DOCUMENT}]}
        lines = [
            {"custom_id": f"e{n}", "method": "POST", "url": "/v1/chat/completions", "body": body} for n in range(3)
        ]
        text = "\n".join(json.dumps(line) for line in lines).encode()
        file = client.files.create(file=("requests.jsonl", text), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"run": "a"}
        )
        batch = client.batches.retrieve(batch.id)
        assert (batch.status, batch.metadata) == ("expired", {"run": "a"})
        assert batch.output_file_id is not None
        assert batch.error_file_id is not None
        [good] = map(json.loads, client.files.content(batch.output_file_id).text.splitlines())
        bad = {
            line["custom_id"]: line
            for line in map(json.loads, client.files.content(batch.error_file_id).text.splitlines())
        }
        assert good["custom_id"] == "e0"
        assert good["response"]["body"]["choices"][0]["finish_reason"] == "stop"
        assert bad["e1"]["response"]["status_code"] == 400
        assert bad["e2"]["error"]["code"] == "batch_expired"
