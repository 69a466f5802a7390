"""What is learnt of a server's limits, and when the next request may go.

A refusal (429, 503, 529) says only that this request was not taken. Headers tell how much is left of a limit
(`Quota`); otherwise the pattern of refusals says whether there is a limit at all, and the words which one:

- Fewer than a quarter of the last 40 refused: chance. Nobody is held back; the refused one comes again.
- More: a limit. First it is taken for one of requests in flight: what is carried after the burst is the limit, and one
  more is tried every now and then, two after it, then four.
- Refused beside others that are taken, or far below what was carried: a rate. Sending is paced to what was taken, in
  cycles of a second or 12 requests, faster after each in which hardly any was refused. If going slower twice changes
  nothing, the refusals are chance after all.
- Nothing taken at all: everybody waits, for as long as the server asks, and one goes first.

An attempt counts as taken until it is refused: refusals come at once, answers may take a minute. Numbers: LOG.md.
"""

from __future__ import annotations

import math
from collections import deque

from midspec.llm._limits import LimitKind, LimitReading, Quota, Sent
from midspec.llm._server import PROBE_EVERY_S, ServerCapacity

_N_LAST, _FEW, _FEW_OF_CAPACITY = 40, 0.25, 0.175  # a quarter of 40 by chance, where 5% are refused: once in 100,000
_CYCLE_S, _LONGEST_CYCLE_S, _N_CYCLE, _N_START = 1.0, 10.0, 12, 5
# A test goes at 0.7 of what was taken, so that a bucket refuses nothing; 50 tell a fifth refused from none.
_TEST_S, _LONGEST_TEST_S, _N_TEST, _TEST_SHARE, _N_UNTIL_TEST = 0.25, 2.0, 50, 0.7, 20
_FIRST_GROWTH, _START_GROWTH = 0.03, 0.5  # doubled after each cycle
_FIRST_CLOSED_S, _LONGEST_CLOSED_S = 0.25, 5.0  # where the server does not say
_LONGEST_QUOTA_S = 60.0  # what headers say is longer off is asked for: the server's words say what to wait for
_LONGEST_OWN_S = 2.0  # of a request that is refused while others are taken
_BURST_S, _TURN_EVERY_S, _LITTLE = 0.1, 30.0, 0.08


class _Cycle:
    """What was sent and refused in one stretch of time at one pace."""

    __slots__ = ("began_at", "ends_at", "n", "n_refused", "units", "units_refused")

    def __init__(self, began_at: float, seconds: float) -> None:
        self.began_at, self.ends_at = began_at, began_at + seconds
        self.n = self.n_refused = 0
        self.units = self.units_refused = 0.0


