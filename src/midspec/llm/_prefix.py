"""The first call of a prefix goes alone, so that the provider's cache holds it when the others come."""

from __future__ import annotations

import asyncio

from midspec.llm._types import Client, Outcome, Request

__all__ = ["PrefixFirst"]

# Providers forget a prefix five minutes after its last use.
_KEPT_S = 270.0


class _Seen:
    """What is known of one prefix: who leads, how many are out, and when it was last used."""

    __slots__ = ("leader", "n_out", "used_at")

    def __init__(self) -> None:
        self.leader: asyncio.Future[None] | None = None
        self.n_out = 0
        self.used_at = float("-inf")


class PrefixFirst:
    """Lets one call with a new (or long unused) prefix go alone, and the others when it has come back.

    Args:
        client: what answers.
        kept_s: how long a provider keeps a prefix that nobody uses.
        longest_lead_s: how long the others wait for a first call.
    """

    def __init__(self, client: Client, *, kept_s: float = _KEPT_S, longest_lead_s: float = 60.0) -> None:
        self._client = client
        self._kept_s = kept_s
        self._longest_lead_s = longest_lead_s
        self._seen: dict[str, _Seen] = {}

    async def ask(self, request: Request) -> Outcome:
        """The outcome of one request, asked when its prefix is in the cache, or to put it there."""
        if not request.prefix:
            return await self._client.ask(request)
        seen = self._seen.setdefault(request.prefix, _Seen())
        waited = False
        while seen.leader is not None and not waited:
            # A first call that hangs must not hold up a whole run.
            _, still_out = await asyncio.wait([seen.leader], timeout=self._longest_lead_s)
            waited = bool(still_out)
        if seen.n_out == 0 and asyncio.get_running_loop().time() - seen.used_at > self._kept_s:
            return await self._lead(request, seen)
        return await self._follow(request, seen)

    async def _lead(self, request: Request, seen: _Seen) -> Outcome:
        leader = seen.leader = asyncio.get_running_loop().create_future()
        try:
            return await self._follow(request, seen)
        finally:
            # A leader that failed frees the others too: one of them would fail in the same way.
            seen.leader = None
            leader.set_result(None)

    async def _follow(self, request: Request, seen: _Seen) -> Outcome:
        seen.n_out += 1
        try:
            return await self._client.ask(request)
        finally:
            seen.n_out -= 1
            seen.used_at = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """Close what is wrapped."""
        await self._client.close()
