"""What is learnt of a server: how many requests it carries at once, and how long an answer may take.

The limit starts at what is wanted. A 429 says that the server carries what was in flight without the rejected request;
rejections of requests that were sent before the last cut belong to the same cut and take one off each. Upwards it goes
fast to just below the level that was last rejected, then one at a time, and ever more seldom while that is rejected
again. A lone rejection stops nobody else; when nothing is in flight any more, everybody waits for as long as the
server asks.
"""

from __future__ import annotations

import math

_LONGEST_ROUNDS = 16
_STAGE_SAMPLES = 20
_FEWEST_SAMPLES = 5
# Together the p99.99 where sigma is 0.6: of 8,000 good replies one is broken off, and a hang costs nine medians.
_N_SIGMAS = 3.4
_MARGIN = 1.15
_SHORTEST_S = 1.0
_LATE_IN_A_ROW = 3


class ServerCapacity:
    """How many requests a server carries at once, learnt from what it rejects.

    Args:
        wanted: how many requests shall be in flight at once.
    """

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self.limit = wanted
        self.epoch = 0
        self._rejected_at: int | None = None
        self._rounds = 1
        self._n_good = 0
        self._n_step = 1

    def count_success(self) -> None:
        """Count an answer that came while the limit was full: when enough of them have come, more is tried."""
        if self.limit >= self._wanted:
            return
        self._n_good += 1
        top = self._rejected_at
        if top is not None and self.limit < top - 1:
            self.limit = min(self._wanted, self.limit + 1)  # one for each answer doubles the limit in a round
        elif self._n_good >= self.limit * (self._rounds if top is not None else 1):
            self._n_good = 0
            if top is not None and self.limit >= top:
                self._rejected_at, self._rounds, self._n_step = None, 1, 1
            self.limit = min(self._wanted, self.limit + self._n_step)
            if self._rejected_at is None:
                self._n_step *= 2

    def count_rejection(self, n_in_flight: int, epoch: int) -> None:
        """Count a request that the server did not take.

        Args:
            n_in_flight: what is in flight without it, which is what the server carries.
            epoch: the number of cuts when it was sent.
        """
        self._n_good = 0
        self._n_step = 1
        if epoch == self.epoch:
            self.epoch += 1
            again = self._rejected_at is not None and abs(n_in_flight + 1 - self._rejected_at) <= 1
            self._rounds = min(_LONGEST_ROUNDS, self._rounds * 2) if again else 1
            self.limit = max(1, min(self.limit, n_in_flight))
        else:
            self.limit = max(1, self.limit - 1)
        self._rejected_at = self.limit + 1


class _Latency:
    """Mean and variance of the logarithm of a latency, as they come in; and how long the replies could have been."""

    __slots__ = ("log_mean", "log_squares", "n", "tokens_mean")

    def __init__(self) -> None:
        self.n = 0
        self.log_mean = self.log_squares = self.tokens_mean = 0.0

    def add(self, seconds: float, max_tokens: int) -> None:
        self.n += 1
        log = math.log(max(seconds, 1e-4))
        off = log - self.log_mean
        self.log_mean += off / self.n
        self.log_squares += off * (log - self.log_mean)
        self.tokens_mean += (max_tokens - self.tokens_mean) / self.n

    def high_s(self, *, doubt: float, least_sigma: float) -> float:
        """Return the p99.9 in seconds with a margin, further up the fewer samples there are."""
        sigma = max(least_sigma, math.sqrt(self.log_squares / max(1, self.n - 1)))
        sigma *= 1 + doubt / math.sqrt(self.n)
        return _MARGIN * math.exp(min(self.log_mean + _N_SIGMAS * sigma, 30.0))


class Deadlines:
    """What is known of the latencies of every stage.

    Args:
        longest_s: the longest deadline, and the one that holds before anything is known.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._stages: dict[str, _Latency] = {}
        self._all = _Latency()
        self._stretch: dict[str, float] = {}
        self._n_late_in_a_row: dict[str, int] = {}
        self._widened_at: dict[str, float] = {}

    def seconds(self, stage: str, max_tokens: int) -> float:
        """Return how long an attempt of `stage` may take."""
        own = self._stages.get(stage)
        if own is not None and own.n >= _STAGE_SAMPLES:
            base_s = own.high_s(doubt=1.0, least_sigma=0.2)
        elif self._all.n >= _FEWEST_SAMPLES:
            longer = max(1.0, max_tokens / self._all.tokens_mean)
            base_s = self._all.high_s(doubt=4.0, least_sigma=0.4) * longer
        else:
            return self._longest_s
        return min(self._longest_s, max(_SHORTEST_S, base_s * self._stretch.get(stage, 1.0)))

    def answered(self, stage: str, seconds: float, max_tokens: int) -> None:
        """Count an attempt that was answered after `seconds`."""
        self._stages.setdefault(stage, _Latency()).add(seconds, max_tokens)
        self._all.add(seconds, max_tokens)
        if stage in self._n_late_in_a_row:
            self._n_late_in_a_row[stage] = 0
        if (stretch := self._stretch.get(stage, 1.0)) > 1.0:
            self._stretch[stage] = max(1.0, stretch * 0.98)

    def late(self, stage: str, sent_at: float, now: float) -> None:
        """Count an attempt sent at `sent_at` that was not answered in time (both on the event loop's clock)."""
        # Those that were sent before the last widening say nothing about the wider deadline.
        if sent_at < self._widened_at.get(stage, float("-inf")):
            return
        self._n_late_in_a_row[stage] = self._n_late_in_a_row.get(stage, 0) + 1
        if self._n_late_in_a_row[stage] >= _LATE_IN_A_ROW:
            self._n_late_in_a_row[stage] = 0
            self._widened_at[stage] = now
            self._stretch[stage] = min(2.0 * self._stretch.get(stage, 1.0), 1e6)
