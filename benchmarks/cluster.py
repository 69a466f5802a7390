"""A study on a real Slurm cluster of two nodes on this machine, against the local executor with two workers.

    python benchmarks/cluster.py [STUDY.yaml] [--set KEY=VALUE ...] [--only STEP ...] [--updates-per-job N]

Without a study, a nano study of two seeds, small enough for both runs to end within three minutes on a quiet machine.
Needs root, and Debian's slurmctld, slurmd, slurm-client and munge. Each node has one CPU, so that both ways compute
on two cores. Prints the seconds of the whole, those in which any job ran (the rest is queueing: Slurm's scheduling, and
waiting for the next look), and CPU seconds: these hold on a busy machine too, wall seconds on a quiet one alone.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from os import environ
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(_ROOT / "tests" / "study" / "cluster"))

from slurm_cluster import SlurmCluster, why_not  # type: ignore[import-not-found]  # noqa: E402

# Every kind of step, some 50 s of CPU for each seed: what is learnt does not matter here.
_STUDY = "lab:nano.yaml"
_SMALL = ("seeds=[501, 502]", "base.midtrainings=1", "base.mirror=false", "base.stages.*.recipe.n_updates=300")
# A job notes its CPU seconds and when it began and ended: Slurm tells whole seconds, and forgets jobs after a while.
_COMMAND = """\
#!/bin/bash
began=$(date +%s.%N)
{python} -m midspec "$@"
code=$?
times > {notes}."$SLURM_JOB_ID"
echo "$began $(date +%s.%N) $(tail -n 1 {notes}."$SLURM_JOB_ID")" >> {notes}
exit $code
"""


class Job(NamedTuple):
    """When a job began and ended, and its CPU seconds."""

    began_s: float
    ended_s: float
    cpu_s: float


class Ran(NamedTuple):
    """What a command took: seconds by the clock, and CPU seconds of it and of all that it started here."""

    wall_s: float
    cpu_s: float


def main() -> int:
    """Run both and print; 0 if both ended well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", default=_STUDY)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--updates-per-job", type=float, help="by default what midspec takes for the study's model")
    asked = parser.parse_args()
    if reason := why_not():
        sys.exit(reason)
    settings = [*(_SMALL if asked.study == _STUDY else ()), *asked.set]
    options = [*(f"--set={one}" for one in settings), *(f"--only={one}" for one in asked.only)]
    with tempfile.TemporaryDirectory(prefix="midspec-cluster-") as temporary:
        folder = Path(temporary)
        local = _ran([asked.study, *options, "--out", str(folder / "local"), "--workers", "2"], environ)
        print(f"local, two workers: {local.wall_s:.1f} s, {local.cpu_s:.1f} s of CPU", flush=True)
        cluster = SlurmCluster(folder / "slurm", cpus=1)
        command, notes = folder / "midspec.sh", folder / "jobs.txt"
        command.write_text(_COMMAND.format(python=shlex.quote(sys.executable), notes=shlex.quote(str(notes))))
        command.chmod(0o755)
        slurm = {"partition": "low", "poll_s": 1, "command": str(command), "updates_per_job": asked.updates_per_job}
        options.append(f"--set=execution.slurm={json.dumps(slurm)}")
        try:
            cluster.start()
            run = _ran([asked.study, *options, "--out", str(folder / "run"), "--executor", "slurm"], cluster.env)
            # The last record may be there before its job has ended.
            while cluster.ask("squeue", "--noheader", "--states=RUNNING,COMPLETING").strip():
                time.sleep(0.2)
            jobs = _jobs(notes)
        finally:
            cluster.stop()
        busy_s, jobs_cpu_s = _union_s(jobs), sum(job.cpu_s for job in jobs)
    print(f"slurm, two nodes:   {run.wall_s:.1f} s, some job ran in {busy_s:.0f} s; {len(jobs)} jobs")
    print(f"  {jobs_cpu_s:.1f} s of CPU in jobs, {run.cpu_s:.1f} s in the command that submits and follows them")
    print(f"CPU in jobs against the local run: {_percent(jobs_cpu_s, local.cpu_s)}")
    print(f"CPU of jobs and command against the local run: {_percent(jobs_cpu_s + run.cpu_s, local.cpu_s)}")
    print(f"wall beyond queueing against the local run: {_percent(busy_s, local.wall_s)}")
    return 0


def _percent(one: float, other: float) -> str:
    return f"{100 * (one / other - 1):+.1f}%"


def _ran(arguments: list[str], environment: Mapping[str, str]) -> Ran:
    began, cpu_s = time.monotonic(), _children_cpu_s()
    command = [sys.executable, "-m", "midspec", "run", *arguments]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if ran.returncode:
        sys.exit(f"{shlex.join(command)} ended with {ran.returncode}:\n{ran.stderr[-3000:]}")
    return Ran(time.monotonic() - began, _children_cpu_s() - cpu_s)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _jobs(notes: Path) -> list[Job]:
    """Read what the jobs noted: begin, end, and the minutes and seconds of CPU for their own code and the system's."""
    jobs = []
    for line in notes.read_text(encoding="utf-8").splitlines():
        began, ended, *cpu = line.split()
        cpu_s = sum(
            60 * float(minutes) + float(seconds) for minutes, seconds in re.findall(r"(\d+)m([\d.]+)s", " ".join(cpu))
        )
        jobs.append(Job(float(began), float(ended), cpu_s))
    return jobs


def _union_s(jobs: list[Job]) -> float:
    """The seconds in which at least one job ran."""
    total, until = 0.0, 0.0
    for begin, end, _ in sorted(jobs):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


if __name__ == "__main__":
    sys.exit(main())
