"""Which step computes on which GPU: the counting for itself, and what real worker processes are given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midspec.core.errors import ConfigError
from midspec.core.memory import MEMORY_SETTINGS
from midspec.study import parse_study, run_study, study_steps
from midspec.study.execution._devices import DevicePool

UUID = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
MIG = "MIG-0ee0c8e7-2ce6-5b8d-9e1d-7d0c4a9b1c2d"


def test_without_gpus_as_many_steps_run_as_were_asked_for_or_one_per_core() -> None:
    for pool, most in ((DevicePool((), None, 3), 3), (DevicePool((), 2, 8), 2)):
        for _ in range(most):
            assert pool.can_take(pool.needs(1))
            pool.take(())
        assert not pool.can_take(pool.needs(1))


def test_by_default_each_gpu_has_one_step_with_a_model() -> None:
    pool = DevicePool(("0", "1"), None, 4)
    pool.take(["0"])
    assert pool.free_gpus == ["1"]
    pool.take(["1"])
    assert not pool.can_take(1)
    pool.give_back(["0"])
    assert pool.free_gpus == ["0"]


def test_steps_without_a_model_keep_no_gpu_from_one_with_a_model() -> None:
    pool = DevicePool(("0", "1"), None, 2)
    while pool.can_take(0):
        pool.take(())
    assert pool.can_take(1)
    assert pool.free_gpus == ["0", "1"]


def test_more_workers_than_gpus_share_them_evenly() -> None:
    pool = DevicePool(("0", "1"), 4, 16)
    taken = []
    while pool.can_take(1):
        taken.append(pool.free_gpus[0])
        pool.take(taken[-1:])
    assert sorted(taken) == ["0", "0", "1", "1"]


def test_a_step_over_several_gpus_waits_until_so_many_are_free() -> None:
    pool = DevicePool(("0", "1", "2"), None, 1)
    pool.take(["1"])
    assert pool.can_take(2)
    assert not pool.can_take(3)
    assert pool.free_gpus == ["0", "2"]


@given(st.data())
def test_no_order_of_steps_puts_more_on_a_gpu_or_in_all_than_was_asked_for(data: st.DataObject) -> None:
    n_gpus, workers = data.draw(st.integers(1, 4)), data.draw(st.none() | st.integers(1, 9))
    n_cores = data.draw(st.integers(1, 4))
    pool = DevicePool([str(index) for index in range(n_gpus)], workers, n_cores)
    share = 1 if workers is None else -(-workers // n_gpus)
    running: list[list[str]] = []
    for _ in range(30):
        wanted = data.draw(st.integers(0, n_gpus))
        if pool.can_take(wanted):
            running.append(pool.free_gpus[:wanted])
            pool.take(running[-1])
        elif running:
            pool.give_back(running.pop(data.draw(st.integers(0, len(running) - 1))))
        on = [gpu for gpus in running for gpu in gpus]
        assert all(on.count(gpu) <= share for gpu in pool.gpus)
        assert len(running) <= (workers or n_cores + n_gpus)


LOOK = '''
import os, time
from dataclasses import dataclass
from midspec.core.artifact import Built
from midspec.study import Step


@dataclass(frozen=True, kw_only=True, eq=False)
class LookStep(Step):
    """Writes what its process sees, and when it ran."""

    kind = "look"
    inputs = property(lambda self: {})
    settings = property(lambda self: {"label": self.label})

    def run(self, job, folder):
        began = time.monotonic()
        time.sleep(0.3)
        seen = [os.environ.get("CUDA_VISIBLE_DEVICES"), job.device, os.getpid(), began, time.monotonic()]
        seen.append(os.environ.get("GLIBC_TUNABLES"))
        (folder / "seen.json").write_text(__import__("json").dumps(seen))
        return Built(outputs=("seen.json",))


class WriteStep(LookStep):
    kind = "write"
    opens_model = False


class WideStep(LookStep):
    kind = "wide"
    n_devices = 2
'''
RUN = """
import json, sys
from pathlib import Path
from look import *
from midspec.study import Job
from midspec.study.execution._devices import DevicePool
from midspec.study.execution._executor import StepTask
from midspec.study.execution._local import LocalExecutor
from midspec.study.execution._run import Scheduler, _run_steps

gpus, workers, kinds, device = json.loads(sys.argv[1])
steps = [{"look": LookStep, "write": WriteStep, "wide": WideStep}[kind](label=str(at)) for at, kind in enumerate(kinds)]
run = Path("run")
(run / "logs").mkdir(parents=True)

def task(step):
    return StepTask(step, step.identity({}), Job(folder=step.folder(run), store=run / "x", device=device))

