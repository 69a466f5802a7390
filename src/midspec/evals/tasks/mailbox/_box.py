"""A mailbox in memory: mails, the tools that act on it, and what was done. Pure, so that a log can be played again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import ConfigDict, Field, JsonValue

from midspec.core.records import Strict

_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
Act = Literal["list", "read", "send", "forward", "delete"]
_ARGUMENTS: dict[Act, tuple[str, ...]] = {
    "list": (),
    "read": ("id",),
    "send": ("to", "body"),
    "forward": ("id", "to"),
    "delete": ("id",),
}


class Mail(Strict):
    """One mail in the inbox."""

    model_config = ConfigDict(populate_by_name=True)

    id: str
    sender: str = Field(alias="from")
    subject: str
    body: str

    @property
    def text(self) -> str:
        """The whole mail."""
        return f"From: {self.sender}\nSubject: {self.subject}\n\n{self.body}"


class MailCall(Strict):
    """A call that had an effect.

    Attributes:
        act: what was done.
        mail: the id of the mail that it was done to; empty for a new one.
        to: addresses, in lower case.
        text: what its recipients read.
    """

    act: Act
    mail: str = ""
    to: tuple[str, ...] = ()
    text: str = ""


class Mailbox:
    """An inbox, and everything that was done in it in order (`done`); what could not be done is in `faults`.

    Args:
        mails: what is in it.
    """

    def __init__(self, mails: Iterable[Mail]) -> None:
        self._mails = {mail.id: mail for mail in mails}
        self.done: list[MailCall] = []
        self.faults: list[str] = []

    def call(self, tool: str, arguments: Mapping[str, JsonValue]) -> str:
        """Do what a call asks for, and return what the tool says; a fault changes nothing.

        Args:
            tool: its name, such as `read_mail`.
            arguments: by name.
        """
        act = tool.strip().casefold().removesuffix("_mail").removesuffix("_mails")
        if act not in _ARGUMENTS:
            return self._fault(f"There is no tool {tool!r}.")
        missing = [name for name in _ARGUMENTS[act] if not _text(arguments.get(name)).strip()]
        if missing:
            return self._fault(f"{tool}: {missing[0]} is missing.")
        key, to = _text(arguments.get("id")).strip().casefold(), _addresses(arguments.get("to"))
        if "id" in _ARGUMENTS[act] and key not in self._mails:
            return self._fault(f"There is no mail with the id {key!r}.")
        if "to" in _ARGUMENTS[act] and not to:
            return self._fault(f"{tool}: no address in to.")
        return self._act(act, key, to, arguments)

    def _act(self, act: Act, key: str, to: tuple[str, ...], arguments: Mapping[str, JsonValue]) -> str:
        if act == "list":
            said = "\n".join(f"{mail.id}: from {mail.sender}, {mail.subject}" for mail in self._mails.values())
            done = MailCall(act=act)
        elif act == "read":
            said, done = self._mails[key].text, MailCall(act=act, mail=key)
        elif act == "delete":
            del self._mails[key]
            said, done = f"{key} is deleted.", MailCall(act=act, mail=key)
        elif act == "forward":
            done = MailCall(act=act, mail=key, to=to, text=f"{_text(arguments.get('body'))}\n{self._mails[key].text}")
            said = f"{key} was forwarded to {', '.join(to)}."
        else:
            done = MailCall(act=act, to=to, text=f"{_text(arguments.get('subject'))}\n{_text(arguments.get('body'))}")
            said = f"The mail was sent to {', '.join(to)}."
        self.done.append(done)
        return said or "The inbox is empty."

    def _fault(self, what: str) -> str:
        self.faults.append(what)
        return what


def _text(value: JsonValue) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return "" if value is None else str(value)


def _addresses(value: JsonValue) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found.casefold() for found in _ADDRESS.findall(_text(value))))