class Pace:
    """How much may be sent in a second, learnt from what is refused; `rate` is None while nothing is held back.

    Attributes:
        chance: the share of refusals that no pace changes.
        is_over: too many were refused, though hardly more were sent than before.
    """

    def __init__(self) -> None:
        self.rate: float | None = None
        self.chance = 0.0
        self.is_over = False
        self.kind: LimitKind = "requests"
        self._credit = self._credit_at = 0.0
        self._good = self._most = self._taken = 0.0
        self._growth = _FIRST_GROWTH
        self._n_taken = 0
        self._tests: list[float] = []  # shares refused at less than what was taken before
        self._n_until_test = self._n_loose = 0
        self._mean_size = 1.0
        self._cycle = _Cycle(0.0, 0.0)

    def engage(self, kind: LimitKind, rate: float, now: float) -> None:
        """Begin to hold back, at `rate` of `kind` a second."""
        self.kind, self.rate = kind, max(rate, 1e-3)
        self._most = max(self._most, self.rate)
        self._good, self._growth, self._n_loose, self._n_until_test = 0.0, _START_GROWTH, 0, 0
        self._credit, self._credit_at = 0.0, now
        self._tests.clear()
        self._begin(now)

    def opens_at(self, sizes: dict[LimitKind, float], now: float) -> float:
        """Return when an attempt of these sizes may go."""
        if self.rate is None:
            return now
        size = sizes[self.kind]
        self._credit = min(max(size, self.rate * _BURST_S), self._credit + self.rate * (now - self._credit_at))
        self._credit_at = now
        return now if self._credit >= size else now + (size - self._credit) / self.rate

    def send(self, sent: Sent) -> None:
        """Count an attempt."""
        size = sent.sizes[self.kind]
        self._credit -= size
        self._mean_size += 0.05 * (size - self._mean_size)
        if sent.at < self._cycle.ends_at:
            sent.cycle = self._cycle
            self._cycle.n += 1
            self._cycle.units += size

    def refuse(self, sent: Sent) -> None:
        """Count that it was refused."""
        if sent.cycle is self._cycle and self.rate is not None:
            self._cycle.n_refused += 1
            self._cycle.units_refused += sent.sizes[self.kind]

    def _begin(self, now: float) -> None:
        one_s = self._mean_size / (self.rate or 1.0)
        if self._tests:
            seconds = min(_LONGEST_TEST_S, max(_TEST_S, _N_TEST * one_s))
        else:
            n = _N_CYCLE if self._growth < _START_GROWTH else _N_START
            seconds = min(_LONGEST_CYCLE_S, max(_CYCLE_S, n * one_s))
        self._cycle = _Cycle(now, seconds)

    def judge(self, now: float, lag_s: float) -> bool:
        """Adapt the pace where a cycle is over, `lag_s` ago; return whether nothing was taken in it."""
        cycle = self._cycle
        if self.rate is None:
            return False
        is_bad = cycle.n_refused >= (10 if self._tests else 5) and cycle.n_refused > (self.chance + 0.25) * cycle.n
        if now < (cycle.began_at + _TEST_S if is_bad else cycle.ends_at) + lag_s:
            return False
        if cycle.n < 4 and now - cycle.began_at < 3 * _LONGEST_CYCLE_S:  # too few to say
            cycle.ends_at = now + _TEST_S
            return False
        seconds = max(_TEST_S, min(now, cycle.ends_at) - cycle.began_at)
        if cycle.n_refused >= cycle.n >= 4:
            self.rate *= 0.5
            self._begin(now)
            return seconds >= _CYCLE_S
        self._adapt(cycle, cycle.units / seconds, (cycle.units - cycle.units_refused) / seconds)
        self._begin(now)
        return False

    def _adapt(self, cycle: _Cycle, sent: float, taken: float) -> None:
        assert self.rate is not None
        n, share = max(1, cycle.n), cycle.n_refused / max(1, cycle.n)
        expected = 0.0 if self._tests else self.chance * n
        is_over = cycle.n_refused > expected + 1 + 0.05 * n + 1.5 * math.sqrt(expected * (1 - self.chance))
        self._n_until_test -= 1
        if self._tests:
            self._read_test(share, taken, is_over=is_over)
        elif is_over or (self.chance > _LITTLE and self._n_until_test <= 0):
            self.is_over = self._growth < 0.2
            self._growth, self._credit, self._n_loose = _FIRST_GROWTH, 0.0, 0
            # Refused at less than what was taken before: the limit is another, or there is none.
            if self._n_until_test <= 0 or self.chance > _LITTLE or self.rate < 0.85 * self._taken:
                self._most, self._taken, self._n_taken = max(self._most, sent), taken, n - cycle.n_refused
                self._tests.append(share)
                self.rate = max(_TEST_SHARE * taken, 1e-3)
            else:  # one cycle is a small sample: a good pace is not given up for it, nor much of another
                least = 0.95 * self._good or (0.85 if share < 0.35 else 0.6) * self.rate
                self.rate, self._good = max(taken, least), 0.0
        elif sent < 0.7 * self.rate:  # there was no more to send
            self._n_loose += 1
            self.rate = None if self._n_loose >= 5 else self.rate
        else:
            self._n_loose, self._good = 0, self.rate
            self._most = max(self._most * 0.97, sent)
            self.rate *= 1 + self._growth
            self._growth = min(1.0, 2.0 * self._growth)

    def _read_test(self, share: float, taken: float, *, is_over: bool) -> None:
        """Take a slow cycle as a test: if going slower twice changes nothing, the refusals are chance."""
        first_taken, self._taken = self._taken, taken if is_over else self._taken
        self._n_until_test = _N_UNTIL_TEST
        if is_over and len(self._tests) == 1:
            self._tests.append(share)
            self.rate = max(_TEST_SHARE * taken, 1e-3)
            return
        if is_over and taken < 0.85 * first_taken:
            self.chance = (share + self._tests[-1]) / 2
            self.rate, self._growth, self._taken = 1.5 * self._most, 1.0, 0.0
        else:
            self.chance = 0.0
            self.rate = max(self._taken, 1e-3)
            self._growth = _FIRST_GROWTH if self._n_taken >= _N_LAST else _START_GROWTH
        self._tests.clear()


