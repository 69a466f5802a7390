"""A server with limits, in the process itself, to be used on a skipping clock: what it allows is known exactly."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.loopback._limits import Bucket

from midspec.generation import Pool
from midspec.llm import Outcome, Request, Usage
from midspec.llm._attempts import Limited
from midspec.llm._client import Retrying
from midspec.llm._errors import RateLimitError

from .outside import wish


@dataclass
class Server:
    """Takes what its limits allow, and answers it after a while.

    `requests` and `tokens` are buckets, `most` what it carries at once, `chance` the share that it refuses whatever the
    load; `changes` are made at their times. `retry_after` says what it asks for, `headers` gives those of a response.
    `taken_at` has the times of what it took, `n_refused` counts the rest.
    """

    median_s: float = 0.5
    sigma: float = 0.6
    lag_s: float = 0.01
    requests: Bucket | None = None
    tokens: Bucket | None = None
    most: int = 1_000_000
    chance: float = 0.0
    changes: tuple[tuple[float, Callable[[Server], None]], ...] = ()
    retry_after: Callable[[Server, float], float | None] = lambda _server, _now: None
    headers: Callable[[Server, float], dict[str, str]] | None = None
    n_tokens: Callable[[Request], int] = lambda _request: 1000
    seed: int = 0
    taken_at: list[float] = field(default_factory=list)
    refused_at: list[float] = field(default_factory=list)
    n_in_hand: int = 0
    carried_s: float = 0.0
    heard: Callable[[Request, dict[str, str]], None] | None = None

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)
        self._left = list(self.changes)

    def _takes(self, request: Request, now: float) -> bool:
        while self._left and now >= self._left[0][0]:
            self._left.pop(0)[1](self)
        if self._draw.random() < self.chance or self.n_in_hand >= self.most:
            return False
        asked = [(self.requests, 1.0), (self.tokens, float(self.n_tokens(request)))]
        for bucket, _ in asked:
            if bucket is not None:
                bucket.fill(now)
        if any(bucket is not None and bucket.level < size for bucket, size in asked):
            return False
        for bucket, size in asked:
            if bucket is not None:
                bucket.level -= size
        return True

    async def ask(self, request: Request) -> Outcome:
        await asyncio.sleep(self.lag_s / 2)
        now = asyncio.get_running_loop().time()
        is_taken = self._takes(request, now)
        headers = self.headers(self, now) if self.headers is not None else {}
        wait_s = self.retry_after(self, now)
        if not is_taken:
            self.refused_at.append(now)
            await asyncio.sleep(self.lag_s / 2)
            if self.heard is not None and headers:
                self.heard(request, headers)
            raise RateLimitError("429: no more", wait_s=wait_s)
        self.taken_at.append(now)
        self.n_in_hand += 1
        latency_s = self.median_s * self._draw.lognormvariate(0.0, self.sigma)
        try:
            await asyncio.sleep(latency_s)
        finally:
            self.n_in_hand -= 1
        self.carried_s += latency_s
        await asyncio.sleep(self.lag_s / 2)
        if self.heard is not None and headers:
            self.heard(request, headers)
        n_output = self.n_tokens(request) // 2
        return Outcome(kind="ok", text="Yes.", usage=Usage(n_input=n_output, n_output=n_output))

    async def close(self) -> None: ...


def sized(task: str, n_tokens: int) -> Request:
    """A request that takes so many tokens: half of them its own, half the reply's."""
    return wish(task, prompt="word" * (n_tokens // 2), max_tokens=n_tokens // 2)


async def run_all(server: Server, n: int, wanted: int) -> Limited:
    """Ask `n` requests as a pipeline does, and see that each is answered once."""
    limited = Limited(server, wanted)
    server.heard = limited.read_headers
    client = Retrying(limited, where="openai/tiny", patience_s=1800.0)
    pool, answered = Pool(wanted), list[str]()

    async def one(number: int) -> None:
        outcome = await client.ask(
            wish(f"t{number}") if server.tokens is None else sized(f"t{number}", server.n_tokens(wish(f"t{number}")))
        )
        assert outcome.kind == "ok"
        answered.append(f"t{number}")

    for number in range(n):
        pool.add(lambda number=number: one(number))  # type: ignore[misc]
    await pool.run()
    await client.close()
    assert len(answered) == len(set(answered)) == n
    return limited
