"""How jobs are submitted: to commands in Slurm's place that say what they are told, without a cluster."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from midspec.core.errors import ConfigError, UnreachableError
from midspec.study import Event, StepState, load_study, run_study, write_jobs
from midspec.study.execution._slurm_queue import ENDED, Slurm, task_ids
from midspec.study.execution._slurm_run import StepEndedError

from .conftest import Naps, put_programs


def test_a_full_queue_is_asked_again_and_leaves_no_scripts_behind(
    naps: Naps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = tmp_path / "tries"
    full = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)"
    sbatch = f"""
echo >> {tries}
if [ "$(wc -l < {tries})" -lt 4 ]; then echo '{full}' >&2; else echo 'sbatch: error: no such account' >&2; fi
exit 1
"""
    put_programs(tmp_path / "bin", monkeypatch, squeue="", scontrol="", sbatch=sbatch)
    naps.write(tenths=1, poll_s=0.01)
    told: list[Event] = []
    with pytest.raises(ConfigError, match="no such account"):
        run_study(load_study(naps.study), naps.run, executor="slurm", only=["nap/*"], on_event=told.append)
    assert ["takes no more jobs now" in event.note for event in told if event.kind == "say"] == [True]
    assert list((naps.run / "jobs").glob("midspec-*")) == []


def of_seeds(naps: Naps, n_seeds: int) -> Naps:
    """Write the study of naps of more seeds."""
    naps.write(tenths=1)
    text = naps.study.read_text(encoding="utf-8").replace("seeds: [1, 2]", f"seeds: {[*range(1, n_seeds + 1)]}")
    naps.study.write_text(text, encoding="utf-8")
    return naps


def sizes_of_jobs(naps: Naps) -> list[int]:
    """Return how many tasks the jobs have, in the order of submission."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((naps.run / "jobs").glob("midspec-*.sh"))]
    arrays = [re.search(r"^#SBATCH --array=(.+)$", text, re.MULTILINE) for text in texts]
    return [len(array[1].split(",")) if array else 1 for array in arrays]


