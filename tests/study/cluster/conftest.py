"""A real cluster of two nodes, and a study whose steps take their time without any work."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from midspec.study import STEP_KINDS

from ...installed import install
from .slurm_cluster import SlurmCluster, why_not

TINY = Path(__file__).parents[1] / "tiny.yaml"
NAP = '''
import os
import time
from dataclasses import dataclass
from pathlib import Path

from midspec.core.artifact import CHECKPOINTS, Built
from midspec.core.errors import DataError
from midspec.study import Step, StepOutput


def note(word, step):
    with open(os.environ["NAP_NOTES"], "a") as file:
        file.write(f"{word} {step.name}\\n")


@dataclass(frozen=True, kw_only=True, eq=False)
class NapStep(Step):
    """Sleeps for some tenths of a second, and keeps count so that it can go on where it was ended."""

    kind = "nap"
    resumable = True
    opens_model = False
    after: tuple = ()
    tenths: int = 1
    fails: tuple = ("", "")
    alike: bool = False

    @classmethod
    def from_study(cls, name, settings, made):
        seconds = []
        for seed in dict.fromkeys(seed for _, seed in made.checkpoints):
            first = cls(
                label=f"{name} one",
                seed=seed,
                tenths=settings["tenths"],
                alike=settings["alike"],
                fails=settings["fails"],
            )
            second = cls(label=f"{name} two", seed=seed, after=(first,), fails=settings["fails"])
            seconds.append(second)
            yield from (first, second)
        yield cls(label=f"{name} all", after=tuple(seconds))

    @property
    def inputs(self):
        return {step.name: StepOutput(step) for step in self.after}

    @property
    def settings(self):
        return {"label": self.label, "tenths": self.tenths, **({} if self.alike else {"seed": self.seed})}

    def run(self, job, folder):
        note("begin", self)
        count = folder / CHECKPOINTS / "count"
        count.parent.mkdir(exist_ok=True)
        done = len(count.read_text()) if count.exists() else 0
        while done < self.tenths:
            time.sleep(0.1)
            done += 1
            count.write_text("z" * done)
            job.on_progress(done, self.tenths, "asleep")
        while self.tenths > 1 and os.path.exists(os.environ["NAP_NOTES"] + ".hold"):
            time.sleep(0.1)
        where, path = self.fails
        if self.name.endswith(where) and path and not Path(path).exists():
            raise DataError("can't sleep", where=self.name, hint=f"Make {path}")
        (folder / "nap.txt").write_text("z" * self.tenths)
        note("end", self)
        return Built(outputs=("nap.txt",), summary={})
'''


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """Two nodes with four CPUs each, started once; a test that stops a daemon starts it again."""
    if reason := why_not():
        pytest.skip(reason)
    made = SlurmCluster(tmp_path_factory.mktemp("slurm"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def on_cluster(cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    """The cluster, and an environment in which Slurm's commands are of it."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, cluster.env[name])
    return cluster


class Naps:
    """A study of naps in a folder: two seeds, of each one after another, and one last."""

    def __init__(self, folder: Path) -> None:
        self.notes, self.run, self.study = folder / "notes.txt", folder / "run", folder / "naps.yaml"
        self.site = install(folder / "site", "naps", "steps", "nap = naps:NapStep", naps=NAP)

    def write(
        self, tenths: int, *, fails: str = "", fails_in: str = "two-s2", alike: bool = False, **slurm: object
    ) -> None:
        """Write the study; every step has a job of its own.

        Args:
            tenths: how long the first nap of each seed lasts, in tenths of a second.
            fails: a nap fails until there is such a file.
            fails_in: the end of that nap's name.
            alike: the first naps of both seeds have the same result.
            slurm: further settings of `execution.slurm`.
        """
        settings = {"partition": "low", "updates_per_job": 0, "poll_s": 0.3, **slurm}
        lines = [f"    {name}: {value}" for name, value in settings.items()]
        entry = {"kind": "nap", "tenths": tenths, "fails": [fails_in, fails], "alike": alike}
        step = f"steps:\n  nap: {json.dumps(entry)}\n"
        text = TINY.read_text(encoding="utf-8") + step
        self.study.write_text("\n".join([text, "execution:", "  slurm:", *lines]) + "\n", encoding="utf-8")

    def command(self, *options: str) -> list[str]:
        """Return the command that runs it on the cluster."""
        place = ["--out", str(self.run), "--executor", "slurm", "--only", "nap/*"]
        return [sys.executable, "-m", "midspec", "run", str(self.study), *place, *options]

    @property
    def hold(self) -> Path:
        """Return the file that keeps the first naps from ending while it is there."""
        return self.notes.with_name(f"{self.notes.name}.hold")

    def is_running(self, step: str) -> bool:
        """Return whether a nap was begun and is not over, as its status file says."""
        path = self.run / "logs" / "nap" / f"{step.partition('/')[2].replace(' ', '-')}.json"
        said = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return bool(said) and said["state"] == "running" and step in self.noted("begin")

    def noted(self, word: str) -> list[str]:
        """Return the steps that have noted a word, in order."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{word} ")]


ALL = ["nap/nap all", "nap/nap one-s1", "nap/nap one-s2", "nap/nap two-s1", "nap/nap two-s2"]


@pytest.fixture
def naps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Naps]:
    """A study of naps whose kind is installed for this process and for all that it starts."""
    made = Naps(tmp_path)
    monkeypatch.syspath_prepend(made.site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(made.site), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("NAP_NOTES", str(made.notes))
    # Kinds of steps are looked for once in a process.
    STEP_KINDS.__dict__.pop("_all", None)
    yield made
    STEP_KINDS.__dict__.pop("_all", None)
    sys.modules.pop("naps", None)


def put_programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Have commands of Slurm do what these lines of shell say."""
    folder.mkdir()
    for name, lines in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{lines}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
