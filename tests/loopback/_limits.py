"""A server's limits: buckets of requests and of tokens, and the headers in which providers tell them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ._settings import Settings


@dataclass
class Bucket:
    """So much a second, and so much at once; with `window_s` it is filled anew at the end of each window instead."""

    per_s: float
    most: float
    window_s: float | None = None
    at: float = 0.0
    level: float = field(init=False)

    def __post_init__(self) -> None:
        self.level = self.most

    def fill(self, now: float) -> None:
        """Add what has come in since it was last looked at."""
        if self.window_s is None:
            self.level = min(self.most, self.level + self.per_s * (now - self.at))
        elif now // self.window_s > self.at // self.window_s:
            self.level = self.most
        self.at = now

    def change(self, per_s: float, most: float) -> None:
        """Set another size; what is left stays, but for what no longer fits."""
        self.per_s, self.most = per_s, most
        self.level = min(self.level, most)

    def reset_s(self, now: float) -> float:
        """Seconds until it is full again."""
        if self.window_s is not None:
            return self.window_s - now % self.window_s
        return (self.most - self.level) / self.per_s

    def wait_s(self, size: float, now: float) -> float:
        """Seconds until there is room for `size`."""
        if self.level >= size:
            return 0.0
        return self.reset_s(now) if self.window_s is not None else (size - self.level) / self.per_s


class Limits:
    """Takes or refuses by the settings' limits, which may change while the server runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.max_in_flight = settings.max_in_flight
        self._changes = sorted(settings.changes, key=lambda change: change.at_s)
        self._began_at: float | None = None
        self.requests = self._bucket(settings.requests_per_min)
        self.tokens = self._bucket(settings.tokens_per_min)

    def _bucket(self, per_min: float | None) -> Bucket | None:
        return None if per_min is None else Bucket(per_min / 60, per_min / 60 * self._settings.burst_s)

    def takes(self, n_tokens: int, n_in_flight: int, now: float) -> bool:
        """Whether one more is taken; if so it is counted."""
        self._began_at = now if self._began_at is None else self._began_at
        while self._changes and now - self._began_at >= self._changes[0].at_s:
            change = self._changes.pop(0)
            self.max_in_flight = change.max_in_flight or self.max_in_flight
            for bucket, per_min in ((self.requests, change.requests_per_min), (self.tokens, change.tokens_per_min)):
                if bucket is not None and per_min is not None:
                    bucket.fill(now)
                    bucket.change(per_min / 60, per_min / 60 * self._settings.burst_s)
        if self.max_in_flight is not None and n_in_flight >= self.max_in_flight:
            return False
        sizes = [(bucket, size) for bucket, size in ((self.requests, 1), (self.tokens, n_tokens)) if bucket is not None]
        for bucket, _ in sizes:
            bucket.fill(now)
        if any(bucket.level < size for bucket, size in sizes):
            return False
        for bucket, size in sizes:
            bucket.level -= size
        return True

    def headers(self, protocol: str, now: float) -> bytes:
        """What a response says of the limits, as the provider of the protocol says it."""
        lines = []
        for name, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket is None:
                continue
            bucket.fill(now)
            limit, left, reset_s = round(bucket.per_s * 60), math.floor(bucket.level), bucket.reset_s(now)
            if protocol == "anthropic":
                at = (datetime.now(UTC) + timedelta(seconds=reset_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
                told = {"limit": limit, "remaining": left, "reset": at}
                lines += [f"anthropic-ratelimit-{name}-{key}: {value}" for key, value in told.items()]
            else:
                told = {"limit": limit, "remaining": left, "reset": f"{int(reset_s // 60)}m{reset_s % 60:.3f}s"}
                lines += [f"x-ratelimit-{key}-{name}: {value}" for key, value in told.items()]
        return "".join(line + "\r\n" for line in lines).encode()
