"""A study on a real Slurm cluster: the local run's bytes, whatever happens to nodes, jobs, the controller and us."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from midspec.core.artifact import read_record
from midspec.core.errors import ConfigError, MidspecError
from midspec.study import Event, load_study, run_status, run_study

from .conftest import ALL, TINY, Naps
from .slurm_cluster import NODES, SlurmCluster

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
WITHIN_S = 90.0


def until(is_so: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@contextmanager
def following(naps: Naps, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run the study's command beside the test, in a process of its own."""
    command = naps.command(*options)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def ends(process: subprocess.Popen[str]) -> str:
    told, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, told
    return told


@pytest.fixture(scope="module")
def long_naps(cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> Naps:
    """A step that is longer than its job may be, begun before the other tests and left alone.

    Slurm gives the signal up to a minute early and looks every 30 s, so it comes after 30 to 60 s.
    """
    made = Naps(tmp_path_factory.mktemp("long"))
    made.write(tenths=60, time_min=2, grace_s=60)
    made.hold.touch()
    environment = {**cluster.env, "NAP_NOTES": str(made.notes), "PYTHONPATH": str(made.site)}
    subprocess.run(made.command("--detach"), env=environment, check=True, capture_output=True)
    return made


@pytest.fixture(autouse=True)
def begun(long_naps: Naps) -> None:
    """Begin it before the first test."""


def job_of(naps: Naps, step: str) -> str:
    return next(one.job for one in run_status(naps.run).steps if one.name == step)


def n_submitted(naps: Naps) -> int:
    """Return for how many steps a job was submitted; each has one of its own here, or a task of an array."""
    submitted = naps.run / "jobs" / "submitted.txt"
    return run_status(naps.run).count("queued") if submitted.exists() else 0


def test_a_killed_node_s_steps_go_on_on_the_other(on_cluster: SlurmCluster, naps: Naps) -> None:
    naps.write(tenths=5)
    naps.hold.touch()
    with following(naps) as process:
        until(lambda: naps.is_running("nap/nap one-s1"), "it runs")
        node = on_cluster.ask("squeue", "--noheader", "--job", job_of(naps, "nap/nap one-s1"), "--format=%N").strip()
        on_cluster.kill_node(node)
        begun = len(naps.noted("begin"))
        # The controller finds out by itself after half a minute; a test need not wait for that.
        on_cluster.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=dead")
        naps.hold.unlink()
        try:
            told = ends(process)
        finally:
            # It leaves its state "down" as it registers (ReturnToService=2).
            on_cluster.start_node(node)
            until(lambda: on_cluster.node_states()[node] == "idle", "the node is back")
    assert begun < len(naps.noted("begin")), told
    assert sorted(naps.noted("end")) == ALL
    attempts = {
        path.parent.name: read_record(path.parent) for path in (naps.run / "steps" / "nap").glob("*/record.json")
    }
    assert attempts["nap-one-s1"].execution.n_attempts == 2  # type: ignore[union-attr]


def test_a_preempted_job_goes_back_into_the_queue_and_goes_on(on_cluster: SlurmCluster, naps: Naps) -> None:
    naps.write(tenths=5)
    naps.hold.touch()
    with following(naps) as process:
        until(lambda: naps.is_running("nap/nap one-s1") and naps.is_running("nap/nap one-s2"), "both run")
        greedy = ["--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"]
        on_cluster.ask("sbatch", *greedy)
        until(lambda: run_status(naps.run).count("queued") > 3, "they are back in the queue")
        naps.hold.unlink()
        ends(process)
    assert sorted(naps.noted("end")) == ALL
    assert Counter(naps.noted("begin"))["nap/nap one-s1"] == 2


def test_the_controller_s_restart_and_our_own_death_change_nothing(on_cluster: SlurmCluster, naps: Naps) -> None:
    naps.write(tenths=5)
    naps.hold.touch()
    with following(naps) as process:
        until(lambda: naps.is_running("nap/nap one-s1"), "it runs")
        # Killed before it has written down that the jobs run, it begins them again: see the next test.
        on_cluster.ask("scontrol", "update", f"jobid={job_of(naps, 'nap/nap one-s1')}", "comment=it-runs")
        until(lambda: on_cluster.has_saved("it-runs"), "the jobs are written down")
        on_cluster.kill_controller()
        assert process.stdout is not None
        until(lambda: "Slurm does not answer" in process.stdout.readline(), "it says so")  # type: ignore[union-attr]
        assert run_status(naps.run).queue == "no answer"
        process.send_signal(signal.SIGKILL)
    naps.hold.unlink()
    on_cluster.start_controller()
    until(lambda: on_cluster.node_states() == dict.fromkeys(NODES, "mix") or on_cluster.ask("squeue"), "it is back")
    jobs = sorted(path.name for path in (naps.run / "jobs").glob("*.sh"))
    with following(naps) as process:
        ends(process)
    assert sorted(path.name for path in (naps.run / "jobs").glob("*.sh")) == jobs, "nothing is submitted twice"
    assert sorted(naps.noted("begin")) == sorted(naps.noted("end")) == ALL


def test_a_job_that_slurm_holds_as_its_launch_failed_is_released_and_goes_on(
    on_cluster: SlurmCluster, naps: Naps
) -> None:
    naps.write(tenths=5)
    naps.hold.touch()
    on_cluster.ask("scontrol", "update", "partitionname=low", "state=down")
    with following(naps) as process:
        until(lambda: n_submitted(naps) == len(ALL), "all are in the queue")
        job = job_of(naps, "nap/nap all")
        on_cluster.ask("scontrol", "update", f"jobid={job}", "comment=all-wait")
        until(lambda: on_cluster.has_saved("all-wait"), "the jobs are written down")
        written = on_cluster.job_state.read_bytes()
        on_cluster.ask("scontrol", "update", "partitionname=low", "state=up")
        until(lambda: naps.is_running("nap/nap one-s1") and naps.is_running("nap/nap one-s2"), "both run")
        # A controller that has lost their start launches them once more on a node that has their end still to tell:
        # Slurm takes that for a fault of the node, drains it, and holds the jobs.
        on_cluster.kill_controller()
        on_cluster.job_state.write_bytes(written)
        naps.hold.unlink()
        until(lambda: {"nap/nap one-s1", "nap/nap one-s2"} <= set(naps.noted("end")), "both end")
        on_cluster.start_controller()
        told = ends(process)
    assert "could not be launched on its node, and is released" in told
    assert sorted(naps.noted("end")) == ALL
    for node, state in on_cluster.node_states().items():
        if state.startswith("dr"):
            on_cluster.ask("scontrol", "update", f"nodename={node}", "state=resume")


def test_a_job_that_somebody_holds_is_told_once_and_stays_held(on_cluster: SlurmCluster, naps: Naps) -> None:
    naps.write(tenths=2)
    on_cluster.ask("scontrol", "update", "partitionname=low", "state=down")
    with following(naps) as process:
        until(lambda: n_submitted(naps) == len(ALL), "all are in the queue")
        job = job_of(naps, "nap/nap all")
        on_cluster.ask("scontrol", "hold", job)
        on_cluster.ask("scontrol", "update", "partitionname=low", "state=up")
        until(lambda: run_status(naps.run).count("done") == len(ALL) - 1, "all others are done")
        assert run_status(naps.run).count("queued") == 1
        on_cluster.ask("scontrol", "release", job)
        told = ends(process)
    assert told.count(f"until: scontrol release {job}") == 1


def test_a_submitter_may_leave_and_a_failed_step_is_told_with_its_log(
    on_cluster: SlurmCluster, naps: Naps, tmp_path: Path
) -> None:
    bed = tmp_path / "bed"
    naps.write(tenths=3, fails=str(bed))
    left = subprocess.run(naps.command("--detach"), capture_output=True, text=True, check=False)
    assert left.returncode == 0, left.stderr
    until(lambda: run_status(naps.run).count("failed") == 1, "one fails")
    until(lambda: run_status(naps.run).count("queued") + run_status(naps.run).count("running") == 0, "the rest ends")
    status = {step.name: step for step in run_status(naps.run).steps if step.kind == "nap"}
    assert {name: step.state for name, step in status.items()} == {
        **dict.fromkeys(ALL, "done"),
        "nap/nap two-s2": "failed",
        "nap/nap all": "waiting",
    }
    assert status["nap/nap two-s2"].error == f"nap/nap two-s2: can't sleep. Make {bed}"
    assert "DataError" in status["nap/nap two-s2"].log[-1]
    shown = subprocess.run(
        [sys.executable, "-m", "midspec", "status", str(naps.run)], capture_output=True, text=True, check=True
    ).stdout
    assert "failed: nap/nap two-s2 (job" in shown
    with pytest.raises(MidspecError, match="can't sleep"):
        run_study(load_study(naps.study), naps.run, executor="slurm", only=["nap/*"])
    bed.touch()
    run_study(load_study(naps.study), naps.run, executor="slurm", only=["nap/*"])
    assert sorted(naps.noted("end")) == ALL


def test_two_jobs_with_the_same_result_make_it_once(on_cluster: SlurmCluster, naps: Naps) -> None:
    naps.write(tenths=10, alike=True)
    run_study(load_study(naps.study), naps.run, executor="slurm", only=["nap/*"])
    assert Counter(name.partition("-")[0] for name in naps.noted("begin")) == {
        "nap/nap one": 1,
        "nap/nap two": 2,
        "nap/nap all": 1,
    }


def test_a_canary_s_fault_stops_the_rest_before_it_is_submitted(
    on_cluster: SlurmCluster, naps: Naps, tmp_path: Path
) -> None:
    bed = tmp_path / "bed"
    naps.write(tenths=2, fails=str(bed), fails_in="one-s1")
    told: list[Event] = []
    study = load_study(naps.study)
    with pytest.raises(MidspecError, match="can't sleep"):
        run_study(study, naps.run, executor="slurm", only=["nap/*"], canary=True, on_event=told.append)
    assert [event.note for event in told if event.kind == "say"] == ["submitted 1 job"]
    assert naps.noted("begin") == ["nap/nap one-s1"]


def test_what_slurm_refuses_is_one_line(on_cluster: SlurmCluster, naps: Naps) -> None:
    naps.write(tenths=3)
    text = naps.study.read_text(encoding="utf-8").replace("partition: low", "partition: nowhere")
    naps.study.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"sbatch: .*invalid partition.*Correct execution\.slurm"):
        run_study(load_study(naps.study), naps.run, executor="slurm", only=["nap/*"])
    assert os.environ["SLURM_CONF"] == on_cluster.env["SLURM_CONF"]