class Pacer:
    """Says when the next attempt may go, from what became of the ones before.

    Args:
        wanted: how many requests shall be in flight at once.
    """

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self.capacity = ServerCapacity(wanted)
        self.pace = Pace()
        self.quotas: dict[tuple[LimitKind, float | None], Quota] = {}
        self._totals: dict[LimitKind, float] = {"requests": 0, "tokens": 0, "input tokens": 0, "output tokens": 0}
        self._judged_at = self._turns_at = 0.0
        self._recent: deque[Sent] = deque(maxlen=max(400, 2 * wanted))
        self._lag_s = 0.1
        self.hold_until = 0.0
        self._settles_by: float | None = None
        self._top = self._n_answered = self._n_closed = 0
        self.row: Sent | None = None
        self.n_in_a_row = 0
        self._asked_s: float | None = None

    @property
    def is_plain(self) -> bool:
        """Return whether nothing is held back but by the number in flight."""
        is_paced = self.pace.rate is not None or self.quotas
        return self.capacity.is_full and not is_paced and self._settles_by is None and not self.hold_until

    def opens_at(self, sizes: dict[LimitKind, float], n_out: int, now: float) -> float | None:
        """Return when the next attempt may go; None if only after another has come back.

        Args:
            sizes: what it is thought to take of each kind.
            n_out: how many are in flight.
            now: on the loop's clock.
        """
        if n_out < self._wanted and self.is_plain:
            return now
        self._tick(n_out, now)
        at = max(self.hold_until, self.pace.opens_at(sizes, now))
        for quota in self.quotas.values():
            quota_at = quota.opens_at(sizes[quota.kind], now)
            at = max(at, quota_at) if quota_at - now <= _LONGEST_QUOTA_S else at
        if at > now:
            return at
        if n_out < self.capacity.limit or self.capacity.may_probe(n_out, now):
            return now
        probe_at = self.capacity.next_probe_at
        return probe_at if not self.capacity.is_full and now < probe_at < math.inf else None

    def send(self, sizes: dict[LimitKind, float], n_out: int, now: float) -> Sent:
        """Count an attempt that goes now, beside `n_out` others."""
        sent = Sent(now, n_out, sizes)
        for kind, size in sizes.items():
            self._totals[kind] += size
        for quota in self.quotas.values():
            quota.take(sizes[quota.kind])
        sent.totals = dict(self._totals)
        if self.pace.rate is not None:
            self.pace.send(sent)
        if n_out >= self.capacity.limit:
            self.capacity.probe(sent)
        self._recent.append(sent)
        return sent

    def read(self, readings: list[LimitReading], sent: Sent, now: float) -> None:
        """Take over what the headers of the answer to `sent` say."""
        for reading in readings:
            if reading.kind == "concurrency":
                continue
            key = (reading.kind, reading.window_s)
            if key not in self.quotas and reading.limit and reading.remaining is not None:
                self.quotas[key] = Quota(reading.kind)
            if key in self.quotas:
                self.quotas[key].read(reading, sent, self._totals[reading.kind], now)

    def reset_s(self, sent: Sent, now: float) -> float | None:
        """Return in how many seconds a limit is free again that headers call used up; None where none is."""
        resets = [quota.reset_at - now for quota in self.quotas.values() if quota.level < sent.sizes[quota.kind]]
        return max((reset_s for reset_s in resets if reset_s < math.inf), default=None)

    def answer(self, sent: Sent, now: float) -> None:
        """Count that an attempt was taken, and answered."""
        self._n_answered += 1
        if sent.is_probe:
            self.capacity.probe_taken(sent, now)
        if self.row is not None and sent.at >= self.row.at:
            self.row, self.n_in_a_row, self._n_closed = None, 0, 0

    def refuse(
        self, sent: Sent, n_out: int, now: float, *, kind: LimitKind | None, per_s: float | None, wait_s: float | None
    ) -> float | None:
        """Count that an attempt was refused; return how long it alone should wait, None for a pause of one's own.

        Args:
            sent: the attempt.
            n_out: how many others are in flight.
            now: on the loop's clock.
            kind: which limit the server names.
            per_s: how much it allows a second, where it says so.
            wait_s: how long it asks to be left alone.
        """
        own_s = None if wait_s is None else min(wait_s, _LONGEST_OWN_S)
        sent.is_refused = True
        self._asked_s = wait_s
        self._lag_s += 0.1 * (min(now - sent.at, 2.0) - self._lag_s)
        self._count_in_a_row(sent, now)
        for size_kind, size in sent.sizes.items():
            self._totals[size_kind] -= size
        emptied = [quota for quota in self.quotas.values() if quota.level < 2 * sent.sizes[quota.kind]]
        for quota in self.quotas.values():
            quota.take(-sent.sizes[quota.kind])
        self.pace.refuse(sent)
        if n_out == 0 and self.n_in_a_row >= min(5, self._wanted):
            self._close(n_out, now, wait_s)
            return 0.0
        for quota in emptied:
            quota.refuse(sent.sizes[quota.kind], wait_s, now)
        if sent.is_probe:
            self.capacity.probe_refused(sent, now)
        elif self.pace.rate is not None and not emptied:
            return 0.0 if self.pace.chance < _LITTLE else own_s
        elif self._settles_by is not None:
            self._hold(now)
        elif not emptied and not self._finds_limit(kind, per_s, n_out, now):
            return own_s
        return 0.0

    def _count_in_a_row(self, sent: Sent, now: float) -> None:
        since = self.row.at if self.row is not None else now
        if any(since <= each.at <= now - max(0.5, 4 * self._lag_s) and not each.is_refused for each in self._recent):
            self.row, self.n_in_a_row = None, 0
        self.row = self.row or sent
        self.n_in_a_row += 1

    def _look_back(self, now: float) -> tuple[list[Sent], list[int]]:
        """Return the last attempts that are decided, newest first, and beside how many others the refused ones went."""
        last: list[Sent] = []
        for each in reversed(self._recent):
            if each.at < self._judged_at or len(last) >= _N_LAST:
                break
            if not each.is_probe and (each.is_refused or each.at <= now - 1.5 * self._lag_s):
                last.append(each)
        return last, sorted(each.level for each in last if each.is_refused)

    def _is_mixed(self, last: list[Sent], levels: list[int], now: float, most: float = 0.8) -> bool:
        """Return whether, since the first refusal, many (for each `most`) were taken beside as many others."""
        old, level = now - max(0.1, 4 * self._lag_s), levels[len(levels) // 4]
        since = min(each.at for each in last if each.is_refused)
        n_taken = sum(not each.is_refused and each.level >= level and since <= each.at <= old for each in last)
        return n_taken > most * len(levels)

    def _finds_limit(self, kind: LimitKind | None, per_s: float | None, n_out: int, now: float) -> bool:
        """Return whether the last refusals are more than chance, and hold back if so; words alone prove nothing."""
        if not self.capacity.is_full and self._judged_at > now - max(0.1, 4 * self._lag_s):
            return False
        last, levels = self._look_back(now)
        few = max(_FEW if self.capacity.is_full else _FEW_OF_CAPACITY, min(0.85, 2 * self.pace.chance))
        if len(levels) < few * max(len(last), _N_LAST / 2):
            return False
        if kind not in (None, "concurrency"):
            self._pace(kind, now, per_s)
        elif kind is None and (n_out < 0.2 * self._top - 1 or self._is_mixed(last, levels, now)):
            # Refused where others are taken, or far below what was carried. Large ones first: tokens are counted.
            refused = sum(each.sizes["tokens"] for each in last if each.is_refused) / len(levels)
            taken = sum(each.sizes["tokens"] for each in last if not each.is_refused) / max(1, len(last) - len(levels))
            self._pace("tokens" if refused > 1.15 * taken > 0 else "requests", now, None)
        else:
            self._hold(now)
        self._judged_at = now
        return True

    def _turn_to_capacity(self, now: float) -> None:
        """Take a pace for a number in flight after all, where only those beside many others are refused."""
        last, levels = self._look_back(now)
        if now < self._turns_at or len(levels) < 4 or len(last) < _N_LAST / 2:
            return
        if not self._is_mixed(last, levels, now, 0.3):
            self._turns_at = now + _TURN_EVERY_S
            self.pace.rate = None
            self.capacity.cut(levels[len(levels) // 4], now)
            self._top, self._judged_at = self.capacity.limit, now

    def _hold(self, now: float) -> None:
        """Send nothing until the refusals of a burst have come in."""
        self._settles_by = now + 1.0 if self._settles_by is None else self._settles_by
        self._n_answered = 0 if self.hold_until <= now else self._n_answered
        self.hold_until = min(self._settles_by, now + max(0.02, 2 * self._lag_s))

    def _pace(self, kind: LimitKind, now: float, per_s: float | None) -> None:
        taken = [each.sizes[kind] for each in self._recent if not each.is_refused and each.at > now - 1.0]
        self.capacity.free()
        self._top = 0
        self._judged_at = now
        self.pace.engage(kind, max(self._recent[-1].sizes[kind], per_s or sum(taken)), now)

    def _close(self, n_out: int, now: float, wait_s: float | None) -> None:
        """Stop sending: wait, then let one go first."""
        own_s = min(_LONGEST_CLOSED_S, _FIRST_CLOSED_S * 2.0 ** min(self._n_closed, 20))
        self._n_closed += 1
        self._settles_by = None
        self.hold_until = max(self.hold_until, now + (own_s if wait_s is None else wait_s))
        self.pace.rate = None
        self.capacity.free()
        self.capacity.cut(max(1, n_out), self.hold_until - PROBE_EVERY_S)
        self._judged_at = now

    def _tick(self, n_out: int, now: float) -> None:
        if self._settles_by is not None and now >= self.hold_until:
            self._settles_by = None
            self.capacity.free()
            self.capacity.cut(n_out + self._n_answered, now)
            self._top = max(self._top, self.capacity.limit)
            self._judged_at = now
        self.hold_until = self.hold_until if now < self.hold_until else 0.0
        self.capacity.count_survivors(now - max(0.1, 4 * self._lag_s), now)
        if self.pace.judge(now, 2 * self._lag_s):
            self._close(n_out, now, self._asked_s)
        elif self.pace.is_over:
            self.pace.is_over = False
            self._turn_to_capacity(now)
