"""How many calls from one module of ours to another lie between a command and its work, on two roads.

    python benchmarks/hops.py [--src DIR ...]

The roads: from the command `midspec corpus` (against the loopback provider) to a document's request, when its body is
handed to aiohttp; and from `run_study` to the first step of an optimizer, in whatever process. For the package in each
`src` folder (this checkout's by default; name two to compare) it prints side by side hops (calls from a file of ours to
another one of ours; what other libraries call in between is left out), files (how many of ours the chain enters) and
returns (hops into a file that the chain had been in and left), and then the chains.

The chain is that of causes: what awaits a coroutine or drives a generator stands above it, and a task, a thread or a
worker process goes on from where it was started or given its work. `once` counts it without what lies between two tasks
that begin with the same function, as a pool's workers do that start one another. Of our names it needs only `cli.main`,
`study.load_study` and `study.run_study`, so that both sides of a change are measured alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from multiprocessing import connection, process, queues
from pathlib import Path
from threading import Thread
from typing import Any

# File and function of calls: the first part begins with the command, each further one is a task, a thread, a process.
Chain = tuple[tuple[tuple[str, str], ...], ...]
_ROOT = Path(__file__).parents[1]
_HOME = str(Path(str(getattr(find_spec("midspec"), "origin", ""))).parent) + os.sep
_CHAIN: ContextVar[Chain] = ContextVar("chain", default=())
_ROADS = {"corpus": "the command to a document's request", "study": "run_study to the first update"}
_CALLBACK = ("_run", "asyncio.events")  # below it lies the event loop, which is no cause of what it runs
_UPDATE = "update.json"


def chain_here() -> Chain:
    """The chain of causes of the call that is being made."""
    frame: Any = sys._getframe(1)  # noqa: SLF001 - the stack holds whoever awaits, too
    calls: list[tuple[str, str]] = []
    while frame is not None and (frame.f_code.co_name, frame.f_globals.get("__name__")) != _CALLBACK:
        if frame.f_code.co_filename.startswith(_HOME):
            calls.insert(0, (frame.f_code.co_filename.removeprefix(_HOME), frame.f_code.co_qualname))
        frame = frame.f_back
    return (*_CHAIN.get(), tuple(calls)) if calls else _CHAIN.get()


def _context(given: Context | None = None) -> Context:
    """The context of what is started now: it knows the chain so far."""
    context = (given or copy_context()).copy()
    context.run(_CHAIN.set, chain_here())
    return context


def _before(owner: Any, name: str, do: Callable[..., Any]) -> None:
    """Call `do` with a method's arguments before the method; it may give other arguments."""
    method = getattr(owner, name)

    def called(*args: Any, **named: Any) -> Any:
        args, named = do(*args, **named) or (args, named)
        return method(*args, **named)

    setattr(owner, name, called)


def follow() -> None:
    """Hand the chain on to the tasks and threads of this process."""
    _before(
        asyncio.BaseEventLoop,
        "create_task",
        lambda *args, context=None, **named: (args, named | {"context": _context(context)}),
    )
    _before(asyncio, "to_thread", lambda work, *args, **named: ((_context().run, work, *args), named))
    _before(Thread, "start", lambda each: setattr(each, "run", partial(_context().run, each.run)))
    _before(ThreadPoolExecutor, "submit", lambda pool, *args, **named: ((pool, _context().run, *args), named))


