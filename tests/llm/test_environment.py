"""What the environment and an address say of a server: queries, white space, certificates."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from aiohttp import ClientConnectorCertificateError, web
from aiohttp.client_reqrep import ConnectionKey
from tests.loopback import serve
from tests.loopback._provider import Provider

from midspec.core.errors import ConfigError
from midspec.llm import Access, ModelConfig, Outcome, Store, check_access, embed, open_client
from midspec.llm._environment import joined, shown_url, tls
from midspec.llm._errors import read_connection_error

from .outside import ANTHROPIC, OPENAI, answering, said, told, wish, wrong
from .test_batch import endpoint_of

BOTH = pytest.mark.parametrize("model", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
NAMES = ("BASE_URL", "ORG_ID", "PROJECT_ID", "API_KEY", "CUSTOM_HEADERS")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*(f"{one}_{name}" for one in ("OPENAI", "ANTHROPIC") for name in NAMES), *CERTIFICATES):
        monkeypatch.delenv(name, raising=False)


def ask(access: Access, folder: Path, model: ModelConfig = OPENAI) -> Outcome:
    async def run() -> Outcome:
        with Store(folder / "s") as store:
            async with open_client(model, access, store, role="author") as client:
                return await client.ask(wish())

    return asyncio.run(run())


@contextmanager
def paths_of_requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths with their queries, as they reach the loopback provider; it answers those of Azure's deployments."""
    paths: list[str] = []
    handle = Provider.handle

    def kept(self: Provider, connection: object, method: str, path: str, head: bytes, body: bytes) -> None:
        paths.append(f"{method} {path}")
        handle(self, connection, method, path.replace("/openai/deployments/d/", "/v1/"), head, body)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Provider, "handle", kept)
        yield paths


# Queries -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("base", ["/v1", "/v1/", "/openai/deployments/d", "/openai/deployments/d/"])
@pytest.mark.parametrize("by_variable", [False, True])
def test_a_path_goes_before_the_query_of_a_base_url(
    base: str, by_variable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-azure-1")
    with paths_of_requests(monkeypatch) as paths, serve() as served:
        url = f"{served.url}{base}?api-version=2024-10-21"
        if by_variable:
            monkeypatch.setenv("OPENAI_BASE_URL", url)
        assert ask(Access(base_url=None if by_variable else url), tmp_path).kind == "ok"
        assert paths == [f"POST {base.rstrip('/')}/chat/completions?api-version=2024-10-21"]
        headers = served.last[0]["headers"]
    found = (headers.get("authorization"), headers.get("api-key"))
    assert found == ((None, "sk-azure-1") if "deployments" in base else ("Bearer sk-azure-1", None))


def test_the_sdks_requests_carry_the_query_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-azure-1")
    with paths_of_requests(monkeypatch) as paths, serve() as served:
        url = f"{served.url}/openai/deployments/d?api-version=1"
        asyncio.run(embed(["tea"], ModelConfig(model="openai/e"), Access(base_url=url)))
        assert paths == ["POST /openai/deployments/d/embeddings?api-version=1"]
        assert served.last[0]["headers"]["api-key"] == "sk-azure-1"
        assert "authorization" not in served.last[0]["headers"]
        paths.clear()

        async def find() -> None:
            endpoint = endpoint_of(OPENAI, Access(base_url=f"{served.url}/v1?api-version=1"))
            await endpoint.find("h", {"a"}, 0.0)
            await endpoint.close()

        asyncio.run(find())
        assert [path.replace("limit=100&", "").replace("&limit=100", "") for path in paths] == [
            "GET /v1/batches?api-version=1"
        ]
        assert served.last[-1]["headers"]["authorization"] == "Bearer sk-azure-1"


def test_a_key_among_the_headers_of_the_environment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "api-key: own\nX-Team: tea")
    with paths_of_requests(monkeypatch), serve() as served:
        assert ask(Access(base_url=f"{served.url}/openai/deployments/d?v=1"), tmp_path).kind == "ok"
        headers = served.last[0]["headers"]
    assert (headers["api-key"], headers["x-team"]) == ("own", "tea")


@pytest.mark.parametrize("name", ["Authorization", "authorization"])
@pytest.mark.parametrize("base", ["/v1", "/openai/deployments/d?v=1"])
def test_a_token_of_ones_own_is_sent_to_azure_too(
    base: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"{name}: Bearer own")
    with paths_of_requests(monkeypatch), serve() as served:
        access = Access(base_url=f"{served.url}{base}")
        assert ask(access, tmp_path).kind == "ok"
        asyncio.run(embed(["tea"], ModelConfig(model="openai/e"), access))
        assert [one["headers"]["authorization"] for one in served.last[-2:]] == ["Bearer own"] * 2


