"""Batches that went wrong: good rows are kept, the batch is closed, and the next run hands in what is missing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.loopback import Served, Settings, serve

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm import Access, BatchEndpoint, BatchEntry, ModelConfig, Outcome, Prices, Request, Store, Stored
from midspec.llm._batch_client import BatchClient
from midspec.llm._errors import RetryableError

from .outside import ANTHROPIC, OPENAI, wish
from .test_batch import BOTH, PACE, endpoint_of, n_batches, url_of

WISHES = [wish(f"t{n}") for n in range(12)]


def batched(served: Served, store: Store, requests: Sequence[Request], model: ModelConfig) -> list[Outcome]:
    """A run: what the store has on record is not asked."""

    async def run() -> list[Outcome]:
        endpoint = endpoint_of(model, Access(base_url=url_of(served, model)))
        client = BatchClient(endpoint, store, model, "author", Prices.load(None), timing=PACE)
        stored = Stored(client, store)
        try:
            return list(await asyncio.gather(*(stored.ask(request) for request in requests)))
        finally:
            await client.close()

    return asyncio.run(run())


def kinds(store: Store) -> Counter[str]:
    return sum((Counter(row.kinds) for row in store.ledger()), Counter())


def run_out(served: Served, store: Store, model: ModelConfig) -> str:
    """A run that ends; gives its line."""
    with pytest.raises(MidspecError) as caught:
        batched(served, store, WISHES, model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@BOTH
@pytest.mark.parametrize(
    ("fate", "words"), [("no_credit", "no credit left"), ("no_model", "no such model")], ids=["credit", "model"]
)
def test_rows_that_failed_for_the_account_are_handed_in_again_by_the_next_run(
    model: ModelConfig, fate: str, words: str, tmp_path: Path
) -> None:
    n_seen = 0

    def meets(_: Any) -> Any:
        nonlocal n_seen
        n_seen += 1
        return fate if n_seen in {1, 4, 5, 9} else None  # the first row of the file, some in its middle

    with serve(fate=meets) as served, Store(tmp_path / "s") as store:
        assert words in run_out(served, store, model)
        assert kinds(store) == {"ok": 8, "again": 4}
        assert store.open_batches() == []
        assert store.unmetered() == []
        n_seen = 100
        outcomes = batched(served, store, WISHES, model)
        assert [outcome.kind for outcome in outcomes] == ["ok"] * 12
        assert kinds(store) == {"ok": 12, "again": 4}
        answered = Counter(row["sha"] for row in served.log if row["fate"] == "ok")
        assert set(answered.values()) == {1}


@BOTH
def test_it_may_happen_several_times_over(model: ModelConfig, tmp_path: Path) -> None:
    n_left = 5

    def meets(_: Any) -> Any:
        nonlocal n_left
        n_left -= 1
        return "no_credit" if n_left < 0 else None

    with serve(fate=meets) as served, Store(tmp_path / "s") as store:
        for n_good in (5, 9, 11):
            run_out(served, store, model)
            assert kinds(store)["ok"] == n_good
            n_left = {5: 4, 9: 2}.get(n_good, 100)
        assert [outcome.kind for outcome in batched(served, store, WISHES, model)] == ["ok"] * 12


def test_a_batch_that_was_not_taken_is_closed_and_the_next_run_hands_it_in_again(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        with serve(Settings(batch_failed="billing hard limit has been reached")) as served:
            assert "was not taken (billing: billing hard limit" in run_out(served, store, OPENAI)
            assert store.open_batches() == []
            assert kinds(store) == {"again": 12}
            run_out(served, store, OPENAI)
        with serve() as served:
            assert [outcome.kind for outcome in batched(served, store, WISHES, OPENAI)] == ["ok"] * 12


@BOTH
def test_a_whole_batch_of_refused_settings_ends_the_run_and_is_not_final(model: ModelConfig, tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        with serve(Settings(rate_invalid=1.0)) as served:
            assert "takes none of the requests (400" in run_out(served, store, model)
            assert store.open_batches() == []
        with serve() as served:
            assert [outcome.kind for outcome in batched(served, store, WISHES, model)] == ["ok"] * 12


def open_batch(served: Served, store: Store, model: ModelConfig) -> None:
    """Leave a batch open, as a run that was killed does."""

    async def run() -> None:
        endpoint = endpoint_of(model, Access(base_url=url_of(served, model)))
        client = BatchClient(endpoint, store, model, "author", Prices.load(None), timing=PACE)
        asking = [asyncio.ensure_future(client.ask(request)) for request in WISHES]
        while not any(row.provider_id for row in store.open_batches()):
            await asyncio.sleep(0.01)
        for task in asking:
            task.cancel()
        await client.close()

    asyncio.run(run())


@BOTH
def test_a_batch_that_is_gone_is_given_up_after_a_day_and_not_before(
    model: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path / "s") as store:
        with serve(Settings(batch_delay_s=60)) as served:
            open_batch(served, store, model)
        with serve() as served:  # another account, or another server: it knows no such batch
            assert "knows no batch" in run_out(served, store, model)
            assert len(store.open_batches()) == 1
            now = time.time()
            monkeypatch.setattr(time, "time", lambda: now + 27 * 3600)
            assert "knows no batch" in run_out(served, store, model)
            assert store.open_batches() == []
            assert n_batches(served) == 0
            assert [outcome.kind for outcome in batched(served, store, WISHES, model)] == ["ok"] * 12


@BOTH
def test_a_batch_looked_for_at_a_wrong_address_stays_open(model: ModelConfig, tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store, serve(Settings(batch_delay_s=60)) as served:
        open_batch(served, store, model)

        async def elsewhere() -> None:
            endpoint = endpoint_of(model, Access(base_url=f"{served.url}/nowhere"))
            client = BatchClient(endpoint, store, model, "author", Prices.load(None), timing=PACE)
            try:
                await client.ask(WISHES[0])
            finally:
                await client.close()

        with pytest.raises(ConfigError, match="no such model or address"):
            asyncio.run(elsewhere())
        assert len(store.open_batches()) == 1


ODD_LINES = [
    b"not json\n",
    b"[]\n",
    b'{"custom_id": 5}\n',
    b'{"custom_id": "x", "result": null, "response": "no"}\n',
    b'{"custom_id": "x", "result": {"type": "errored", "error": "no"}, "response": {"status_code": "x"}}\n',
    b'{"custom_id": "x", "result": {"type": "succeeded"}, "response": {"status_code": 200}}\n',
]


@BOTH
def test_lines_of_a_result_file_that_are_no_replies_cost_only_themselves(model: ModelConfig, tmp_path: Path) -> None:
    with serve() as served, Store(tmp_path / "s") as store:
        batches = served.provider._batches
        handle = batches.handle

        def odd(method: str, path: str, host: str, head: bytes, body: bytes) -> Any:
            status, made, content = handle(method, path, host, head, body)
            is_results = path.endswith(("/results", "-output/content"))
            return status, b"".join(ODD_LINES) + made if is_results else made, content

        batches.handle = odd  # type: ignore[method-assign]
        outcomes = batched(served, store, WISHES, model)
        assert [outcome.kind for outcome in outcomes] == ["ok"] * 12
        assert n_batches(served) == 1


def test_a_row_that_refuses_a_parameter_is_handed_in_again_without_it(tmp_path: Path) -> None:
    bodies: list[dict[str, Any]] = []

    async def run() -> list[Outcome]:
        files: dict[str, list[Any]] = {}

        async def handle(request: web.Request) -> web.Response:
            if request.path.endswith("/files"):
                content = await request.read()
                lines = re.findall(rb'\{"custom_id".*\}', content)
                files[f"f{len(files)}"] = [json.loads(line) for line in lines]
                return web.json_response({"id": f"f{len(files) - 1}", "object": "file"})
            if request.path.endswith("/content"):
                return web.Response(body=b"\n".join(map(answered, files[request.path.split("/")[-2]])))
            made = await request.json() if request.method == "POST" else {}
            name = made.get("input_file_id") or request.path.split("/")[-1].removeprefix("b")
            shown = {"id": f"b{name}", "status": "completed", "output_file_id": name, "created_at": 0}
            return web.json_response({"object": "batch", **shown})

        def answered(line: Any) -> bytes:
            bodies.append(line["body"])
            status, body = 200, {"choices": [{"message": {"content": "Tea."}, "finish_reason": "stop"}]}
            if "temperature" in line["body"]:
                status, body = 400, {"error": {"message": "Unsupported parameter: 'temperature'"}}  # type: ignore[dict-item]
            response = {"status_code": status, "body": body}
            return json.dumps({"custom_id": line["custom_id"], "response": response}).encode()

        app = web.Application(client_max_size=2**28)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        with Store(tmp_path / "s") as store:
            endpoint = endpoint_of(OPENAI, Access(base_url=f"http://{host}:{port}/v1"))
            client = BatchClient(endpoint, store, OPENAI, "author", Prices.load(None), timing=PACE)
            try:
                return list(await asyncio.gather(*(client.ask(request) for request in WISHES)))
            finally:
                await client.close()
                await runner.cleanup()

    outcomes = asyncio.run(run())
    assert [outcome.kind for outcome in outcomes] == ["ok"] * 12
    assert ["temperature" in body for body in bodies] == [True] * 12 + [False] * 12


PAGES: list[tuple[bytes, str]] = [
    (b"<html>Sign in</html>", "text/html"),
    (b"<html>Sign in</html>", "application/json"),
    (b"", "application/json"),
    (b"null", "application/json"),
    (b"[]", "application/json"),
    (b"{}", "application/json"),
    (b'"x"', "application/json"),
    (b'{"data": null}', "application/json"),
    (b'{"data": [null, 1, {}]}', "application/json"),
    (b'{"data": [{"id": "a", "created_at": null, "metadata": 3, "request_counts": null}]}', "application/json"),
    (b'{"id": 3, "status": null, "processing_status": []}', "application/json"),
    (b'{"id": "b", "status": "failed", "errors": {"data": [null, 3]}}', "application/json"),
    (b'{"id": "b", "status": "completed", "output_file_id": 3, "processing_status": "ended"}', "application/json"),
    (b'{"id": "b", "processing_status": "ended", "results_url": "http://127.0.0.1:9/x"}', "application/json"),
    (b'{"error": "no"}', "application/json"),
    (b"[" * 100_000, "application/json"),
    (b"Service unavailable", "text/plain"),
]


@BOTH
def test_pages_in_the_place_of_a_batch_endpoints_replies_are_typed(model: ModelConfig) -> None:
    async def run() -> None:
        page = PAGES[0]

        async def handle(request: web.Request) -> web.Response:
            await request.read()
            return web.Response(body=page[0], headers={"Content-Type": page[1]})

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        endpoint = endpoint_of(model, Access(base_url=url, deadline_s=3.0))
        for page in PAGES:  # noqa: B007 - read by the handler
            calls = [
                endpoint.submit([BatchEntry("a", b"{}")], "h"),
                endpoint.has_ended("b"),
                endpoint.find("h", {"a"}, 0.0),
                _read(endpoint),
            ]
            for call in calls:
                with contextlib.suppress(RetryableError, MidspecError):
                    await call
        await endpoint.close()
        await runner.cleanup()

    asyncio.run(run())


async def _read(endpoint: BatchEndpoint) -> None:
    async for _ in endpoint.replies("b"):
        pass


@BOTH
def test_a_page_in_the_place_of_a_result_file_hands_nothing_in_again(model: ModelConfig, tmp_path: Path) -> None:
    with serve() as served, Store(tmp_path / "s") as store:
        batches = served.provider._batches
        handle, n_pages = batches.handle, 0

        def page(method: str, path: str, host: str, head: bytes, body: bytes) -> Any:
            nonlocal n_pages
            found = handle(method, path, host, head, body)
            if path.endswith(("/results", "-output/content")) and n_pages < 5:
                n_pages += 1
                return 200, b"<html>\n<title>Sign in</title>\n</html>", b"text/html"
            return found

        batches.handle = page  # type: ignore[method-assign]
        outcomes = batched(served, store, WISHES, model)
        assert [outcome.kind for outcome in outcomes] == ["ok"] * 12
        assert (n_pages, n_batches(served)) == (5, 1)


ECHO = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 10}


def with_rows(served: Served, change: Callable[[dict[str, Any], int], dict[str, Any]]) -> None:
    """Have the server change each row of its result files; it is handed how many rows it has changed."""
    batches, n_rows = served.provider._batches, 0
    handle = batches.handle

    def changed(method: str, path: str, host: str, head: bytes, body: bytes) -> Any:
        nonlocal n_rows
        status, made, content = handle(method, path, host, head, body)
        if path.endswith(("/results", "-output/content")):
            rows = [json.loads(line) for line in made.splitlines()]
            made = b""
            for row in rows:
                made += json.dumps(change(row, n_rows)).encode() + b"\n"
                n_rows += 1
        return status, made, content

    batches.handle = changed  # type: ignore[method-assign]


def instead(row: dict[str, Any], body: Any) -> dict[str, Any]:
    """A row of status 200 with another body."""
    if "result" in row:
        return {**row, "result": {"type": "succeeded", "message": body}}
    return {**row, "response": {**row["response"], "body": body}}


@BOTH
@pytest.mark.parametrize(
    ("body", "words"),
    [(ECHO, '"messages"'), ({"error": {"message": "worker gone"}}, "worker gone"), ({}, "{}"), (None, "null")],
    ids=["echo", "error", "empty", "null"],
)
def test_a_whole_batch_of_rows_without_a_reply_ends_the_run_at_once_and_says_what_is_there(
    body: Any, words: str, model: ModelConfig, tmp_path: Path
) -> None:
    with Store(tmp_path / "s") as store:
        with serve() as served:
            with_rows(served, lambda row, _: instead(row, body))
            line = run_out(served, store, model)
            assert ("the reply is no message" if model is ANTHROPIC else "the reply is no chat completion") in line
            assert words in line
            assert n_batches(served) == 1
            assert kinds(store) == {"again": 12}
        with serve() as served:
            assert [outcome.kind for outcome in batched(served, store, WISHES, model)] == ["ok"] * 12


@BOTH
def test_single_rows_without_a_reply_are_handed_in_again(model: ModelConfig, tmp_path: Path) -> None:
    with serve() as served, Store(tmp_path / "s") as store:
        with_rows(served, lambda row, n: instead(row, ECHO) if n in {1, 5} else row)
        assert [outcome.kind for outcome in batched(served, store, WISHES, model)] == ["ok"] * 12
        assert n_batches(served) == 2


def test_an_error_of_the_account_in_a_row_of_status_200_ends_the_run_in_its_words(tmp_path: Path) -> None:
    body = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    with serve() as served, Store(tmp_path / "s") as store:
        with_rows(served, lambda row, n: instead(row, body) if n == 3 else row)
        assert "no credit left" in run_out(served, store, OPENAI)
        assert kinds(store) == {"ok": 11, "again": 1}


def test_an_empty_name_of_a_file_of_a_batch_is_none(tmp_path: Path) -> None:
    with serve() as served, Store(tmp_path / "s") as store:
        batches = served.provider._batches
        handle = batches.handle

        def emptied(method: str, path: str, host: str, head: bytes, body: bytes) -> Any:
            status, made, content = handle(method, path, host, head, body)
            return status, made.replace(b'"error_file_id":null', b'"error_file_id":""'), content

        batches.handle = emptied  # type: ignore[method-assign]

        async def run() -> list[str]:
            endpoint = endpoint_of(OPENAI, Access(base_url=served.openai_url))
            client = BatchClient(endpoint, store, OPENAI, "author", Prices.load(None), timing=PACE)
            try:  # one after the other: what breaks after a batch's replies meets the second request
                return [(await client.ask(request)).kind for request in WISHES[:2]]
            finally:
                await client.close()

        assert asyncio.run(run()) == ["ok"] * 2
        assert n_batches(served) == 2
