"""The hash under which a prompt is recorded."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from typing import TYPE_CHECKING

from midspec.llm._types import Request

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["PromptHash"]

_N_KEPT = 8


class PromptHash:
    """SHA-256 of all that is sent as text; the long prefix that a stage shares is hashed once, not once a request."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Hash] = OrderedDict()

    def of(self, request: Request) -> str:
        """64 hexadecimal digits of prefix, prompt, turns and form, each told apart from its neighbours."""
        digest = self._begun(request.prefix).copy()
        rest: list[object] = [request.prompt, [(turn.role, turn.content) for turn in request.turns], request.form]
        digest.update(json.dumps(rest, sort_keys=True).encode())
        return digest.hexdigest()

    def _begun(self, prefix: str) -> _Hash:
        found = self._kept.get(prefix)
        if found is None:
            if len(self._kept) >= _N_KEPT:
                self._kept.popitem(last=False)
            # JSON is a form that no two texts share and that a lone surrogate doesn't break.
            found = self._kept[prefix] = hashlib.sha256(json.dumps(prefix).encode())
        return found
