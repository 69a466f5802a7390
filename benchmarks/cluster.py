"""A study on a real Slurm cluster of two nodes on this machine, against the local executor with two workers.

    python benchmarks/cluster.py [STUDY.yaml] [--only STEP ...] [--updates-per-job N]

Needs root, and Debian's slurmctld, slurmd, slurm-client and munge. Each node has one CPU, so that both ways compute
on two cores. Prints the seconds of the whole, those in which any job ran (the rest is queueing: Slurm's scheduling, and
waiting for the next look), the steps' own, and what starting the jobs took.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

_ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(_ROOT / "tests" / "study" / "cluster"))

from slurm_cluster import SlurmCluster, why_not  # type: ignore[import-not-found]  # noqa: E402


def main() -> int:
    """Run both and print; 0 if both ended well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", type=Path, default=_ROOT / "tests" / "study" / "tiny.yaml")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--updates-per-job", type=float, default=100)
    asked = parser.parse_args()
    if reason := why_not():
        sys.exit(reason)
    only = [word for one in asked.only for word in ("--only", one)]
    with tempfile.TemporaryDirectory(prefix="midspec-cluster-") as temporary:
        folder = Path(temporary)
        study = folder / asked.study.name
        settings = {"partition": "low", "poll_s": 1, "updates_per_job": asked.updates_per_job}
        text = asked.study.read_text(encoding="utf-8") + f"\nexecution: {json.dumps({'slurm': settings})}\n"
        study.write_text(text, encoding="utf-8")
        local_s = _timed([str(study), "--out", str(folder / "local"), "--workers", "2", *only], dict(os.environ))
        local_steps_s = _steps_s(folder / "local")
        cluster = SlurmCluster(folder / "slurm", cpus=1)
        try:
            cluster.start()
            out = folder / "cluster"
            slurm_s = _timed([str(study), "--out", str(out), "--executor", "slurm", *only], cluster.env)
            jobs = _jobs(cluster)
        finally:
            cluster.stop()
        busy_s, job_s, steps_s = _union_s(jobs), sum(end - begin for begin, end in jobs), _steps_s(out)
    print(f"local, two workers: {local_s:.1f} s, of which steps {local_steps_s:.1f} s of two workers' time")
    print(
        f"slurm, two nodes:   {slurm_s:.1f} s, some job ran in {busy_s:.1f} s, {len(jobs)} jobs of {job_s:.0f} s in all"
    )
    print(f"steps {steps_s:.1f} s; starts of jobs {job_s - steps_s:.1f} s, {(job_s - steps_s) / len(jobs):.1f} s each")
    print(f"beyond queueing: {100 * (busy_s / local_s - 1):+.0f}% of the local run's time")
    return 0


def _timed(arguments: list[str], environment: dict[str, str]) -> float:
    began = time.monotonic()
    command = [sys.executable, "-m", "midspec", "run", *arguments]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if ran.returncode:
        sys.exit(f"{' '.join(command)} ended with {ran.returncode}:\n{ran.stderr[-3000:]}")
    return time.monotonic() - began


def _steps_s(run: Path) -> float:
    records = (json.loads(path.read_bytes()) for path in run.rglob("record.json"))
    return sum(float(record["execution"]["seconds"]) for record in records)


def _jobs(cluster: SlurmCluster) -> list[tuple[float, float]]:
    """When each job began and ended, in seconds; Slurm tells whole seconds."""
    told = cluster.ask("scontrol", "--oneliner", "show", "job")
    times = re.findall(r"StartTime=(\S+) EndTime=(\S+)", told)
    return [
        (datetime.fromisoformat(begin).timestamp(), datetime.fromisoformat(end).timestamp()) for begin, end in times
    ]


def _union_s(jobs: list[tuple[float, float]]) -> float:
    """The seconds in which at least one job ran."""
    total, until = 0.0, 0.0
    for begin, end in sorted(jobs):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


if __name__ == "__main__":
    sys.exit(main())