@pytest.mark.parametrize(
    "refusal",
    [
        "Required partition not available (inactive or drain)",
        "Job dependency problem",
        "Slurm backup controller in standby mode",
    ],
)
def test_a_refusal_that_passes_is_waited_for_with_arrays_as_large_as_before(
    refusal: str, naps: Naps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = tmp_path / "tries"
    sbatch = f"""
echo >> {tries}
if [ "$(wc -l < {tries})" -lt 4 ]; then echo 'sbatch: error: Batch job submission failed: {refusal}' >&2; exit 1; fi
for script; do :; done
grep -c '^#SBATCH --array=.*,' $script >> {tmp_path}/arrays
echo 'sbatch: error: no such account' >&2; exit 1
"""
    put_programs(tmp_path / "bin", monkeypatch, squeue="", scontrol="", sbatch=sbatch)
    naps.write(tenths=1, poll_s=0.01)
    told: list[Event] = []
    with pytest.raises(ConfigError, match="no such account"):
        run_study(load_study(naps.study), naps.run, executor="slurm", only=["nap/*"], on_event=told.append)
    assert [refusal in event.note for event in told if event.kind == "say"] == [True]
    assert (tmp_path / "arrays").read_text(encoding="utf-8") == "1\n"


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        ("MaxArraySize            = 3", [3, 2, 3, 2, 1]),
        ("MaxArraySize            = 0", [1] * 11),
        ("MaxArraySize = 1001\nSchedulerParameters     = bf_interval=1,max_array_tasks=4", [4, 1, 4, 1, 1]),
        ("", [5, 5, 1]),
    ],
)
def test_an_array_has_as_many_tasks_as_the_cluster_takes(
    config: str, sizes: list[int], naps: Naps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_programs(tmp_path / "bin", monkeypatch, squeue="", scontrol=f"cat <<'END'\n{config}\nEND")
    write_jobs(load_study(of_seeds(naps, 5).study), naps.run, "slurm", only=["nap/*"])
    assert sizes_of_jobs(naps) == sizes


# As sbatch of Slurm 22.05 says them.
NO_ROOM = (
    "sbatch: error: AssocMaxSubmitJobLimit\\nsbatch: error: Batch job submission failed: Job violates accounting/QOS "
)
NO_ROOM += "policy (job submit limit, user's size and/or time limits)\\n"


def limited_to(n_tasks: int, n_jobs: int, folder: Path) -> str:
    """Return an sbatch that takes so many jobs in all, none of them an array of more tasks."""
    return f"""
for script; do :; done
n=$(sed -n 's/^#SBATCH --array=//p' "$script" | tr ',' '\\n' | wc -l)
if [ "$n" -gt {n_tasks} ] || [ "$(ls {folder} | wc -l)" -ge {n_jobs} ]; then printf "{NO_ROOM}" >&2; exit 1; fi
mktemp -p {folder} > /dev/null
ls {folder} | wc -l
"""


def test_an_array_over_the_user_s_own_limit_of_jobs_is_several(
    naps: Naps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").mkdir()
    sbatch = limited_to(2, 100, tmp_path / "taken")
    put_programs(tmp_path / "bin", monkeypatch, squeue="", scontrol="", sbatch=sbatch)
    run_study(load_study(of_seeds(naps, 5).study), naps.run, executor="slurm", only=["nap/*"], follow=False)
    assert sizes_of_jobs(naps) == [2, 2, 1, 2, 2, 1, 1]


def test_of_a_full_queue_a_submitter_that_leaves_is_told_in_one_line(
    naps: Naps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").mkdir()
    sbatch = limited_to(5, 2, tmp_path / "taken")
    put_programs(tmp_path / "bin", monkeypatch, squeue="", scontrol="", sbatch=sbatch)
    with pytest.raises(UnreachableError, match=r"AssocMaxSubmitJobLimit.*The same command submits the rest") as error:
        run_study(load_study(of_seeds(naps, 5).study), naps.run, executor="slurm", only=["nap/*"], follow=False)
    assert "\n" not in str(error.value)
    assert sizes_of_jobs(naps) == [5, 5]


def test_a_limit_on_the_size_of_a_job_is_no_matter_of_waiting(
    naps: Naps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sbatch = f'printf "{NO_ROOM.replace("AssocMaxSubmitJobLimit", "QOSMaxWallDurationPerJobLimit")}" >&2; exit 1'
    put_programs(tmp_path / "bin", monkeypatch, squeue="", scontrol="", sbatch=sbatch)
    naps.write(tenths=1)
    with pytest.raises(ConfigError, match=r"QOSMaxWallDurationPerJobLimit.*Correct execution\.slurm"):
        run_study(load_study(naps.study), naps.run, executor="slurm", only=["nap/*"])


GREETING = "-----\n      Welcome to the Big3 Supercomputer\n-----\n--> Checking 2 allocations...OK\n"


@pytest.mark.parametrize(
    ("told", "number"),
    [
        ("4711", "4711"),
        ("4711;north", "4711"),
        (f"{GREETING}4711", "4711"),
        ("sbatch: INFO: 12 hours are left\n4711;north\nThis job will cost 3 units", "4711"),
        ("Submitted batch job 4711 on cluster north", "4711"),
    ],
)
def test_a_job_s_number_is_found_among_all_that_a_cluster_says(
    told: str, number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_programs(tmp_path / "bin", monkeypatch, squeue="", sbatch=f"cat <<'END'\n{told}\nEND")
    (tmp_path / "job.sh").write_text("#!/bin/bash\n", encoding="utf-8")
    assert Slurm().submit(tmp_path / "job.sh", "", "job") == number


def test_a_job_whose_number_is_not_told_is_looked_for_and_else_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "job.sh").write_text("#!/bin/bash\n", encoding="utf-8")
    put_programs(tmp_path / "bin", monkeypatch, squeue="echo 'job|12|N/A|PENDING|None'", sbatch="echo welcome")
    assert Slurm().submit(tmp_path / "job.sh", "", "job") == "12"
    with pytest.raises(ConfigError, match="sbatch: told no number of a job: welcome"):
        Slurm().submit(tmp_path / "job.sh", "", "another")


def test_what_the_study_asks_for_is_above_a_user_s_variables_and_no_job_s_are_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    sbatch = f'echo "$@" > {told}; env | grep -E "^(SLURM|SQUEUE|SBATCH)_" | sort >> {told}; echo 1'
    put_programs(tmp_path / "bin", monkeypatch, sbatch=sbatch)
    monkeypatch.setenv("SBATCH_ARRAY_INX", "0-3")
    variables = {"SBATCH_PARTITION": "mine", "SBATCH_ACCOUNT": "us", "SLURM_CONF": "/etc/slurm.conf"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "SLURM_CPU_BIND", "SQUEUE_STATES"):
        monkeypatch.setenv(name, "7")
    script = tmp_path / "job.sh"
    script.write_text('#!/bin/bash\n#SBATCH --chdir="/a b"\n#SBATCH --partition=cpu\n#SBATCH -C a100 # fast\nexec x\n')
    Slurm().submit(script, "afterok:3", "job")
    asked, *env = told.read_text(encoding="utf-8").splitlines()
    assert asked == f"--parsable --dependency=afterok:3 --chdir=/a b --partition=cpu -C a100 {script}"
    assert env == [f"{name}={variables[name]}" for name in sorted(variables)]


def test_a_queue_that_one_cluster_did_not_tell_of_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = "echo 'CLUSTER: north'; echo 'slurm_load_jobs error: Socket timed out on send/recv operation' >&2"
    put_programs(tmp_path / "bin", monkeypatch, squeue=lost)
    with pytest.raises(UnreachableError, match="timed out"):
        Slurm().queue()


def test_a_job_that_waits_for_what_will_never_be_ends_the_run_and_leaves_the_queue(
    naps: Naps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, cancelled = tmp_path / "queue", tmp_path / "cancelled"
    sbatch = f"""
for script; do :; done
n=$(($(wc -l < {queue}) + 1))
echo "$(basename $script .sh)|$n|0|PENDING|DependencyNeverSatisfied" >> {queue}; echo $n"""
    queue.touch()
    put_programs(
        tmp_path / "bin",
        monkeypatch,
        squeue=f"cat {queue}",
        scontrol="",
        sbatch=sbatch,
        scancel=f"echo $1 >> {cancelled}",
    )
    naps.write(tenths=1, poll_s=0.01)
    with pytest.raises(StepEndedError, match=r"nap one-s1: job 1_0 ended: cancelled"):
        run_study(load_study(naps.study), naps.run, executor="slurm", only=["nap/*"])
    assert "1_0" in cancelled.read_text(encoding="utf-8").split()


def test_without_slurm_here_it_is_said_in_one_line(naps: Naps, monkeypatch: pytest.MonkeyPatch) -> None:
    naps.write(tenths=1)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match=r"--executor slurm: there is no squeue here\. Run this where .* --dry-run"):
        run_study(load_study(naps.study), naps.run, executor="slurm", only=["nap/*"])


def test_an_unknown_kind_of_step_is_refused_before_anything_is_submitted(naps: Naps) -> None:
    naps.write(tenths=1, kinds="{evil: {time_min: 5}}")
    with pytest.raises(
        ConfigError, match=r"execution\.slurm\.kinds: there is no kind of step 'evil'.*Did you mean eval"
    ):
        write_jobs(load_study(naps.study), naps.run, "slurm")


# As sacct of Slurm 22.05 with slurmdbd printed them; what had ended how was known from how it was made to.
ENDS = {
    "1|COMPLETED": ("1", StepState.DONE),
    "2|FAILED": ("2", StepState.FAILED),
    "4|TIMEOUT": ("4", StepState.TIMED_OUT),
    "6|OUT_OF_MEMORY": ("6", StepState.OUT_OF_MEMORY),
    "7_0|COMPLETED": ("7_0", StepState.DONE),
    "7_1|FAILED": ("7_1", StepState.FAILED),
    "10_1|CANCELLED": ("10_1", StepState.CANCELLED),
    "11|CANCELLED by 0": ("11", StepState.CANCELLED),
    "12_[0,2]|CANCELLED by 0": ("12_2", StepState.CANCELLED),
    "17_[0-1]|CANCELLED by 0": ("17_1", StepState.CANCELLED),
    "19|PREEMPTED": ("19", StepState.PREEMPTED),
    "22|DEADLINE": ("22", StepState.TIMED_OUT),
    "24|NODE_FAIL": ("24", StepState.NODE_FAILED),
    "25|PENDING": ("25", None),
    "15|REQUEUED": ("15", None),
}


def test_the_ends_of_jobs_are_read_as_sacct_prints_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "\n".join(ENDS)
    # Of tasks that never began it tells only where the whole array is asked for.
    sacct = f"""
case "$*" in *--jobs=*_*) exit 0 ;; esac
cat <<'END'
{rows}
END"""
    put_programs(tmp_path / "bin", monkeypatch, sacct=sacct)
    asked = [job for job, _ in ENDS.values()]
    found = Slurm().ended(asked)
    assert {job: ENDED.get(found[job]) for job in asked} == dict(ENDS.values())
    assert set(found) == set(asked), "tasks of others in the same line are left out"


@pytest.mark.parametrize(
    ("job", "tasks"),
    [
        ("12", ["12"]),
        ("12_4", ["12_4"]),
        ("12_[4]", ["12_4"]),
        ("12_[0,2-4]", ["12_0", "12_2", "12_3", "12_4"]),
        ("12_[0-6:3,9%2]", ["12_0", "12_3", "12_6", "12_9"]),
    ],
)
def test_the_tasks_of_an_array_are_read_as_slurm_writes_them(job: str, tasks: list[str]) -> None:
    assert task_ids(job) == tasks


def test_a_cluster_without_accounting_tells_no_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_programs(tmp_path / "bin", monkeypatch, sacct="echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert Slurm().ended(["1"]) == {}
