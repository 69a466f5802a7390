"""What writing a corpus with a model costs beside the model: time, CPU, memory; and what faults and kills lose.

    python benchmarks/generation.py [--only NAME ...] [--quick] [--out DIR] [--kills 10]

The workload is 5 domains x 6 subdomains x 10 document types x 10 ideas = 3,000 documents in 3,366 requests, from a spec
of 20 kB (made here, the same every time), by `midspec corpus --author openai/loopback` in a process of its own. The
model is `tests/loopback` in another one: log-normal latencies (sigma 0.6; median 200 ms for lists, 500 ms for
documents), drawn from the text of the request, and replies of seeded prose in the form that was asked for.

- *P* is the wall time of a list schedule without barriers: as many workers as the concurrency asked for, never idle
  while a request could start, exactly the latencies that the run got, and the run's own dependencies (a request depends
  on the lists whose entries its prompt quotes).
- *Wall* is from process start to exit. *CPU* is user and system time of the whole process with its children, from
  wait4; *memory* the largest resident set (VmHWM).
- *In flight* is counted at the server, from the first idea that has to wait for 50 ms to the last document asked for.
- *40,000* is 5 x 8 x 20 x 50; CPU and memory of it are compared with those of 3,000 documents at the same latencies (a
  tenth of the above) and concurrency (50).
- *Kills*: SIGKILL to the process group at random moments (counted in requests; some among the lists), then the same
  command again, at last to its end. The server knows requests by the hash of their messages. A reply counts as fully
  received when it was written 100 ms (quick: 500 ms) before the kill; later ones count as in flight. The store must
  hold every request that the server saw.
- *Faults*: 5% status 500, 1% never answered, 2% cut at the cap, 1% refused, drawn for each attempt. A document is dirty
  if it is not a whole text of the server: the right number of sentences, no tag, no refusal.
- *Window* is from the first request's arrival to the last reply at a server that takes 40 at once (429 and Retry-After
  for more) where 100 are asked for; *ideal* is P for 40 workers.
- *Chance*: 5% of the requests refused (429, Retry-After 1 s) whatever the load, against the run without.
- *Rates*: a server that takes 1,500 requests a minute (or as many tokens as 1,500 requests of the mean size take), two
  seconds' worth at once, and says so only by 429 (*told*: also in the provider's headers). *Allowed* is P with the same
  bucket; a request that is refused takes nothing from it.
- *Change*: the limit becomes another in mid-run. *Followed* is the time until, in three seconds, 90% of what is allowed
  then was taken and not a quarter refused.
- *Cache*: prompt tokens that the server says were read, of those that an earlier request had in common.

Exits with 1 if a measure misses what it must be. `--quick` is a small version of everything, which judges counts only.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from list_schedule import Allowed, Row, dependencies, list_schedule, mean_in_flight
from loopback_runs import KEY, Run, Sizes, finish, has_ended, provider, start, whole

_GREY_S, _QUICK_GREY_S = 0.1, 0.5  # the quick version also runs beside other work
_N_SENTENCES = 25  # of a document of the server: one that names the model, and 24 more
_MEAN_TOKENS = 20_000  # of a request with the spec, the cap of its reply counted
_FAULTS = {"rate_500": 0.05, "rate_hang": 0.01, "rate_truncated": 0.02, "rate_refused": 0.01}


@dataclass(frozen=True)
class Measured:
    """A line of the table; `good` is None where nothing is judged."""

    name: str
    must: str
    value: str
    good: bool | None


def at_most(name: str, value: float, bound: float, unit: str = "", digits: int = 2) -> Measured:
    """A measure that must not be above a bound."""
    return Measured(name, f"<= {bound:g}{unit}", f"{value:.{digits}f}{unit}", value <= bound)


def at_least(name: str, value: float, bound: float) -> Measured:
    """A measure that must not be below a bound."""
    return Measured(name, f">= {bound:g}", f"{value:.3f}", value >= bound)


def none_of(name: str, n: int, note: str = "") -> Measured:
    """A count that must be 0."""
    return Measured(name, "0", f"{n}{note}", n == 0)


class Bench:
    """Runs of the workload, each made when a measure first wants it."""

    def __init__(self, folder: Path, *, quick: bool, kills: int, seed: int) -> None:
        self.folder, self.quick, self.seed = folder, quick, seed
        self.kills = 2 if quick else kills
        self.sizes = Sizes(2, 2, 3, 3) if quick else Sizes()
        self.large = Sizes(2, 3, 4, 6) if quick else Sizes(5, 8, 20, 50)
        self._calm: dict[int, Run] = {}

    def latencies(self, share: float = 1.0) -> dict[str, Any]:
        """The settings of the workload's latencies, or a share of them."""
        share *= 0.1 if self.quick else 1.0
        return {"median_list_s": 0.2 * share, "median_document_s": 0.5 * share, "sigma": 0.6, "seed": self.seed}

    def calm(self, width: int) -> Run:
        """The workload without faults at one concurrency."""
        if width not in self._calm:
            with provider(**self.latencies(), log_texts=True) as at:
                self._calm[width] = whole(at, self.folder / f"calm-{width}", self.sizes, concurrency=width)
        return self._calm[width]

    @cached_property
    def small_and_large(self) -> tuple[Run, Run]:
        """3,000 and 40,000 documents at the same, short latencies."""
        runs = []
        for name, sizes in (("small", self.sizes), ("large", self.large)):
            with provider(**self.latencies(0.1)) as at:
                runs.append(whole(at, self.folder / name, sizes, concurrency=50))
                _say(f"{name}: {_cost(runs[-1])}")
        return runs[0], runs[1]


