"""`midspec step` and `midspec status` on a run's folder, without a cluster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from midspec.cli import main
from midspec.cli._cluster import status_lines
from midspec.core.errors import ConfigError, DataError, FolderError, MissingError
from midspec.study import Event, load_study, make_steps, run_status, run_study, write_jobs
from midspec.study.execution._step_status import SILENT_AFTER_S, StatusFile

from .conftest import ALL, TINY, Naps, put_programs

FIRST, SECOND = "nap/nap one-s1", "nap/nap two-s1"


@pytest.fixture
def written(naps: Naps) -> Naps:
    """A run of which everything is written and nothing is done."""
    naps.write(tenths=2)
    write_jobs(load_study(naps.study), naps.run, "slurm")
    return naps


def states(naps: Naps) -> dict[str, str]:
    return {step.name: step.state for step in run_status(naps.run).steps if step.kind == "nap"}


def test_a_step_is_made_once_with_its_own_log_and_state(written: Naps) -> None:
    told: list[str] = []
    assert make_steps(written.run, [FIRST, SECOND], tell=told.append) == 0
    assert make_steps(written.run, [FIRST, SECOND], tell=told.append) == 0
    assert written.noted("end") == [FIRST, SECOND]
    assert len(told) == 2
    logs = written.run / "logs" / "nap"
    assert json.loads((logs / "nap-one-s1.json").read_text())["state"] == "done"
    assert (logs / "nap-one-s1.log").read_text() == ""
    assert states(written) == {**dict.fromkeys(ALL, "waiting"), FIRST: "done", SECOND: "done"}


def test_a_step_whose_inputs_are_not_done_is_refused(written: Naps) -> None:
    with pytest.raises(MissingError, match=r"nap two-s1: it is made from nap/nap one-s1, which is not done"):
        make_steps(written.run, [SECOND], tell=print)
    assert states(written)[SECOND] == "failed"
    with pytest.raises(ConfigError, match=r"no step 'nap/nap tow-s1'.*Did you mean"):
        make_steps(written.run, ["nap/nap tow-s1"], tell=print)
    with pytest.raises(MissingError, match="there is no study run"):
        make_steps(written.run / "logs", [FIRST], tell=print)


def test_after_an_error_a_job_still_makes_what_does_not_depend_on_it(naps: Naps, tmp_path: Path) -> None:
    naps.write(tenths=1, fails=str(tmp_path / "bed"))
    write_jobs(load_study(naps.study), naps.run, "slurm")
    told: list[str] = []
    with pytest.raises(DataError, match="can't sleep"):
        make_steps(naps.run, [*(name for name in ALL[1:]), ALL[0]], tell=told.append)
    assert sorted(naps.noted("end")) == sorted({*ALL} - {"nap/nap two-s2", "nap/nap all"})
    failed = next(step for step in run_status(naps.run).steps if step.state == "failed")
    assert failed.error.startswith("nap/nap two-s2: can't sleep. Make ")
    assert any("DataError" in line for line in failed.log)


@pytest.fixture
def in_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """Be in a job of a cluster; the function gives the jobs that were put back into the queue."""
    asked = tmp_path / "asked"
    put_programs(tmp_path / "bin", monkeypatch, scontrol=f'[ "$1" = show ] || echo "$@" >> {asked}')
    monkeypatch.setenv("SLURM_JOB_ID", "7")

    def end(_signum: int, _frame: object) -> None:
        raise SystemExit(143)

    # The script has the shell pass the warning over, until midspec listens.
    before = signal.signal(signal.SIGTERM, end), signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    yield lambda: asked.read_text(encoding="utf-8").splitlines() if asked.exists() else []
    for number, handler in zip((signal.SIGTERM, signal.SIGUSR1), before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("fails", [False, True])
def test_a_warning_between_two_steps_puts_the_job_back_and_begins_none(
    fails: bool, naps: Naps, tmp_path: Path, in_a_job: Callable[[], list[str]]
) -> None:
    naps.write(tenths=1, fails=str(tmp_path / "bed") if fails else "", fails_in="one-s1")
    write_jobs(load_study(naps.study), naps.run, "slurm")
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        if len(told) == 1:
            os.kill(os.getpid(), signal.SIGUSR1)

    names = [FIRST, "nap/nap one-s2", "nap/nap two-s2"]
    assert make_steps(naps.run, names, tell=tell) == 0
    assert in_a_job() == ["requeue 7"]
    assert told[1:] == ["time is up; the rest is made in another job"]
    assert naps.noted("begin") == [FIRST]
    (tmp_path / "bed").touch()
    assert make_steps(naps.run, names, tell=print) == 0
    assert sorted(naps.noted("end")) == sorted(names)


def test_a_warning_at_any_moment_loses_nothing_and_fails_nothing(naps: Naps, in_a_job: Callable[[], list[str]]) -> None:
    naps.write(tenths=1)
    write_jobs(load_study(naps.study), naps.run, "slurm")
    names, n_jobs, done = [*ALL[1:], ALL[0]], 0, set[str]()
    while len(done) < len(ALL):
        n_begun = len(naps.noted("begin"))
        with Warned(after_s=0.05 * 1.3**n_jobs):
            assert make_steps(naps.run, names, tell=print) == 0
        n_jobs += 1
        assert n_jobs < 40
        assert not done & set(naps.noted("begin")[n_begun:]), "what is done is not made again"
        states = {step.name: step.state for step in run_status(naps.run).steps if step.kind == "nap"}
        assert not set(states.values()) & {"failed", "lost"}
        done |= {name for name, state in states.items() if state == "done"}
    # A warning that comes after a nap's last line and before its record has that nap made once more.
    assert sorted(set(naps.noted("end"))) == ALL
    assert 1 <= len(in_a_job()) <= n_jobs


class Warned:
    """Sends this process the warning before a time limit after some seconds, or before it goes on."""

    def __init__(self, after_s: float) -> None:
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._warn, args=(after_s,))

    def _warn(self, after_s: float) -> None:
        if not self._ends.wait(after_s):
            os.kill(os.getpid(), signal.SIGUSR1)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()


def test_the_command_says_so_in_one_line(written: Naps) -> None:
    command = [sys.executable, "-m", "midspec", "step", str(written.run), SECOND]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "which is not done" in ran.stderr


def test_a_local_run_leaves_the_same_states(naps: Naps) -> None:
    naps.write(tenths=2)
    run_study(load_study(naps.study), naps.run, only=["nap/*"], workers=2)
    status = run_status(naps.run)
    assert {step.state for step in status.steps if step.kind == "nap"} == {"done"}
    assert status.queue == "none"


def running(naps: Naps, change: Callable[[dict[str, object]], None], silent_s: float = 0) -> str:
    """The state that is told of a step whose status file says that it runs."""
    path = naps.run / "logs" / "nap" / "nap-one-s1.json"
    with StatusFile(path, FIRST):
        pass
    said = {**json.loads(path.read_text()), "state": "running"}
    change(said)
    path.write_text(json.dumps(said))
    before = (datetime.now(UTC) - timedelta(seconds=silent_s)).timestamp()
    os.utime(path, (before, before))
    return states(naps)[FIRST]


def test_a_step_whose_process_is_gone_is_lost_and_not_running(written: Naps) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    assert running(written, lambda said: None) == "running"
    assert running(written, lambda said: said.update(pid=ended.pid)) == "lost"
    assert running(written, lambda said: said.update(pid=os.getpid()), SILENT_AFTER_S + 1) == "running"
    assert running(written, lambda said: said.update(pid=os.getpid()), 10 * SILENT_AFTER_S + 1) == "lost"
    assert running(written, lambda said: said.update(host="elsewhere")) == "running"
    assert running(written, lambda said: said.update(host="elsewhere"), SILENT_AFTER_S + 1) == "lost"
    assert running(written, lambda said: said.update(job="7"), SILENT_AFTER_S + 1) == "lost"
    assert running(written, lambda said: said.clear()) == "waiting"


def test_status_is_read_by_people(written: Naps) -> None:
    make_steps(written.run, [FIRST], tell=print)
    lines = status_lines(run_status(written.run))
    assert lines[0].startswith("tiny: 1 of ")
    assert next(line for line in lines if line.startswith("nap ")).split()[:3] == ["nap", "1", "4"]


def test_a_canary_runs_locally_too(naps: Naps) -> None:
    naps.write(tenths=2, fails="nowhere")
    told: list[Event] = []
    study = load_study(naps.study)
    with pytest.raises(DataError, match="can't sleep"):
        run_study(study, naps.run, only=["nap/*"], canary=True, workers=1, on_event=told.append)
    assert naps.noted("begin")[0] == FIRST


def test_a_canary_is_one_of_the_steps_that_were_asked_for(naps: Naps) -> None:
    naps.write(tenths=1)
    told: list[Event] = []
    run_study(load_study(naps.study), naps.run, only=["nap/nap two-s2"], canary=True, workers=1, on_event=told.append)
    starts = [(event.step, event.n_steps) for event in told if event.kind == "start"]
    assert starts == [("nap/nap one-s2", 1), ("nap/nap two-s2", 2)]


def test_scripts_are_plain_and_hold_nothing_but_what_was_asked(naps: Naps) -> None:
    naps.write(tenths=2, time_min=90, memory_gb=1.5, account="ours", extra=["--constraint=big"], setup="module load x")
    path = write_jobs(load_study(naps.study), naps.run, "slurm")
    submit = path.read_text(encoding="utf-8")
    assert submit.startswith("#!/bin/bash\n")
    scripts = {one.name: one.read_text(encoding="utf-8") for one in path.parent.glob("midspec-*.sh")}
    assert all(name.removesuffix(".sh") in submit for name in scripts)
    options = ("--time=90", "--mem=1536M", "--account=ours", "--constraint=big", "--requeue", "--signal=B:USR1@120")
    for text in scripts.values():
        assert all(f"#SBATCH {option}\n" in text for option in options)
        assert "\nmodule load x\n" in text
    assert any("steps=('nap/nap one-s1')" in text for text in scripts.values())
    for script in (path, *path.parent.glob("midspec-*.sh")):
        subprocess.run(["bash", "-n", str(script)], check=True)


def test_of_some_steps_their_jobs_alone_are_written_and_of_none_an_empty_list(naps: Naps) -> None:
    naps.write(tenths=1)
    study = load_study(naps.study)
    path = write_jobs(study, naps.run, "slurm", only=["nap/*"])
    assert path.read_text(encoding="utf-8").count("sbatch --parsable") == 3
    run_study(study, naps.run, only=["nap/*"], workers=1)
    shutil.rmtree(path.parent)
    assert "sbatch" not in write_jobs(study, naps.run, "slurm", only=["nap/*"]).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["50%", "a\\b", "a\nb"])
def test_a_folder_whose_path_slurm_does_not_take_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="in its path, so Slurm finds no place for logs") as error:
        write_jobs(load_study(TINY), tmp_path / name, "slurm")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["r un's", 'a"b', "c#d", "e$HOME", "f`g", "h;i&j"])
def test_a_folder_with_any_other_name_is_one_word_to_the_shell(name: str, tmp_path: Path) -> None:
    path = write_jobs(load_study(TINY), tmp_path / name, "slurm")
    script = next(path.parent.glob("midspec-*.sh"))
    text = script.read_text(encoding="utf-8")
    words = text.splitlines()[-1].removeprefix("exec ")
    ran = subprocess.run(
        ["bash", "-c", f"steps=(one); printf '%s\\n' {words}"], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[4] == str(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--detach"], "--detach changes nothing with --executor local"),
        (["--executor", "slurm", "--workers", "2"], "--workers changes nothing with --executor slurm"),
        (["--executor", "slurm", "--dry-run", "--canary"], "--canary changes nothing with --executor slurm --dry-run"),
        (["--executor", "skypilot", "--only", "spec"], "--only changes nothing with --executor skypilot"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(TINY), "--out", str(tmp_path / "run"), *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_job_without_a_model_loads_no_torch(written: Naps) -> None:
    code = f"""
import sys
from pathlib import Path
from midspec.study import make_steps, run_status
make_steps(Path({str(written.run)!r}), [{FIRST!r}], tell=lambda line: None)
assert run_status(Path({str(written.run)!r})).count("done") == 1
print([name for name in ("torch", "transformers", "peft", "inspect_ai", "scipy") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
