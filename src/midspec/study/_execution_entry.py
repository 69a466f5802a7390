"""How a study's steps are handed to a cluster: the `execution` of a study file. No part of a result's identity."""

from __future__ import annotations

import re
import shlex
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from midspec.core.records import Strict


def _one_word(text: str) -> str:
    if not re.fullmatch(r"[\w.,:@+/=-]+", text):
        raise ValueError("must be one word of letters, digits and . , : @ + / = _ -")
    return text


# Without these jobs are not found again, not put back into the queue, or sbatch does not return.
_OURS = re.compile(
    r"(?:--(?:array|job-name|dependency|chdir|wait|wrap|test-only|parsable|signal|no-requeue)|-[aJdDW])(?![a-z-])"
)


def _one_option(text: str) -> str:
    if not re.fullmatch(r"--?[A-Za-z][^\n\r]*", text):
        raise ValueError("must be one option of sbatch on one line, such as --constraint=a100")
    try:
        shlex.split(text)
    except ValueError as error:
        raise ValueError(f"can't be read: {str(error).lower()}") from error
    if re.match(r"--clusters?(?![a-z-])|-M", text):
        raise ValueError("names a cluster: set SLURM_CLUSTERS instead, which all commands know that ask for the jobs")
    if re.match(_OURS, text):
        raise ValueError("is what midspec sets itself, or waits for")
    return text


_Word = Annotated[str, AfterValidator(_one_word)]


class SlurmResources(Strict):
    """What a job asks for; what is not given is the cluster's default.

    Attributes:
        partition: to run in.
        account: that pays.
        qos: quality of service.
        time_min: limit of a job in minutes. One that reaches it goes on in another.
        memory_gb: of a node.
        cpus: cores of a job.
        gpus: of steps that compute with a model; others get none, unless `kinds` names theirs.
        gpu_type: as the cluster calls it, such as `a100`.
        extra: further options of sbatch, one each.
    """

    partition: _Word | None = None
    account: _Word | None = None
    qos: _Word | None = None
    time_min: int | None = Field(default=None, ge=1)
    memory_gb: float | None = Field(default=None, gt=0)
    cpus: int | None = Field(default=None, ge=1)
    gpus: int | None = Field(default=None, ge=0)
    gpu_type: _Word | None = None
    extra: tuple[Annotated[str, AfterValidator(_one_option)], ...] = ()


class SlurmEntry(SlurmResources):
    """How the study's steps become Slurm jobs.

    Attributes:
        kinds: what the steps of a kind ask for instead, such as `corpus: {partition: cpu}`.
        setup: lines of shell before the work, such as `module load cuda`.
        command: what starts midspec on a node; by default the Python that wrote the scripts.
        updates_per_job: steps of a seed share a job until they make so many training updates; an evaluation counts
            as 20. A step that is larger has a job of its own. By default 100, and of a model under 100 million weights
            so many times more as it is smaller, at most 10,000.
        grace_s: so long before its time is up a job saves its state and goes back into the queue.
        most_restarts: of one job, whatever ended it.
        poll_s: how often the queue is asked.
    """

    kinds: dict[str, SlurmResources] = Field(default_factory=dict)
    setup: str = ""
    command: str = ""
    updates_per_job: float | None = Field(default=None, ge=0)
    grace_s: int = Field(default=120, ge=1)
    most_restarts: int = Field(default=10, ge=0)
    poll_s: float = Field(default=10, gt=0)

    @model_validator(mode="after")
    def _has_time(self) -> SlurmEntry:
        limits = [self.time_min, *(kind.time_min for kind in self.kinds.values())]
        # Slurm sends the signal up to a minute early.
        if any(limit is not None and 60 * limit < self.grace_s + 60 for limit in limits):
            raise ValueError("`time_min` leaves no time to work: it must be a minute longer than `grace_s`")
        return self


class SkyEntry(Strict):
    """What a machine of a cloud has that runs the study, as SkyPilot calls it.

    Attributes:
        accelerators: such as `A100:4`.
        cpus: such as `8+`.
        memory: in GB, such as `64+`.
        infra: cloud, region and zone, such as `aws/us-east-1`; by default the cheapest that fits.
        use_spot: takes machines that may be taken away; the study then goes on with another.
        disk_gb: of the machine.
        bucket: for the run folder, such as `s3://mine/runs`; every machine of the study reads and writes it.
        setup: lines of shell that install midspec; by default `pip install 'midspec[all]'`.
        env: names of variables with keys, such as OPENAI_API_KEY; their values are never written.
    """

    accelerators: _Word | None = None
    cpus: _Word | None = None
    memory: _Word | None = None
    infra: _Word | None = None
    use_spot: bool = True
    disk_gb: int | None = Field(default=None, ge=1)
    bucket: str | None = Field(default=None, pattern=r"^[a-z0-9]+://\S+$")
    setup: str = "pip install 'midspec[all]'"
    env: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")], ...] = ()


class StoreEntry(Strict):
    """How a run at a URL is kept there.

    Attributes:
        state_every_s: so often at most the newest checkpoint of a training that is not finished is sent, so that
            another machine goes on from it; `null` sends none. Training writes one every `save_every_s` seconds of
            `training.execution`.
    """

    state_every_s: float | None = Field(default=300, gt=0)


class ExecutionEntry(Strict):
    """Where the study may run besides this machine, and how it is kept at a URL."""

    slurm: SlurmEntry = SlurmEntry()
    skypilot: SkyEntry = SkyEntry()
    store: StoreEntry = StoreEntry()