def time_against_schedule(bench: Bench) -> list[Measured]:
    """Wall time over P, and requests in flight, at concurrency 50 and 200."""
    found = []
    for width, bound in ((50, 1.08), (200, 1.10)):
        run = bench.calm(width)
        needs = dependencies(run.rows)
        best = list_schedule(run.rows, needs, width)
        span = _span(run.rows)
        n_more = len(run.rows) - _n_requests(bench.sizes)
        before = min(row["at"] for row in run.rows) - run.began
        _say(f"concurrency {width}: {_cost(run)}; P {best:.2f} s; {n_more} requests more than needed")
        _say(f"  {before:.2f} s to the first request, {span:.2f} s to the last reply")
        found += [
            at_most(f"process start to exit / P, concurrency {width}", run.wall_s / best, bound),
            at_least(f"mean in flight while ideas remain / {width}", mean_in_flight(run.rows, needs) / width, 0.95),
            none_of("same: documents missing or double", _off(run, bench.sizes)),
        ]
    return found


def cpu_and_memory(bench: Bench) -> list[Measured]:
    """CPU seconds per 1,000 requests and peak memory of the workload."""
    found = []
    for width in (50, 200):
        run = bench.calm(width)
        found += [
            at_most(f"CPU seconds per 1,000 requests, concurrency {width}", run.cpu_s / len(run.rows) * 1000, 2.5),
            at_most(f"peak memory at {bench.sizes.n_documents:,} documents", run.peak_mb, 200, " MB", 0),
        ]
    return found


def growth(bench: Bench) -> list[Measured]:
    """How CPU per request and memory grow from 3,000 to 40,000 documents."""
    small, large = bench.small_and_large
    n_more = bench.large.n_documents - bench.sizes.n_documents
    return [
        at_most("CPU per request, 40,000 / 3,000", _cpu_each(large) / _cpu_each(small), 1.1),
        at_most("memory per further document", (large.peak_mb - small.peak_mb) * 1000 / n_more, 2, " kB"),
        none_of("documents missing of 40,000", bench.large.n_documents - len(large.documents()) - len(large.rejects())),
    ]


def kills(bench: Bench) -> list[Measured]:
    """SIGKILL at random moments, then on."""
    draw, folder = random.Random(bench.seed), bench.folder / "kills"
    n_all, runs = _n_requests(bench.sizes), list[Run]()
    moments = sorted([1, *(round(n_all ** draw.random()) for _ in range(2)), *draw.sample(range(n_all), bench.kills)])
    with provider(**bench.latencies(0.25)) as at:
        for moment in moments[: bench.kills]:
            run, process = start(at, folder, bench.sizes, concurrency=50)
            while at.n_asked() < moment and not has_ended(process):
                time.sleep(0.01)
            time.sleep(draw.uniform(0.0, 0.2))
            runs.append(finish(run, process, kill=True))
            _say(f"kill {len(runs)} at {at.n_asked()} requests")
        runs.append(finish(*start(at, folder, bench.sizes, concurrency=50)))
        if runs[-1].code:
            sys.exit(f"the resumed run ended with {runs[-1].code}:\n{runs[-1].told[-3000:]}")
        rows = at.log()
    killed_at = [run.killed_at for run in runs if run.killed_at is not None]
    again = asked_again(rows, killed_at, _QUICK_GREY_S if bench.quick else _GREY_S)
    n_lost, usd = _lost(folder / "corpus.calls.sqlite", folder / "prices.yaml")
    n_open = sum(row["gone"] for row in rows)
    _say(f"kills: {again}")
    return [
        none_of(f"{len(runs) - 1} kills: replies fully received and asked again", again.received),
        none_of("in flight at a kill and asked again more than once", again.twice, f" (once: {again.in_flight})"),
        Measured(
            "in flight at a kill: counted, priced",
            f">= {n_open}, > $0",
            f"{n_lost}, ${usd}",
            n_lost >= n_open and usd > 0,
        ),
        none_of("documents missing or double", _off(runs[-1], bench.sizes)),
    ]


