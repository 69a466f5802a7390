"""Is a model to be had under this hub name? Asked once and briefly, before the libraries ask many times over."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is of httpx or httpx2, as its version has it
    EntryNotFoundError,
    HTTPError,
    RepositoryNotFoundError,
)

from midspec.errors import CheckpointError

__all__ = ["only_here"]

_TIMEOUT_S = 10.0
_FILES = ("config.json", "tokenizer_config.json")


@cache
def only_here(name: str) -> bool:
    """Whether the files of `name` must come from the copy on this machine, for the hub does not give them.

    Args:
        name: a folder or a hub name.

    Raises:
        CheckpointError: the hub knows no such model or can't be reached within ten seconds, and there is no copy.
    """
    if Path(name).expanduser().is_dir():
        return False
    error = _ask(name)
    if error is None or isinstance(error, EntryNotFoundError):
        return False
    if any(isinstance(try_to_load_from_cache(name, file), str) for file in _FILES):
        return True
    if isinstance(error, RepositoryNotFoundError):
        what, mend = "the hub shows no such model", "Check the name, and HF_TOKEN where it is not public"
    else:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        what = f"is no folder, and the model hub can't be reached ({reason})"
        mend = "Check the name; a hub name needs the network once"
    raise CheckpointError(what, where=name, mend=mend) from error


def _ask(name: str) -> Exception | None:
    """What speaks against getting `name` from the hub; a thread asks, as looking up a host has no time limit."""
    answers: list[Exception | None] = []

    def ask() -> None:
        try:
            get_hf_file_metadata(hf_hub_url(name, _FILES[0]), timeout=_TIMEOUT_S)
            answers.append(None)
        except (HTTPError, OSError, ValueError) as error:
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_TIMEOUT_S)
    return answers[0] if answers else TimeoutError(f"no answer within {_TIMEOUT_S:.0f} s")
