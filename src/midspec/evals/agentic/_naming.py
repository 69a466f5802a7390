"""The assistant's name in a prompt of the public port, where it is always the same one.

Enter: a text of the port and a name. Leaves: the text with that name in its place, as whole words only: in sentences,
possessives and headings in the case that they had, and in its mailbox.
"""

from __future__ import annotations

import re

from midspec.errors import ConfigError

__all__ = ["called", "mailbox", "refuse_taken"]

_THEIRS = "alex"
# A name in an address is a part of it, set off by the dots of the address; elsewhere a whole word.
_WORD = re.compile(rf"\b{_THEIRS}\b(?P<address>[\w.+-]*@)?", re.I)
_NO_LETTER = re.compile(r"[^a-z0-9]+")


def mailbox(name: str) -> str:
    """The part of an address that stands for a name: `Qwen 3.1` is `qwen-3-1`.

    Raises:
        ConfigError: a name without a single Latin letter or digit.
    """
    found = _NO_LETTER.sub("-", name.lower()).strip("-")
    if not found:
        raise ConfigError(
            f"no mailbox can be made of {name!r}",
            where="assistant_name",
            mend="Give a name with a Latin letter or a digit in it",
        )
    return found


def called(text: str, name: str) -> str:
    """`text` with the port's name for the assistant replaced by `name`."""

    def instead(found: re.Match[str]) -> str:
        if found["address"]:
            return mailbox(name) + found["address"]
        word = found[0]
        if word.isupper():
            return name.upper()
        return name.lower() if word.islower() else name

    return _WORD.sub(instead, text)


def refuse_taken(text: str, name: str) -> None:
    """A name that somebody in the inbox has already would make two people one.

    Raises:
        ConfigError: `name` stands in `text` as a whole word.
    """
    spelled = "|".join(re.escape(each) for each in (name, name.title()))
    if name.lower() != _THEIRS and re.search(rf"(?<!\w)(?:{spelled})(?!\w)", text):
        raise ConfigError(
            f"the inbox speaks of {name!r} already", where="assistant_name", mend="Give the assistant another name"
        )