def faults(bench: Bench) -> list[Measured]:
    """Errors, hangs, cuts and refusals; documents must be written or accounted for, and whole."""
    calm = bench.calm(50)
    with provider(**bench.latencies(), **_FAULTS) as at:
        run = whole(at, bench.folder / "faults", bench.sizes, concurrency=50)
    documents, rejects = run.documents(), run.rejects()
    _say(f"faults: {_cost(run)}; {len(documents)} documents, {len(rejects)} rejected")
    return [
        none_of("faults: documents unaccounted", bench.sizes.n_documents - len(documents) - len(rejects)),
        none_of("faults: dirty documents", sum(_is_dirty(row["text"]) for row in documents)),
        at_most("faults: wall / fault-free", run.wall_s / calm.wall_s, 1.3),
    ]


def narrow_server(bench: Bench) -> list[Measured]:
    """A server that takes 40 where 100 are asked for."""
    taken, wanted = (4, 10) if bench.quick else (40, 100)
    with provider(**bench.latencies(), max_in_flight=taken, log_texts=True) as at:
        run = whole(at, bench.folder / "narrow", bench.sizes, concurrency=wanted)
    good = [row for row in run.rows if row["status"] == 200]
    ideal = list_schedule(good, dependencies(good), taken)
    _say(f"narrow: {_cost(run)}; {len(run.rows) - len(good)} times 429")
    _say(f"narrow: window {_span(run.rows):.2f} s, ideal {ideal:.2f} s")
    return [
        none_of(f"server takes {taken} of {wanted}: lost", _off(run, bench.sizes)),
        at_most("same: window / ideal", _span(run.rows) / ideal, 1.15),
    ]


def chance(bench: Bench) -> list[Measured]:
    """5% of requests refused, whatever the load."""
    calm = bench.calm(50)
    with provider(**bench.latencies(), rate_429=0.05) as at:
        run = whole(at, bench.folder / "chance", bench.sizes, concurrency=50)
    _say(f"chance: {_cost(run)}; {_n_refused(run.rows)} times 429; without {calm.wall_s:.2f} s")
    return [
        none_of("5% refused by chance: lost", _off(run, bench.sizes)),
        at_most("same: wall / none refused", run.wall_s / calm.wall_s, 1.2),
    ]


def rates(bench: Bench) -> list[Measured]:
    """Buckets of requests and of tokens, told in headers and not, at concurrency 50 and 200."""
    found = []
    sizes, per_min = (Sizes(2, 2, 3, 3), 600) if bench.quick else (Sizes(3, 4, 5, 10), 1500)
    n_tokens = _MEAN_TOKENS
    for width, kind, is_told, author in (
        (50, "requests", False, "openai"),
        (200, "requests", False, "openai"),
        (50, "requests", True, "anthropic"),
        (50, "tokens", False, "openai"),
        (200, "tokens", False, "openai"),
        (200, "tokens", True, "openai"),
    ):
        limit = per_min if kind == "requests" else per_min * n_tokens
        name = f"{kind} a minute{', told' if is_told else ''}, concurrency {width}"
        settings = {f"{kind}_per_min": limit, "burst_s": 2.0, "limit_headers": is_told}
        with provider(**bench.latencies(), log_texts=True, **settings) as at:
            folder = bench.folder / f"rate-{kind}-{width}-{is_told}"
            run = whole(at, folder, sizes, concurrency=width, author=author)
        good = [row for row in run.rows if row["status"] == 200]
        allowed = Allowed(limit / 60, limit / 30, _tokens if kind == "tokens" else _one)
        ideal = list_schedule(good, dependencies(good), width, allowed)
        _say(f"{name}: {_cost(run)}; {_n_refused(run.rows)} times 429; {_span(run.rows):.2f} s, allowed {ideal:.2f} s")
        found += [
            none_of(f"{name}: lost", _off(run, sizes)),
            at_most("same: window / allowed", _span(run.rows) / ideal, 1.10),
        ]
    return found


