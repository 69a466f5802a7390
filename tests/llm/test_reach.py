"""What lies between us and a server: proxies of the environment, and the process's limit of open files."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import aiohttp
import httpx2
import pytest
import yarl
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_writer import StreamWriter
from pydantic import ValidationError
from tests.loopback import serve

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm import Access, ModelConfig, Store, check_access, embed, open_client
from midspec.llm._errors import BrokenReplyError, ConnectError, RetryableError, read_connection_error
from midspec.llm._transport import find_proxy
from midspec.llm.providers._openai import OpenAIClient

from .outside import ANTHROPIC, OPENAI, wish

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy")
SERVER = "http://models.example/v1"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"])
@pytest.mark.parametrize("address", ["socks5://127.0.0.1:1080", "socks5h://me:secret@127.0.0.1:1080", "socks4://h:1"])
def test_a_socks_proxy_is_refused_in_one_line_that_names_the_variable(
    variable: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, address)
    for model in (OPENAI, ANTHROPIC):
        with pytest.raises(ConfigError) as caught:
            check_access(model, Access(base_url=SERVER))
        line = str(caught.value)
        assert line.startswith(variable)
        assert "SOCKS" in line
        assert "NO_PROXY" in line
        assert "secret" not in line


def test_embeddings_refuse_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(ConfigError, match="SOCKS"):
        asyncio.run(embed(["tea"], ModelConfig(model="openai/e"), Access(base_url=SERVER)))


def test_a_server_named_in_no_proxy_is_reached_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.setenv("NO_PROXY", "models.example,127.0.0.1")
    assert find_proxy(SERVER) is None
    check_access(OPENAI, Access(base_url=SERVER))


NO_ADDRESS = [
    "localhost:8000", "http://", "http:///v1", "ftp://h/", "http://[::1", "http://h:99999/v1", "http://h:0", "http://h:port",
    "http://h h/v1", "http://h\n/v1", "not an address", "/v1", "http://:8000/v1",
]  # fmt: skip


@pytest.mark.parametrize("address", NO_ADDRESS)
def test_what_is_no_address_of_a_server_is_refused_wherever_it_is_given(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError, match="is no address"):
        Access(base_url=address)
    for name, model in (("OPENAI", OPENAI), ("ANTHROPIC", ANTHROPIC)):
        monkeypatch.setenv(f"{name}_API_KEY", "sk-x")
        monkeypatch.setenv(f"{name}_BASE_URL", address)
        with pytest.raises(ConfigError, match=f"{name}_BASE_URL: .* is no address"):
            check_access(model, Access())


ADDRESSES = [
    "http://h",
    "https://h:65535/v1/",
    "http://[::1]:80/v1",
    "http://me:pass@h.example/v1?api-version=2",
    "HTTP://h",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_taken_as_the_http_clients_take_it(address: str) -> None:
    assert Access(base_url=address).base_url == address
    assert httpx2.URL(address).host
    assert yarl.URL(address).host


@pytest.mark.parametrize("address", ["ftp://h:1", "http://", "http://h:port", "://"])
def test_what_is_no_address_of_a_proxy_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", address)
    with pytest.raises(ConfigError, match="no address of an HTTP proxy"):
        find_proxy(SERVER)


def test_a_proxy_without_a_scheme_is_an_http_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "127.0.0.1:3128")
    found = find_proxy(SERVER)
    assert found is not None
    assert found.url == "http://127.0.0.1:3128"


def attempt(url: str = SERVER) -> Exception:
    async def run() -> None:
        client = OpenAIClient(OPENAI, Access(base_url=url, deadline_s=5.0))
        try:
            await client.ask(wish())
        finally:
            await client.close()

    with pytest.raises((RetryableError, MidspecError)) as caught:
        asyncio.run(run())
    return caught.value


def test_words_of_a_connection_that_fails_hold_no_login_and_no_query() -> None:
    fault = ValueError("400, message='x', url='https://me:secret@h:1/v1?key=secret' (http://h/a?t=secret)")
    error = read_connection_error(fault)
    assert "url='https://h:1/v1?key=...' (http://h/a?t=...)" in str(error)
    assert "secret" not in str(error)


def test_where_no_proxy_listens_the_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    error = attempt()
    assert isinstance(error, ConnectError)
    assert "through the proxy http://127.0.0.1:9 of HTTP_PROXY" in str(error)
    assert "secret" not in str(error)


@contextmanager
def answering_all_with(words: bytes) -> Iterator[int]:
    """A port that answers every connection with the same bytes (none: it hangs up)."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def work() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(2)
                    connection.recv(65_536)
                    connection.sendall(words)

        Thread(target=work, daemon=True).start()
        yield int(listening.getsockname()[1])


