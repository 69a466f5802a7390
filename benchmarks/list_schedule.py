"""What a run of requests could have been: its dependencies, its barrier-free list schedule, its requests in flight.

Rows are those of the loopback provider's log (`tests/loopback`), made with `log_texts`.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Row = dict[str, Any]
_KEY_WORDS = 3
_WAIT_S = 0.05


def dependencies(rows: list[Row]) -> list[set[int]]:
    """For each row the earlier rows that it can't start without: the lists whose entries its prompt quotes.

    Entries are new prose in every reply, so a prompt that has one whole was made from that reply.
    """
    entries: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for number, row in enumerate(rows):
        if row["status"] == 200 and row.get("text", "").startswith(("{", "[")):
            for text in set(_strings(_loaded(row["text"]))):
                words = text.translate(_BARE).split()
                if len(words) >= _KEY_WORDS:
                    entries[tuple(words[:_KEY_WORDS])].append((text, number))
    return [_quoted(row, number, rows, entries) for number, row in enumerate(rows)]


@dataclass(frozen=True)
class Allowed:
    """A bucket that each request draws from when it starts: so much a second, `most` at once, full at the start."""

    per_s: float
    most: float
    size: Callable[[Row], float] = lambda _row: 1.0


def list_schedule(rows: list[Row], needs: list[set[int]], width: int, allowed: Allowed | None = None) -> float:
    """Seconds that `width` workers need which are never idle while a request could start; lists go before documents.

    Args:
        rows: the requests, with their latencies.
        needs: for each the rows that it can't start without.
        width: how many workers there are.
        allowed: where given, a request starts only when the bucket has as much as it takes.
    """
    followers, open_needs = defaultdict(list), [len(need) for need in needs]
    for number, need in enumerate(needs):
        for parent in need:
            followers[parent].append(number)
    ready = [(row["kind"] == "document", number) for number, row in enumerate(rows) if not open_needs[number]]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now = filled_at = 0.0
    level = allowed.most if allowed is not None else 0.0
    while ready or running:
        opens_at = math.inf
        while ready and len(running) < width:
            if allowed is not None:
                level, filled_at = min(allowed.most, level + allowed.per_s * (now - filled_at)), now
                size = min(allowed.size(rows[ready[0][1]]), allowed.most)
                if level < size - 1e-9:
                    opens_at = now + (size - level) / allowed.per_s
                    break
                level -= size
            _, number = heapq.heappop(ready)
            heapq.heappush(running, (now + rows[number]["latency_s"], number))
        if running and running[0][0] <= opens_at:
            now, done = heapq.heappop(running)
            for number in followers[done]:
                open_needs[number] -= 1
                if not open_needs[number]:
                    heapq.heappush(ready, (rows[number]["kind"] == "document", number))
        else:
            now = opens_at
    return now


def mean_in_flight(rows: list[Row], needs: list[set[int]]) -> float:
    """Mean number of requests in flight while ideas remain.

    That is from the first idea that has to wait (50 ms from its list's reply to the request for its document) to the
    last document that is asked for the first time (one that was broken off and is asked again is no idea that waited).
    """
    documents = [number for number, row in enumerate(rows) if row["kind"] == "document" and not row["n_before"]]
    known = {n: max((rows[parent]["done"] for parent in needs[n]), default=rows[n]["at"]) for n in documents}
    end = max(rows[number]["at"] for number in documents)
    start = min((at for n, at in known.items() if rows[n]["at"] - at > _WAIT_S), default=end)
    if start == end:
        return 0.0
    steps: list[tuple[float, int]] = [(start, 0), (end, 0)]
    for row in rows:
        until = row["done"] or row["left"] or end
        if until > start and row["at"] < end:
            steps += [(max(row["at"], start), 1), (min(until, end), -1)]
    steps.sort()
    area, n_now = 0.0, 0
    for (at, change), (following, _) in pairwise(steps):
        n_now += change
        area += n_now * (following - at)
    return float(area / (end - start))


def _quoted(row: Row, number: int, rows: list[Row], entries: dict[tuple[str, ...], list[tuple[str, int]]]) -> set[int]:
    tail = row.get("tail", "")
    words = tail.translate(_BARE).split()
    found: set[int] = set()
    for at in range(len(words) - _KEY_WORDS + 1):
        for text, owner in entries.get(tuple(words[at : at + _KEY_WORDS]), ()):
            if (
                owner != number
                and owner not in found
                and text.rstrip(".") in tail
                and (rows[owner]["done"] or 0) <= row["at"]
            ):
                found.add(owner)
    return found


# Marks that a prompt may set around an entry.
_BARE = str.maketrans(dict.fromkeys('"*`<>()[]:;|#.,', " "))


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:  # a fault: nothing was made from it
        return None


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for each in inner for text in _strings(each)]
