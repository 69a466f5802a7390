"""What is learnt of a server: how many requests it carries at once, and how long an answer may take; and what is told
on standard error while none comes.
"""

from __future__ import annotations

import logging
import math
import re
import time

from midspec.llm._limits import Sent
from midspec.llm._server_words import without_key

_LOG = logging.getLogger(__name__)
PROBE_EVERY_S = 0.5
_LONGEST_PROBE_EVERY_S = 2.5
_FEWEST_TOLD = 3
_FIRST_TOLD_S = 3.0
_TOLD_AGAIN_S = (15.0, 60.0, 300.0)
_LONG_PAUSE_S = 5.0
_LONG_ANSWER_S = 10.0
_SECRET = re.compile(r"\b(?:sk|pk|key|tok|gsk|xai|hf)[-_][A-Za-z0-9_-]{8,}|(?<=Bearer )\S+")
_STAGE_SAMPLES = 20
_FEWEST_SAMPLES = 5
# Together the p99.99 where sigma is 0.6: of 8,000 good replies one is broken off, and a hang costs nine medians.
_N_SIGMAS = 3.4
_MARGIN = 1.15
_SHORTEST_S = 1.0
_LATE_IN_A_ROW = 3


def in_words(seconds: float) -> str:
    """Return a length of time as people say it: `4 s`, `12 min`, `23 h 10 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    n_min = round(seconds / 60)
    return f"{n_min} min" if n_min < 100 else f"{n_min // 60} h {n_min % 60} min"


class Silence:
    """Tells on standard error what a server answers while nothing succeeds, since when, and what is waited for.

    The first line comes with the third failure, three seconds after the first, or at once where a long wait begins;
    further ones ever more seldom.

    Args:
        where: the model's name.
        secrets: what must not be in a line: the key.
    """

    def __init__(self, where: str, secrets: tuple[str, ...] = ()) -> None:
        self._where = where
        self._secrets = secrets
        self._since: float | None = None
        self._since_time = ""
        self._n_failed = self._n_told = 0
        self._next_at = 0.0
        self.answered_at = float("-inf")

    def answer(self, now: float) -> None:
        """Count an answer; say so where a silence was told of."""
        self.answered_at = now
        if self._since is not None:
            if self._n_told:
                _LOG.warning("%s: answers again, after %s", self._where, in_words(now - self._since))
            self._since = None

    def fail(self, reason: str, next_s: float | None, n_in_flight: int, now: float) -> None:
        """Count an attempt that came to nothing.

        Args:
            reason: what the server said.
            next_s: in how many seconds is tried again; `None` where somebody else decides that.
            n_in_flight: how many attempts may still be answered.
            now: on the loop's clock.
        """
        if self._since is None:
            self._since, self._n_failed, self._n_told = now, 0, 0
            self._since_time, self._next_at = time.strftime("%H:%M:%S"), now + _FIRST_TOLD_S
        self._n_failed += 1
        is_silent = self._n_failed >= max(_FEWEST_TOLD, n_in_flight) and now >= self._next_at
        pause_s = next_s or 0.0
        if not is_silent and not (pause_s >= _LONG_PAUSE_S and n_in_flight == 0 and not self._n_told):
            return
        self._next_at = now + max(pause_s, _TOLD_AGAIN_S[min(self._n_told, len(_TOLD_AGAIN_S) - 1)])
        self._n_told += 1
        for secret in self._secrets:
            reason = without_key(reason, secret)
        reason = _SECRET.sub("[key]", reason)[:200]
        at = time.strftime("%H:%M:%S", time.localtime(time.time() + pause_s))
        again = "" if next_s is None else f"; tried again in {in_words(next_s)}, at {at}"
        tries = "1 try" if self._n_failed == 1 else f"{self._n_failed} tries"
        _LOG.warning(
            "%s: nothing answered since %s (%s in %s): %s%s",
            self._where, self._since_time, tries, in_words(now - self._since), reason, again,
        )  # fmt: skip

    def wait(self, stage: str, max_tokens: int, n_in_flight: int, waited_s: float, usual_s: float, now: float) -> None:
        """Tell what is waited for where answers take long.

        Args:
            stage: of the request that has waited longest.
            max_tokens: its cap.
            n_in_flight: how many are waited for.
            waited_s: how long nothing has come.
            usual_s: how long one of the stage may take.
            now: on the loop's clock.
        """
        if self._since is not None or waited_s < max(_LONG_ANSWER_S, min(usual_s, 600.0) / 2) or now < self._next_at:
            return
        self._next_at = now + max(_TOLD_AGAIN_S[1], waited_s)
        _LOG.warning(
            "%s: no answer for %s; %d in flight, the longest for a request of %s, at most %s tokens",
            self._where, in_words(waited_s), n_in_flight, stage, f"{max_tokens:,}",
        )  # fmt: skip


class ServerCapacity:
    """How many requests a server carries at once.

    Args:
        wanted: how many requests shall be in flight at once.
    """

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self.limit = wanted
        self._step = 1
        self._every_s = PROBE_EVERY_S
        self.next_probe_at = 0.0
        self._probes: list[Sent] = []

    @property
    def is_full(self) -> bool:
        """Return whether as many are allowed as are wanted."""
        return self.limit >= self._wanted

    def cut(self, n_carried: int, now: float) -> None:
        """Take `n_carried` for the limit; more is tried after a while."""
        self.limit = max(1, min(self.limit, n_carried))
        self._rest(now)

    def free(self) -> None:
        """Forget the limit."""
        self.limit = self._wanted
        self._step, self._every_s = 1, PROBE_EVERY_S
        self._probes.clear()

    def may_probe(self, n_out: int, now: float) -> bool:
        """Return whether one more than the limit may be tried."""
        return not self.is_full and now >= self.next_probe_at and n_out < self.limit + self._step - len(self._probes)

    def probe(self, sent: Sent) -> None:
        """Count an attempt above the limit."""
        sent.is_probe = True
        self._probes.append(sent)
        if len(self._probes) >= self._step:
            self.next_probe_at = math.inf

    def probe_refused(self, sent: Sent, now: float) -> None:
        """Count that the server did not take one more."""
        if sent in self._probes:
            self._probes.remove(sent)
            self._every_s = min(_LONGEST_PROBE_EVERY_S, 2 * self._every_s)
            self._rest(now)

    def _rest(self, now: float) -> None:
        self._step = 1
        self._probes.clear()
        self.next_probe_at = now + self._every_s

    def probe_taken(self, sent: Sent, now: float) -> None:
        """Count that the server took one more: the limit is there, and twice as many more are tried."""
        if sent in self._probes:
            self._probes.remove(sent)
            self.limit = min(self._wanted, self.limit + 1)
            if not self._probes:
                self._step *= 2
                self._every_s = PROBE_EVERY_S
                self.next_probe_at = now
            if self.is_full:
                self.free()

    def count_survivors(self, before: float, now: float) -> None:
        """Count those sent before `before` as taken: a refusal would have come by now."""
        for sent in [sent for sent in self._probes if sent.at <= before]:
            self.probe_taken(sent, now)


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