def test_slurm_gives_the_local_run_s_bytes_and_does_nothing_twice(
    on_cluster: SlurmCluster, run_folder: Path, tmp_path: Path
) -> None:
    settings = "execution: {slurm: {partition: low, poll_s: 0.5, updates_per_job: 120, time_min: 30}}\n"
    study = tmp_path / "tiny.yaml"
    study.write_text(TINY.read_text(encoding="utf-8") + settings, encoding="utf-8")
    out = tmp_path / "run"
    told: list[Event] = []
    run_study(load_study(study), out, executor="slurm", on_event=told.append)
    spec = importlib.util.spec_from_file_location("kill_resume", ROOT / "benchmarks" / "kill_resume.py")
    assert spec is not None
    assert spec.loader is not None
    kill_resume = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kill_resume)
    # The study's text says where it runs and stands in the report; all else is equal.
    differ = set(kill_resume._differences(run_folder, out))
    assert differ <= {"differs: report/record.json", "differs: report/report_data.json"}, differ
    ours, theirs = (json.loads((run / "report" / "report_data.json").read_bytes()) for run in (out, run_folder))
    assert {key for key in ours if ours[key] != theirs[key]} <= {"config_yaml"}
    done = Counter(event.step for event in told if event.kind == "done")
    assert set(done.values()) == {1}
    status = run_status(out)
    assert status.count("done") == len(status.steps) == len(done)
    records = [json.loads(path.read_bytes()) for path in out.rglob("record.json")]
    assert {record["execution"]["n_attempts"] for record in records} == {1}
    scripts = [path.read_text(encoding="utf-8") for path in (out / "jobs").glob("*.sh")]
    assert any("#SBATCH --array=0,1\n" in script for script in scripts)
    assert 3 <= len(scripts) <= 12
    assert (out / "logs" / "midtrain" / "america-s1.log").is_file()
    again: list[Event] = []
    run_study(load_study(study), out, executor="slurm", on_event=again.append)
    assert [event.kind for event in again] == ["begin", "end"]
    assert len(list((out / "jobs").glob("*.sh"))) == len(scripts)


def test_a_step_longer_than_a_job_goes_on_in_the_next_from_where_it_was(
    on_cluster: SlurmCluster, long_naps: Naps
) -> None:
    logs = long_naps.run / "logs" / "slurm"
    what = "is out of time and goes on in another job"
    until(lambda: any(what in log.read_text(encoding="utf-8") for log in logs.glob("*-001-*")), "its time is up")
    drafts = (long_naps.run / "steps" / "nap").glob(".nap-one-*.part/.checkpoints/count")
    slept = {path.parents[1].name: len(path.read_text(encoding="utf-8")) for path in drafts}
    n_begun = len(long_naps.noted("begin"))
    until(lambda: len(long_naps.noted("begin")) >= n_begun + len(slept), "they begin again")
    drafts = (long_naps.run / "steps" / "nap").glob(".nap-one-*.part/.checkpoints/count")
    assert all(len(path.read_text(encoding="utf-8")) >= slept[path.parents[1].name] > 50 for path in drafts)
    on_cluster.ask("scancel", "--full", f"--user={os.getuid()}")
