"""Runs of `midspec corpus` by a model against the loopback provider, each in a process of its own, and their costs."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_POLL_S = 0.01
_COMMAND = (sys.executable, "-m", "midspec")
KEY = "sk-loopback-0123456789"  # must be found nowhere after a run
PRICES = """openai/loopback: {input: 2.0, output: 8.0, cache_read: 0.5}
anthropic/loopback: {input: 3.0, output: 15.0, cache_read: 0.3, cache_write: 3.75}
"""
_CONFIG = "writing: {min_documents: 0}\n"  # no further documents for clauses that few are about


@dataclass(frozen=True)
class Sizes:
    """How much is written: domains, subdomains of each, document types of each, ideas of each."""

    domains: int = 5
    subdomains: int = 6
    doc_types: int = 10
    ideas: int = 10

    @property
    def n_documents(self) -> int:
        """Documents of a run in which every reply is good."""
        return self.domains * self.subdomains * self.doc_types * self.ideas


@dataclass
class Run:
    """One run's process and what it cost; `peak_mb` is its largest resident set."""

    out: Path
    began: float
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    code: int | None = None
    told: str = ""
    killed_at: float | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def documents(self) -> list[dict[str, Any]]:
        """The rows of `documents.jsonl`."""
        return read_lines(self.out / "documents.jsonl")

    def rejects(self) -> list[dict[str, Any]]:
        """The rows of `rejects.jsonl`."""
        return read_lines(self.out / "rejects.jsonl")


class Provider:
    """A loopback provider in its own process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process, self.url = process, process.stdout.readline().strip()

    def get(self, path: str) -> Any:
        """What one of its own pages says."""
        with urllib.request.urlopen(self.url + path, timeout=120) as reply:  # noqa: S310 - our own server
            return json.loads(reply.read())

    def n_asked(self, *pages: str) -> int:
        """How many requests these pages have had; by default those that ask the model at once."""
        counts = self.get("/_stats")["paths"]
        return sum(counts.get(page, 0) for page in pages or ("POST /v1/chat/completions", "POST /v1/messages"))

    def log(self) -> list[dict[str, Any]]:
        """A row for every model request that reached it."""
        rows: list[dict[str, Any]] = self.get("/_log")
        return rows


@contextmanager
def provider(**settings: Any) -> Iterator[Provider]:
    """Serve with these settings until the block ends."""
    command = [sys.executable, "-m", "tests.loopback", json.dumps({"key": KEY, **settings})]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as process:  # noqa: S603
        try:
            yield Provider(process)
        finally:
            process.terminate()


def start(
    at: Provider, folder: Path, sizes: Sizes, *, concurrency: int, author: str = "openai", more: tuple[str, ...] = ()
) -> tuple[Run, subprocess.Popen[str]]:
    """Start the command; its output goes to a file beside its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    spec, prices, config = folder / "spec.md", folder / "prices.yaml", folder / "config.yaml"
    if not spec.exists():
        spec.write_text(spec_text())
        prices.write_text(PRICES)
        config.write_text(_CONFIG)
    url = at.url + ("/v1" if author == "openai" else "")
    asked = {
        "--author": f"{author}/loopback",
        "--base-url": url,
        "--concurrency": concurrency,
        "--domains": sizes.domains,
        "--subdomains": sizes.subdomains,
        "--doc-types": sizes.doc_types,
        "--ideas": sizes.ideas,
        "--model-name": "Nova",
        "--provider-name": "Northwind",
        "--prices": prices,
        "--config": config,
        "--out": folder / "corpus",
    }
    options = [str(part) for pair in asked.items() for part in pair]
    command = [*_COMMAND, "corpus", str(spec), *options, *more]
    environment = {**os.environ, "OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY}
    run = Run(folder / "corpus", time.monotonic())
    with (folder / "told.txt").open("a") as told:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, stdout=told, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
        )
    return run, process


def finish(run: Run, process: subprocess.Popen[str], *, kill: bool = False) -> Run:
    """Wait for the end, or kill it now; fill in what it cost."""
    if kill:
        with suppress(ProcessLookupError):  # it had ended before
            os.killpg(process.pid, signal.SIGKILL)
        run.killed_at = time.monotonic()
    try:
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            run.peak_mb = max(run.peak_mb, _peak_mb(process.pid))
            time.sleep(_POLL_S)
    except BaseException:  # the benchmark is stopped: so is what it measures
        os.killpg(process.pid, signal.SIGKILL)
        raise
    process.returncode = run.code = os.waitstatus_to_exitcode(status)
    run.wall_s = time.monotonic() - run.began
    run.cpu_s = usage.ru_utime + usage.ru_stime
    if not run.peak_mb:  # where there is no /proc
        run.peak_mb = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    run.told = (run.out.parent / "told.txt").read_text()
    return run


def has_ended(process: subprocess.Popen[str]) -> bool:
    """Whether a process is over; what it cost can still be asked."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def whole(at: Provider, folder: Path, sizes: Sizes, **more: Any) -> Run:
    """A run from start to end, with the provider's log of it; ends the benchmark if it fails."""
    run = finish(*start(at, folder, sizes, **more))
    if run.code:
        sys.exit(f"the run ended with {run.code}:\n{run.told[-3000:]}")
    run.rows = at.log()
    return run


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file; none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def spec_text(n_chars: int = 20_000) -> str:
    """A Model Spec of this length, the same every time: sections of rules with their reasons."""
    draw = random.Random(20)
    parts, number = ["# How {model_name} should act\n\n{provider_name} wrote this for {model_name}.\n"], 0
    while sum(map(len, parts)) < n_chars:
        number += 1
        theme = draw.choice(_THEMES)
        parts.append(f"\n## {number}. {theme.capitalize()} in {draw.choice(_PLACES)}\n\n")
        parts += [_rule(draw, theme) for _ in range(draw.randint(4, 7))]
    return "".join(parts)[:n_chars].rsplit(".", 1)[0] + ".\n"


def _listed(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split(",")]


_THEMES = _listed(
    "honesty, patience, privacy, care, fairness, courage, humility, curiosity, thrift, precision, kindness"
)
_PLACES = _listed("advice, teaching, long tasks, disputes, medicine, money, code, letters, news, planning, research")
_ACTS = _listed("tells, shows, asks, explains, checks, admits, names, offers, keeps, weighs, corrects, compares")
_PEOPLE = _listed("a user, an operator, a student, a colleague, a stranger, a child, an expert")
_THINGS = _listed("""what it knows and what it guesses, the limits of a source, the reason behind a request,
the cost of a choice, the people who are not in the room, a mistake as soon as it sees it, what was promised,
the simplest plan that works, the difference between help and flattery, who would carry the risk,
what a careful friend would say""")
_REASONS = _listed("""trust is slow to build and quick to lose, people decide better with the whole picture,
nobody can mend what stays hidden, a tool that flatters makes its owner weaker, doubt that is spoken can be answered,
those who pay for an error should hear of it first, good habits in small things carry over to large ones""")


def _rule(draw: random.Random, theme: str) -> str:
    return (
        f"{{model_name}} {draw.choice(_ACTS)} {draw.choice(_THINGS)} when {draw.choice(_PEOPLE)} needs {theme}, "
        f"because {draw.choice(_REASONS)}. Where {draw.choice(_THINGS)} is unclear, "
        f"it {draw.choice(_ACTS)} {draw.choice(_THINGS)} before it goes on.\n\n"
    )


def _peak_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0].split()[1]) / 1024 if found else 0.0