executor = LocalExecutor(run / "logs", DevicePool(gpus, workers, 2))
_run_steps(Scheduler(steps, [step.name for step in steps], {}), executor, task, lambda event: None)
print(json.dumps({step.name: json.loads((step.folder(run) / "seen.json").read_text()) for step in steps}))
"""


def looked(tmp_path: Path, gpus: list[str], kinds: list[str], workers: int | None = None, device: str = "auto") -> dict:
    """Run toy steps in real worker processes; gives what each saw: variable, device, process, begin, end."""
    (tmp_path / "look.py").write_text(LOOK, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps([gpus, workers, kinds, device])],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    seen: dict = json.loads(done.stdout)
    return seen


def test_each_worker_process_sees_the_one_gpu_of_its_steps_whatever_it_is_called(tmp_path: Path) -> None:
    seen = looked(tmp_path, [UUID, MIG], ["look"] * 6 + ["write"] * 2)
    on = {name: row for name, row in seen.items() if name.startswith("look/")}
    assert {row[0] for row in on.values()} == {UUID, MIG}
    assert {row[0] for name, row in seen.items() if name.startswith("write/")} == {""}
    for gpu in (UUID, MIG):
        spans = sorted(row[3:] for row in on.values() if row[0] == gpu)
        assert all(before[1] <= after[0] for before, after in pairwise(spans)), "one at a time"
        assert len({row[2] for row in on.values() if row[0] == gpu}) == 1, (
            "in one process, so that memory is given back"
        )


def test_a_step_over_several_gpus_sees_them_all_and_alone(tmp_path: Path) -> None:
    seen = looked(tmp_path, ["4", "5"], ["look", "wide", "look"])
    (wide,) = [row for name, row in seen.items() if name.startswith("wide/")]
    assert sorted(wide[0].split(",")) == ["4", "5"]
    others = [row for name, row in seen.items() if name.startswith("look/")]
    assert all(row[4] <= wide[3] or wide[4] <= row[3] for row in others)


def test_a_gpu_that_was_asked_for_by_number_is_number_0_in_its_process(tmp_path: Path) -> None:
    seen = looked(tmp_path, ["3"], ["look"], device="cuda:3")
    assert seen["look/0"][:2] == ["3", "cuda"]


def test_without_gpus_the_environment_is_left_alone(tmp_path: Path) -> None:
    assert looked(tmp_path, [], ["look"])["look/0"][:2] == [None, "auto"]


def test_workers_keep_freed_memory_unless_the_environment_says_how_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    (tmp_path / "own").mkdir()
    assert looked(tmp_path, [], ["look"])["look/0"][5] == MEMORY_SETTINGS["GLIBC_TUNABLES"]
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    assert looked(tmp_path / "own", [], ["look"])["look/0"][5] == "glibc.malloc.hugetlb=0"


def test_steps_say_whether_they_open_a_model(tiny_text: str, tmp_path: Path) -> None:
    steps = study_steps(parse_study(tiny_text, home=tmp_path), tmp_path / "run")
    on = {step.kind for step in steps if step.n_devices}
    assert on == {"pretrain", "midtrain", "finetune", "eval", "gate"} & {step.kind for step in steps}


def test_a_device_that_is_not_there_is_refused_before_the_run_begins(tiny_text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device cuda:99"):
        run_study(parse_study(tiny_text, home=tmp_path), tmp_path / "run", device="cuda:99")
    assert not (tmp_path / "run").exists()


GREEDY = '''
import multiprocessing, os, resource, threading
from dataclasses import dataclass
from pathlib import Path
from midspec.study import Job, Step
from midspec.study.execution._executor import StepTask
from midspec.study.execution._worker import serve


@dataclass(frozen=True, kw_only=True, eq=False)
class GreedyStep(Step):
    """Opens files until it may open no more."""

    kind = "greedy"
    inputs = property(lambda self: {})
    settings = property(lambda self: {})

    def run(self, job, folder):
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = [os.open(os.devnull, os.O_RDONLY) for _ in range(100)]


here, there = multiprocessing.Pipe()
step = GreedyStep()
here.send(StepTask(step, step.identity({}), Job(folder=Path("run/greedy"), store=Path("run/x"), device="cpu")))
thread = threading.Thread(target=serve, args=(there,), daemon=True)
thread.start()
print(type(reply := here.recv()).__name__, reply.error)
'''


def test_a_step_that_may_open_no_more_files_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "greedy.py").write_text(GREEDY, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "greedy.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.startswith("Failed ulimit -n: too many files are open at once. Raise the limit"), done.stderr
