"""What the environment and an address say of a server: keys, headers, certificates, and a path before a query."""

from __future__ import annotations

import os
import ssl
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from midspec.core.errors import ConfigError, note
from midspec.llm._types import Access, is_address

# What editors, shells and `docker --env-file` leave around a value: white space, byte order marks, signs without width,
# quotation marks.
_AROUND = " \t\r\n\v\f\xa0\ufeff\u200b\u200c\u200d\u2060\"'"
# What a copied address has behind the base URL: Azure's "target URI", and what examples with curl name.
_ENDPOINTS = {"ANTHROPIC_BASE_URL": ("/v1/messages", "/v1")}
_OWN_ENDPOINTS = ("/chat/completions",)  # of OpenAI's protocol, which all other servers speak
# The variable's name in the first versions of OpenAI's package, which other tools still read.
_OLD_URL_VARIABLE = "OPENAI_API_BASE"
DEPLOYMENTS = "/openai/deployments/"
_CERTIFICATE_FILES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_CERTIFICATE_FOLDER = "SSL_CERT_DIR"


def variable(name: str) -> str:
    """Return an environment variable without the white space around it; empty where it is not set.

    Raises:
        ConfigError: there is a line end or another control character in it, which no header and no address takes.
    """
    value = os.environ.get(name, "").strip(_AROUND)
    if not value.isprintable():
        what = "holds a line end, a tab or another character that can't be sent"
        raise ConfigError(what, where=name, hint="Set it anew, on one line")
    return value


def base_url(place: str, access: Access) -> str | None:
    """Return the server's address as it was given, or as the environment variable `place` has it.

    The path of an endpoint at its end (`/chat/completions`) is no part of it.

    Raises:
        ConfigError: the variable holds no address.
    """
    url = access.base_url or os.environ.get(place, "").strip(_AROUND)
    if not url:
        if place == "OPENAI_BASE_URL":
            _note_unread(os.environ.get(_OLD_URL_VARIABLE, ""))
        return None
    if not is_address(url):
        raise ConfigError(f"{url!r} is no address", where=place, hint="Set one like http://HOST:PORT/v1, or unset it")
    return without_endpoint(url, place)


def without_endpoint(url: str, place: str = "OPENAI_BASE_URL") -> str:
    """Return a base URL without the path of an endpoint at its end, which clients put there themselves.

    Args:
        url: an address.
        place: the environment variable of the provider whose protocol the server speaks.
    """
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    end = next((end for end in _ENDPOINTS.get(place, _OWN_ENDPOINTS) if path.endswith(end)), "")
    return urlunsplit(parts._replace(path=path.removesuffix(end))) if end else url


@cache
def _note_unread(old: str) -> None:
    """Say once that an address under the variable's old name is not where requests go."""
    if old.strip(_AROUND) and "//api.openai.com" not in old:
        what = "is not read, so requests go to OpenAI; the address of another server goes into OPENAI_BASE_URL"
        note(what, _OLD_URL_VARIABLE)


def api_key(name: str, access: Access) -> str:
    """Return the key in the environment variable `name`, or `none` for a server of one's own that needs none.

    Raises:
        ConfigError: there is no key and the server is the provider's own; or it, or the variable that gives the SDK
            another server, holds what the SDK would answer with an error of its own.
    """
    base_url(name.replace("_API_KEY", "_BASE_URL"), access)
    key = variable(name)
    if not key.isascii():
        what = "holds a character that is in no key (a quotation mark or a dash of a text editor?)"
        raise ConfigError(what, where=name, hint="Copy the key anew")
    if " " in key:
        raise ConfigError("holds a space, which is in no key", where=name, hint="Set the key alone, without `Bearer`")
    if key:
        return key
    if access.base_url is None:
        raise ConfigError("no key is set", where=name, hint=f"Set the environment variable {name}")
    return "none"


def takes_bearer(url: str) -> bool:
    """Return whether there may be a header Authorization: a login in the address takes its place."""
    return urlsplit(url).username is None


def joined(url: str, path: str) -> str:
    """Return the address of `path` below a server's base URL, whose query (`?api-version=...`) stays at the end."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path))


def without_query(url: str) -> tuple[str, dict[str, str]]:
    """Return a base URL without its query, and the query."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="")), dict(parse_qsl(parts.query, keep_blank_values=True))


def shown_url(url: str) -> str:
    """Return a base URL for messages: without a login, and of a query the names alone, since a value may be a key."""
    parts = urlsplit(url)
    names = "&".join(f"{name}=..." for name in without_query(url)[1])
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=names))


def tls() -> ssl.SSLContext:
    """Return the one TLS context of all clients, with the certificates that the environment names.

    A REQUESTS_CA_BUNDLE that is not there is told: it is of other programs, and the system's certificates are here.

    Raises:
        ConfigError: a variable of certificates names a file or folder that is not there, or has none.
    """
    return _tls(*(os.environ.get(name, "") for name in (*_CERTIFICATE_FILES, _CERTIFICATE_FOLDER)))


@cache
def _tls(file: str, bundle: str, folder: str) -> ssl.SSLContext:
    """Return the context; reading the system's certificates takes as long as many requests."""
    import httpx2

    for name, path in zip(_CERTIFICATE_FILES, (file, bundle), strict=True):
        try:
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), path, may_be_folder=name != _CERTIFICATE_FILES[0])
        except FileNotFoundError:
            if name != _CERTIFICATE_FILES[0]:
                note(f"there is no file {path}, and the system's certificates are taken", name)
                bundle = ""
                continue
            raise ConfigError(f"there is no file {path}", where=name, hint=_hint(name)) from None
        except OSError as error:  # `ssl.SSLError` is one
            reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
            what = f"{path} holds no certificates that can be read ({reason})"
            raise ConfigError(what, where=name, hint=_hint(name)) from None
    if folder and not file and not any(map(_has_files, folder.split(os.pathsep))):
        name = _CERTIFICATE_FOLDER
        raise ConfigError(f"{folder} is no folder of certificates", where=name, hint=_hint(name))
    context = httpx2.create_ssl_context()
    _load(context, bundle, may_be_folder=True)  # as other tools of Python take it; the system's own stay
    return context


def _has_files(folder: str) -> bool:
    return bool(folder) and Path(folder).is_dir() and any(Path(folder).iterdir())


def _load(context: ssl.SSLContext, path: str, *, may_be_folder: bool) -> None:
    if not path:
        return
    if may_be_folder and Path(path).is_dir():
        context.load_verify_locations(capath=path)
    else:
        context.load_verify_locations(cafile=path)


def _hint(name: str) -> str:
    return f"Set {name} to certificates in PEM format, or unset it"