def test_a_request_that_a_closing_connection_did_not_take_never_left() -> None:
    # A server that closes its kept connections meets this now and then; no reply was begun, so none can be billed.
    async def write() -> BaseException:
        loop = asyncio.get_running_loop()
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            transport, protocol = await loop.create_connection(lambda: BaseProtocol(loop), *server.getsockname())
            transport.close()
            with pytest.raises(aiohttp.ClientConnectionResetError) as caught:
                await StreamWriter(protocol, loop).write(b"{}")
        return caught.value

    assert isinstance(read_connection_error(asyncio.run(write())), ConnectError)


def test_a_proxy_that_hangs_up_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering_all_with(b"") as port:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{port}")
        error = attempt()
    assert isinstance(error, BrokenReplyError)
    assert f"through the proxy http://127.0.0.1:{port} of ALL_PROXY" in str(error)


def test_a_proxy_that_wants_a_login_ends_the_run_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with answering_all_with(refusal) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        error = attempt()
    assert isinstance(error, ConfigError)
    assert "the proxy wants a login" in str(error)


def test_requests_go_through_an_http_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as served:
        body = b'{"choices": [{"message": {"content": "Tea."}, "finish_reason": "stop"}]}'
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            len(body),
            body,
        )
        with answering_all_with(answer) as port:
            monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{port}")

            async def run() -> str:
                client = OpenAIClient(OPENAI, Access(base_url=SERVER))
                try:
                    return (await client.ask(wish())).text
                finally:
                    await client.close()

            assert asyncio.run(run()) == "Tea."
        assert not served.log


PROGRAM = """
import asyncio, resource, sys
from pathlib import Path
from midspec.core.errors import MidspecError
from midspec.llm import Access, ModelConfig, Store, open_client

resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))

async def main():
    access = Access(base_url="http://127.0.0.1:9/v1", concurrency=int(sys.argv[3]))
    with Store(Path(sys.argv[4]) / "s") as store:
        async with open_client(ModelConfig(model="openai/tiny"), access, store, role="author"):
            print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

try:
    asyncio.run(main())
except MidspecError as error:
    print(error)
"""


def opened(soft: int, hard: int, concurrency: int, folder: Path) -> str:
    arguments = [str(soft), str(hard), str(concurrency), str(folder)]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_limit_of_open_files_is_raised_where_it_may_be(tmp_path: Path) -> None:
    assert int(opened(200, 4096, 1000, tmp_path)) >= 1000
    assert opened(2000, 4096, 1000, tmp_path) == "2000"


def test_a_limit_of_open_files_that_is_too_low_is_named_before_anything_is_asked(tmp_path: Path) -> None:
    line = opened(150, 150, 500, tmp_path)
    assert re.search(r"500 requests at once need \d+ open files, and the limit is 150 \(ulimit -n\)", line)
    assert "--concurrency 86" in line


def test_too_many_open_files_are_told_as_what_they_are(tmp_path: Path) -> None:
    """In the middle of a run, where something else took them."""

    async def run() -> None:
        with Store(tmp_path / "s") as store:
            async with open_client(OPENAI, Access(base_url="http://127.0.0.1:9/v1"), store, role="author") as client:
                taken = []
                try:
                    while True:
                        taken.append(os.open(os.devnull, os.O_RDONLY))
                except OSError:
                    pass
                try:
                    await client.ask(wish())
                finally:
                    for number in taken:
                        os.close(number)

    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 256), hard))
    try:
        with pytest.raises(MidspecError, match="too many files and connections are open"):
            asyncio.run(run())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
