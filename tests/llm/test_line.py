"""The way over the wire: proxies of the environment, and what is loaded for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from midspec.llm._transport import HttpTransport

from .outside import OPENAI, answering, said, wish


def came_by(url: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[str]:
    """The hosts that requests to `url` name, as they reach a server that stands in for a proxy."""
    from midspec.llm.providers._openai import OpenAIClient

    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    async def run() -> list[str]:
        async with answering(lambda _: said("Yes.")) as small:
            for name, value in environment.items():
                monkeypatch.setenv(name, value.format(proxy=small.url))
            client = OpenAIClient(OPENAI, small.access(base_url=url.format(server=small.url)))
            assert (await client.ask(wish())).kind == "ok"
            await client.close()
            return [seen.headers["host"] for seen in small.seen]

    return asyncio.run(run())


def test_requests_go_through_the_proxy_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert came_by("http://models.invalid/v1", monkeypatch, HTTP_PROXY="{proxy}") == ["models.invalid"]
    assert came_by("http://models.invalid/v1", monkeypatch, all_proxy="{proxy}") == ["models.invalid"]


def test_a_server_that_needs_no_proxy_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    (host,) = came_by("{server}/v1", monkeypatch, HTTP_PROXY="http://proxy.invalid:1", NO_PROXY="127.0.0.1")
    assert host.startswith("127.0.0.1")


def test_only_the_key_and_what_the_protocol_needs_is_sent() -> None:
    async def run() -> dict[str, str]:
        async with answering(lambda _: said("Yes.")) as small:
            headers = {"Authorization": "Bearer k", "X-Stainless-OS": "Linux", "accept-encoding": "zstd"}
            line = HttpTransport(f"{small.url}/v1/chat/completions", headers, small.access())
            assert (await line.post(b"{}")).status_code == 200
            await line.close()
            return small.seen[0].headers

    sent = asyncio.run(run())
    assert sent["authorization"] == "Bearer k"
    assert not any(name.startswith("x-stainless") for name in sent)
    assert "gzip" in sent["accept-encoding"]


def test_a_client_for_single_requests_loads_no_second_http_stack() -> None:
    code = (
        "import os, sys\n"
        "from midspec.llm import Access, ModelConfig\n"
        "from midspec.llm.providers._openai import OpenAIClient\n"
        "OpenAIClient(ModelConfig(model='openai/x'), Access(base_url='http://127.0.0.1:9/v1'))\n"
        "sys.exit('httpcore2' in sys.modules or 'trio' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