def watch(folder: str) -> None:
    """Write the chain of the first update, of whatever process, and when it came."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    def step(*_: object) -> None:
        if not (to := Path(folder, _UPDATE)).exists():
            part = to.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps([time.time(), chain_here()]))
            part.replace(to)

    follow()
    register_optimizer_step_pre_hook(step)


def corpus(folder: Path) -> list[Chain]:
    """The chains of the requests for the documents of a small corpus."""
    import aiohttp
    from tests.loopback import Settings, serve

    from loopback_runs import spec_text
    from midspec.cli import main

    sent: list[tuple[Chain, dict[str, Any]]] = []
    follow()
    _before(aiohttp.ClientSession, "_request", lambda *_, **how: sent.append((chain_here(), how)))
    os.environ["OPENAI_API_KEY"] = "none"
    (folder / "spec.md").write_text(spec_text(3000))
    with serve(Settings(median_list_s=0.3)) as served:  # replies at one time would let tasks take one another's work
        settings = f"--documents 8 --author openai/loopback --model-name Nova --provider-name N --out {folder}/corpus"
        if code := main(["corpus", f"{folder}/spec.md", *settings.split(), "--base-url", served.openai_url]):
            sys.exit(f"the command ended with {code}")
    bodies = [(chain, how.get("json") or json.loads(how.get("data") or "{}")) for chain, how in sent]
    asked = [(chain, served.provider.ask("openai", body)) for chain, body in bodies if "messages" in body]
    return [chain for chain, wanted in asked if wanted.kind == "document"]


def study(folder: Path) -> list[Chain]:
    """The chain of the first update of a small study, whose processes all watch for it."""
    import midspec.study as room

    handed: list[tuple[float, Chain]] = []

    def hand(*_: object, **__: object) -> None:
        handed.append((time.time(), chain_here()))

    def look(*_: object) -> None:
        if (folder / _UPDATE).exists():
            raise KeyboardInterrupt  # the study may end

    for owner, name in ((connection.Connection, "send"), (queues.Queue, "put"), (process.BaseProcess, "start")):
        _before(owner, name, hand)
    _before(subprocess.Popen, "__init__", lambda _, args, *__, **___: hand() if sys.executable in args else None)
    text = next(path for home in sys.path if (path := Path(home, "tests", "study", "tiny.yaml")).exists())
    with suppress(KeyboardInterrupt):
        room.run_study(room.load_study(text), folder / "run", workers=1, on_event=look)
    at, chain = json.loads((folder / _UPDATE).read_text())
    is_whole = chain[0][0][1] == "run_study"  # else it is another process's, which goes on from what it was given last
    return [chain if is_whole else (*[each for when, each in handed if each and when < at][-1], *chain)]


def go(road: str, folder: str) -> None:
    """Go a road in this process, and write the chain that most of its ends have."""
    chains = corpus(Path(folder)) if road == "corpus" else study(Path(folder))
    Path(folder, "chain.json").write_text(Counter(map(json.dumps, chains)).most_common(1)[0][0])


def found(road: str, src: Path) -> Chain:
    """The chain of a road with the package in `src`, from a process of its own."""
    with tempfile.TemporaryDirectory(prefix="midspec-hops-") as folder:
        if road == "study":  # every Python process imports this module as it starts
            Path(folder, "sitecustomize.py").write_text(f"import hops\nhops.watch({folder!r})\n")
        paths = os.pathsep.join(map(str, (folder, _ROOT / "benchmarks", src, src.parent, _ROOT)))
        code = f"import hops; hops.go({road!r}, {folder!r})"
        command, environment = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": paths}
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)  # noqa: S603 - this script
        if done.returncode:
            sys.exit(f"{src}: {road} ended with {done.returncode}:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
        return json.loads(Path(folder, "chain.json").read_text())  # type: ignore[no-any-return]


def once(chain: Chain) -> Chain:
    """The chain without what lies between two tasks, threads or processes that begin with the same function."""
    last = max((at for at, part in enumerate(chain) if part[0] == chain[0][0]), default=0)
    return (chain[last], *once(chain[last + 1 :])) if chain else ()


def counts(chain: Chain) -> dict[str, int]:
    """Hops, files and returns of a chain."""
    files = [file for part in chain for file, _ in part]
    hops = [at for at, (one, other) in enumerate(pairwise(files), 1) if one != other]
    return {"hops": len(hops), "files": len({*files}), "returns": sum(files[at] in files[:at] for at in hops)}


def main() -> None:
    """Go the roads with each package; print the counts side by side, then the chains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", nargs="+", type=Path, default=[_ROOT / "src"])
    sources = parser.parse_args().src
    for road, words in _ROADS.items():
        chains = [found(road, src.resolve()) for src in sources]
        columns = [counts(chain) | {f"{name}, once": n for name, n in counts(once(chain)).items()} for chain in chains]
        print(f"\nFrom {words}: {' | '.join(map(str, sources))}\n")
        for name in columns[0]:
            print(f"{name:14}", *(f"{column[name]:5}" for column in columns))
        for src, chain in zip(sources, chains, strict=True):
            print(f"\n  {src}", *("\n".join(f"    {file}:{call}" for file, call in part) for part in chain), sep="\n\n")


if __name__ == "__main__":
    main()