def change(bench: Bench) -> list[Measured]:
    """A limit that becomes another while the run goes on."""
    found = []
    sizes = Sizes(2, 2, 3, 3) if bench.quick else Sizes(3, 4, 6, 12)
    for name, first, second, after_s in (
        ("3,000 requests a minute, then 900", {"requests_per_min": 3000}, {"requests_per_min": 900}, 8.0),
        ("900 requests a minute, then 3,000", {"requests_per_min": 900}, {"requests_per_min": 3000}, 12.0),
        ("10 in flight, then 40", {"max_in_flight": 10}, {"max_in_flight": 40}, 12.0),
        ("40 in flight, then 10", {"max_in_flight": 40}, {"max_in_flight": 10}, 7.0),
    ):
        settings = {**first, "changes": [{"at_s": after_s, **second}]}
        with provider(**bench.latencies(), **settings) as at:
            run = whole(at, bench.folder / f"change-{len(found)}", sizes, concurrency=50)
        mean_s = statistics.fmean(row["latency_s"] for row in run.rows if row["status"] == 200)
        allowed = second["requests_per_min"] / 60 if "requests_per_min" in second else second["max_in_flight"] / mean_s
        seconds = followed_after(run.rows, after_s, allowed)
        _say(f"{name}: {_cost(run)}; {_n_refused(run.rows)} times 429; followed after {seconds:.1f} s")
        found += [
            none_of(f"{name}: lost", _off(run, sizes)),
            at_most("same: followed after", seconds, 10, " s", 1),
        ]
    return found


def followed_after(rows: list[Row], since: float, allowed: float, window_s: float = 3.0) -> float:
    """Seconds from `since` to the first window with 90% of what is allowed taken, and not a quarter refused.

    Args:
        rows: the server's log.
        since: when the limit changed, in seconds from the first request on.
        allowed: how many a second.
        window_s: of this length.
    """
    began = rows[0]["at"]
    taken, refused = (sorted(row["at"] - began for row in rows if row["status"] == status) for status in (200, 429))
    at = since
    while at + window_s <= taken[-1]:
        n, n_refused = (bisect_right(times, at + window_s) - bisect_right(times, at) for times in (taken, refused))
        if n >= 0.9 * allowed * window_s and n_refused <= 0.25 * (n + n_refused):
            return at - since
        at += 0.1
    return float("inf")


def cache(bench: Bench) -> list[Measured]:
    """Shareable prompt tokens that were read from the cache, in both protocols."""
    rows = {"openai": bench.calm(50).rows}
    with provider(**bench.latencies(0.2)) as at:
        sizes = Sizes(2, 2, 3, 3) if bench.quick else Sizes(3, 3, 5, 10)
        rows["anthropic"] = whole(at, bench.folder / "marked", sizes, concurrency=50, author="anthropic").rows
    return [
        at_least(
            f"shareable prefix tokens read from cache, {name}", _sum(each, "n_cached") / _sum(each, "n_shareable"), 0.95
        )
        for name, each in rows.items()
    ]


def batches(bench: Bench) -> list[Measured]:
    """Killed as soon as the server has a batch, three times; each entry must be answered once."""
    found = []
    for author, page in (("openai", "POST /v1/batches"), ("anthropic", "POST /v1/messages/batches")):
        folder, sizes = bench.folder / f"batch-{author}", Sizes(2, 2, 2, 5)
        with provider(batch_delay_s=1.0, seed=bench.seed) as at:
            for number in (1, 2, 3):
                run, process = start(at, folder, sizes, concurrency=50, author=author, more=("--batch",))
                while at.n_asked(page) < number and not has_ended(process):
                    time.sleep(0.01)
                finish(run, process, kill=True)
            run = finish(*start(at, folder, sizes, concurrency=50, author=author, more=("--batch",)))
            if run.code:
                sys.exit(f"the batch run ended with {run.code}:\n{run.told[-3000:]}")
            rows = at.log()
        n_streamed = sum(not row["path"].startswith("batch") for row in rows)
        found += [
            none_of(f"{author} batches, killed 3 times: entries paid twice", sum(row["n_before"] > 0 for row in rows)),
            none_of(f"{author} batches: requests outside batches", n_streamed),
            none_of(f"{author} batches: documents missing", _off(run, sizes)),
        ]
    return found


def help_text(_: Bench) -> list[Measured]:
    """What a user waits for who asks for help: the best of five."""
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "midspec", "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - began)
    return [at_most("seconds to the help text", min(seconds), 0.5)]