@pytest.mark.parametrize("custom", [None, "X-Team: tea"])
def test_a_token_in_the_place_of_a_key_is_sent_to_azure_as_one(
    custom: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "eyJ0eXAi.eyJhdWQi.x")
    if custom:
        monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", custom)
    with paths_of_requests(monkeypatch), serve() as served:
        access = Access(base_url=f"{served.url}/openai/deployments/d?v=1")
        assert ask(access, tmp_path).kind == "ok"
        asyncio.run(embed(["tea"], ModelConfig(model="openai/e"), access))
        for one in served.last[-2:]:
            assert one["headers"]["authorization"] == "Bearer eyJ0eXAi.eyJhdWQi.x"
            assert "api-key" not in one["headers"]


@pytest.mark.parametrize(
    ("url", "path", "found"),
    [
        ("http://h", "/v1/messages", "http://h/v1/messages"),
        ("http://h/a%2Fb/?k=v&k=w", "/x", "http://h/a%2Fb/x?k=v&k=w"),
        ("http://h?k=", "/x", "http://h/x?k="),
    ],
)
def test_addresses_are_joined(url: str, path: str, found: str) -> None:
    assert joined(url, path) == found


def test_messages_name_an_address_without_what_may_be_secret(tmp_path: Path) -> None:
    assert shown_url("http://me:pass@h:1/v1?key=AIza&v=1") == "http://h:1/v1?key=...&v=..."

    async def run() -> str:
        async with answering(lambda _: wrong(404, "no")) as small:
            place = small.url.replace("http://", "http://me:pass@") + "/v1?key=AIza"
            with pytest.raises(ConfigError) as caught, Store(tmp_path / "s") as store:
                async with open_client(OPENAI, Access(base_url=place), store, role="author") as client:
                    await client.ask(wish())
            assert small.seen[0].headers["authorization"].startswith("Basic ")
            return str(caught.value)

    line = asyncio.run(run())
    assert "pass" not in line
    assert "AIza" not in line


