"""Run one of several processes that train a model together: one that `_launch.py` started, or one of torchrun's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from midspec.core.errors import ConfigError, MidspecError
from midspec.core.garbage import rare_collections
from midspec.core.processes import end_with
from midspec.models import choose_gpus
from midspec.train._job import DIVIDED_STAGES, TrainJob
from midspec.train._launch import Reply
from midspec.train._ranks import Ranks, has_met, leave, meet, ranks_of_environment
from midspec.train._stage import train


def _end(code: int) -> NoReturn:
    """End this process without the interpreter's finalization, in which torch's own threads may still be at work.

    One training in some hundred ended by SIGABRT for a reason that was not kept; that this was the place is a guess.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Run one process of a training; its arguments are the connection's file descriptor and the parent's process id."""
    connection: Connection[Reply, tuple[TrainJob, Path, str]] = Connection(int(sys.argv[1]))
    end_with(int(sys.argv[2]))
    with rare_collections():
        job, folder, device = connection.recv()
        try:
            tell = connection.send if ranks_of_environment().is_main else None
            connection.send(train(job, folder, device=device, on_progress=tell))
        except MidspecError as error:
            connection.send(error)
            _end(2)
        leave()
        _end(0)


# Under torchrun -------------------------------------------------------------------------------------------------------


@contextmanager
def leading(job: TrainJob, device: str) -> Iterator[Ranks]:
    """Let the first of torchrun's processes run the command; the others are told where, or that all is done.

    Yields this process's place among them. A process that is not the first runs `follow` instead.

    Raises:
        ConfigError: the stage is of a kind that one process trains, or they were started in another way.
    """
    ranks = ranks_of_environment()
    if max(ranks.n, job.execution.processes or 1) > 1 and job.stage not in DIVIDED_STAGES:
        raise ConfigError(
            f"{job.stage} trains in one process", where="execution.processes", hint="Leave it out, and torchrun too"
        )
    if ranks.n > 1:
        end_with(os.getppid())
    try:
        yield ranks
    finally:
        if ranks.n > 1 and ranks.is_main and not has_met():
            meet(_device_type(device), job.execution.processes)
    leave()


def follow(job: TrainJob, device: str) -> NoReturn:
    """Train along with the first of torchrun's processes, in the folder that it names, if any; end the process then."""
    nowhere: Path | None = None
    folder = meet(_device_type(device), job.execution.processes).from_main(lambda: nowhere)
    if folder is not None:
        train(job, folder, device=device)
    leave()
    _end(0)


def _device_type(device: str) -> str:
    return "cuda" if choose_gpus(device) else "cpu"