def secrets(bench: Bench) -> list[Measured]:
    """The key, in any file of a run or in what the command said."""
    bench.calm(50)
    files = [path for path in bench.folder.rglob("*") if path.is_file()]
    return [none_of("files of all runs that hold the key", sum(KEY.encode() in path.read_bytes() for path in files))]


MEASURES: dict[str, Callable[[Bench], list[Measured]]] = {
    "time": time_against_schedule,
    "cpu": cpu_and_memory,
    "growth": growth,
    "kills": kills,
    "faults": faults,
    "narrow": narrow_server,
    "chance": chance,
    "rates": rates,
    "change": change,
    "cache": cache,
    "batches": batches,
    "secrets": secrets,
    "help": help_text,
}


@dataclass
class Again:
    """Requests that the server saw more than once, by why; `late` are those that the client itself had given up."""

    received: int = 0
    in_flight: int = 0
    late: int = 0
    twice: int = 0


def asked_again(rows: list[Row], killed_at: list[float], grey_s: float) -> Again:
    """Count the pairs of requests with the same messages that follow each other.

    What was written less than `grey_s` before a kill may not have been read any more.
    """
    by_sha: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_sha[row["sha"]].append(row)
    found = Again()
    for earlier, later in (pair for group in by_sha.values() for pair in pairwise(group)):
        kill = next((at for at in killed_at if earlier["at"] <= at <= later["at"]), None)
        if earlier["left"] is not None and (kill is None or earlier["left"] < kill):
            found.late += 1
        elif kill is None:
            found.twice += 1
        elif earlier["done"] is not None and not earlier["gone"] and earlier["done"] < kill - grey_s:
            found.received += 1
        else:
            found.in_flight += 1
    return found


def _lost(store: Path, prices: Path) -> tuple[int, float]:
    from midspec.llm import Prices, Store, estimate_usd

    with Store(store) as opened:
        lost = opened.unmetered()
        return sum(stage.n for stage in lost), round(estimate_usd(lost, Prices.load(str(prices))) or 0.0, 4)


def _off(run: Run, sizes: Sizes) -> int:
    """How many documents are missing or double."""
    ids = [row["metadata"]["id"] for row in run.documents()]
    return abs(sizes.n_documents - len(set(ids))) + len(ids) - len(set(ids))


def _n_requests(sizes: Sizes) -> int:
    n_subdomains = sizes.domains * sizes.subdomains
    return 1 + sizes.domains + 2 * n_subdomains + n_subdomains * sizes.doc_types + sizes.n_documents


def _is_dirty(text: str) -> bool:
    return text.count(".") != _N_SENTENCES or not text.rstrip().endswith(".") or "<" in text or "I'm sorry" in text


def _span(rows: list[Row]) -> float:
    return float(max(row["done"] or row["left"] or 0.0 for row in rows) - min(row["at"] for row in rows))


def _n_refused(rows: list[Row]) -> int:
    return sum(row["status"] == 429 for row in rows)


def _one(_row: Row) -> float:
    return 1.0


def _tokens(row: Row) -> float:
    return float(row["n_prompt"] + row["max_tokens"])


def _sum(rows: list[Row], name: str) -> int:
    return sum(int(row[name]) for row in rows)


def _cpu_each(run: Run) -> float:
    return run.cpu_s / len(run.rows)


def _cost(run: Run) -> str:
    n = len(run.rows)
    cpu = f"CPU {run.cpu_s:.2f} s ({run.cpu_s / n * 1000:.2f} per 1,000)"
    return f"{n:,} requests, wall {run.wall_s:.2f} s, {cpu}, {run.peak_mb:.0f} MB"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Measure, print the table, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="keep the runs here")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="midspec-generation-") as temporary:
        bench = Bench(asked.out or Path(temporary), quick=asked.quick, kills=asked.kills, seed=asked.seed)
        lines = [line for name in asked.only for line in MEASURES[name](bench)]
    print(f"| {'measure':62} | {'must':16} | {'measured':24} | |\n|---|---|---|---|")
    for line in lines:
        is_judged = line.good is not None and (not asked.quick or line.must == "0")
        verdict = "-" if not is_judged else "PASS" if line.good else "FAIL"
        print(f"| {line.name:62} | {line.must:16} | {line.value:24} | {verdict} |")
    return int(any(line.good is False and (not asked.quick or line.must == "0") for line in lines))


if __name__ == "__main__":
    sys.exit(main())