# White space ---------------------------------------------------------------------------------------------------------
@BOTH
@pytest.mark.parametrize("around", ["{}\n", " {} ", "\t{}\r\n", "\ufeff{}", '"{}"', "'{}'\n"])
def test_white_space_and_quotation_marks_around_variables_are_no_part_of_them(
    around: str, model: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = model.model.partition("/")[0].upper()

    async def run() -> dict[str, str]:
        async with answering(lambda _: said("Yes.") if model is OPENAI else told("Yes.")) as small:
            monkeypatch.setenv(f"{name}_BASE_URL", around.format(small.url))
            monkeypatch.setenv(f"{name}_API_KEY", around.format("sk-tea"))
            monkeypatch.setenv("OPENAI_ORG_ID", around.format("org-tea"))
            with Store(tmp_path / "s") as store:
                async with open_client(model, Access(), store, role="author") as client:
                    assert (await client.ask(wish())).kind == "ok"
            return small.seen[0].headers

    headers = asyncio.run(run())
    assert (headers.get("authorization") or headers.get("x-api-key", "")).endswith("sk-tea")
    assert headers.get("openai-organization") == ("org-tea" if model is OPENAI else None)


@pytest.mark.parametrize("custom", [False, True])
@pytest.mark.parametrize("value", ["", " \n"])
def test_an_empty_organization_is_none(
    value: str, custom: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", value)
    monkeypatch.setenv("OPENAI_PROJECT_ID", value)
    if custom:
        monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: tea")
    with serve() as served:
        assert ask(Access(base_url=served.openai_url), tmp_path).kind == "ok"
        asyncio.run(embed(["tea"], ModelConfig(model="openai/e"), Access(base_url=served.openai_url)))
        assert len(served.last) == 2
        assert not [name for one in served.last for name in one["headers"] if name.startswith("openai-")]


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"])
def test_a_control_character_in_a_variable_is_one_line_that_names_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-tea")
    monkeypatch.setenv(name, "secret\nsecret")
    with pytest.raises(ConfigError) as caught:
        ask(Access(), tmp_path)
    assert str(caught.value).startswith(f"{name}: ")
    assert "secret" not in str(caught.value)


def test_a_control_character_in_a_header_of_the_environment_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: te\ra")
    with pytest.raises(ConfigError, match="X-Team: the header's value holds a line end"):
        ask(Access(base_url="http://127.0.0.1:9/v1"), tmp_path)


def test_a_key_with_a_sign_of_a_text_editor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "“sk-tea”")
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY: .* Copy the key anew"):
        check_access(OPENAI, Access())


def test_a_key_with_the_word_of_its_header_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "Bearer sk-tea")
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY: holds a space.* without `Bearer`") as caught:
        check_access(OPENAI, Access())
    assert "sk-tea" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "given", "path"),
    [
        (OPENAI, "/v1/chat/completions", "/v1/chat/completions"),
        (OPENAI, "/v1/chat/completions/?v=1", "/v1/chat/completions"),
        (OPENAI, "/completions/v1", "/completions/v1/chat/completions"),
        (ANTHROPIC, "/v1", "/v1/messages"),
        (ANTHROPIC, "/a/v1/messages", "/a/v1/messages"),
        (ANTHROPIC, "/v1/anthropic", "/v1/anthropic/v1/messages"),
    ],
)
@pytest.mark.parametrize("by_variable", [False, True])
def test_an_endpoint_at_the_end_of_an_address_is_no_part_of_the_base_url(
    model: ModelConfig, given: str, path: str, by_variable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = model.model.partition("/")[0].upper()
    monkeypatch.setenv(f"{name}_API_KEY", "sk-tea")

    async def run() -> list[str]:
        async with answering(lambda _: said("Yes.") if model is OPENAI else told("Yes.")) as small:
            url = small.url + given
            if by_variable:
                monkeypatch.setenv(f"{name}_BASE_URL", url)
            with Store(tmp_path / "s") as store:
                access = Access(base_url=None if by_variable else url)
                async with open_client(model, access, store, role="author") as client:
                    assert (await client.ask(wish())).kind == "ok"
            return [seen.path for seen in small.seen]

    assert asyncio.run(run()) == [path]


@pytest.mark.parametrize(
    ("old", "new", "is_told"),
    [
        ("http://127.0.0.1:9/v1", "", True),
        ("http://127.0.0.1:8/v1", "http://h/v1", False),
        ("https://api.openai.com/v1", "", False),
        ("", "", False),
    ],
)
def test_an_address_under_the_variables_old_name_is_told_where_it_is_not_where_requests_go(
    old: str, new: str, is_told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-tea")
    monkeypatch.setenv("OPENAI_API_BASE", old)
    monkeypatch.setenv("OPENAI_BASE_URL", new)
    check_access(OPENAI, Access())
    assert ["OPENAI_API_BASE: is not read" in line for line in caplog.messages] == [True] * is_told


def test_white_space_around_an_address_that_is_given_is_no_part_of_it() -> None:
    assert Access(base_url=" http://h/v1\n").base_url == "http://h/v1"


# Certificates --------------------------------------------------------------------------------------------------------
@BOTH
@pytest.mark.parametrize("name", CERTIFICATES)
@pytest.mark.parametrize("what", ["missing", "text", "empty"])
def test_certificates_that_are_none_are_one_line_that_names_the_variable(
    what: str, name: str, model: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (what, name) == ("missing", "REQUESTS_CA_BUNDLE"):
        return
    place = tmp_path / "certificates"
    if what == "empty" and name != "REQUESTS_CA_BUNDLE":
        place.mkdir()
    elif what != "missing":
        place.write_text("no certificate" if what == "text" else "")
    monkeypatch.setenv(name, str(place))
    access = Access(base_url="https://127.0.0.1:9/v1")
    for call in (lambda: check_access(model, access), lambda: ask(access, tmp_path, model)):
        with pytest.raises(ConfigError) as caught:
            call()
        assert str(caught.value).startswith(f"{name}: ")
        assert str(place) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_bundle_of_other_programs_that_is_missing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    assert tls()
    assert f"REQUESTS_CA_BUNDLE: there is no file {tmp_path / 'none.pem'}" in caplog.text


def test_of_several_folders_of_certificates_one_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.pem").write_text("")
    folders = [str(tmp_path / "none"), str(tmp_path / "full"), ""]
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join(folders))
    assert tls()
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join([folders[0], folders[2]]))
    with pytest.raises(ConfigError, match="is no folder of certificates"):
        tls()


@contextmanager
def answering_by_tls(folder: Path, names: str = "DNS:localhost") -> Iterator[int]:
    """A model behind a certificate that it has signed itself (`folder/cert.pem`)."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=h -addext"
    files = [f"subjectAltName={names}", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    loop = asyncio.new_event_loop()

    async def answer(_: web.Request) -> web.Response:
        return said("Yes.")

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        return runner

    runner = loop.run_until_complete(start())
    loop.set_exception_handler(lambda *_: None)  # handshakes that fail are what is tested
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def test_a_certificate_that_nobody_signed_ends_the_run_at_once_and_the_hint_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering_by_tls(tmp_path) as port:
        access = Access(base_url=f"https://localhost:{port}/v1")
        with pytest.raises(ConfigError) as caught:
            ask(access, tmp_path)
        line = str(caught.value)
        assert line.startswith(f"https://localhost:{port}: the server's certificate is not accepted (self-signed")
        assert "Set SSL_CERT_FILE to a PEM file" in line
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            with monkeypatch.context() as patch:
                patch.setenv(name, str(tmp_path / "cert.pem"))
                (tmp_path / name).mkdir()
                assert ask(access, tmp_path / name).kind == "ok"
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        with pytest.raises(ConfigError, match="Give the base URL the name that the certificate is for"):
            ask(Access(base_url=f"https://127.0.0.1:{port}/v1"), tmp_path)


def test_an_expired_certificate_has_its_own_hint() -> None:
    fault = ssl.SSLCertVerificationError(1, "certificate verify failed")
    fault.verify_code, fault.verify_message = 10, "certificate has expired"
    key = ConnectionKey("h", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
    error = ClientConnectorCertificateError(key, fault)
    error.__cause__ = fault
    found = read_connection_error(error)
    assert isinstance(found, ConfigError)
    assert "(certificate has expired). Have it renewed, or set this machine's clock" in str(found)


def test_the_context_is_made_once() -> None:
    assert tls() is tls()
