"""The processes of one training: which of them this one is, and the little that they tell each other.

Started by `_launch.py` or by torchrun; both say so in the environment (RANK, WORLD_SIZE, LOCAL_RANK). torch is loaded
when there are several.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from midspec.core.errors import ConfigError, MidspecError

STORE = "MIDSPEC_PROCESS_STORE"
"""The file through which processes that `_launch.py` started meet; torchrun's meet at MASTER_ADDR."""

_SETTINGS = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
# `accelerate launch` sets the first ones whatever it starts, and Trainer sets none; all are read beside the recipe.
_ACCELERATE = (
    *("ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_CPU"),
    *("ACCELERATE_USE_MEGATRON_LM", "ACCELERATE_TORCH_DEVICE"),
)
_MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
# Others wait while the first one reads and counts the data. That one of them is gone is noticed otherwise.
_WAIT = timedelta(hours=12)
_START = "Start it by midspec train --processes N, or by torchrun --nproc-per-node N -m midspec train"

Value = TypeVar("Value")
Row = TypeVar("Row")


class ProcessLostError(MidspecError, ChildProcessError):
    """One of several processes of a training has ended; the others can't go on."""


class Ranks(NamedTuple):
    """The processes that train one model together; alone, all that is asked of the others is done at once.

    Attributes:
        rank: this process's number; 0 writes and prints.
        n: how many there are.
        local_rank: its number on this machine, which is that of its GPU.
    """

    rank: int = 0
    n: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Return whether this is the process that writes and prints."""
        return self.rank == 0

    def from_main(self, make: Callable[[], Value]) -> Value:
        """Return in all processes what the main one makes."""
        if self.n == 1:
            return make()
        import torch.distributed as dist

        values: list[Any] = [make() if self.is_main else None]
        dist.broadcast_object_list(values, src=0)
        made: Value = values[0]
        return made

    def wait(self) -> None:
        """Wait until all processes have come here."""
        self.from_main(lambda: None)

    def largest(self, value: float) -> float:
        """Return the largest of all processes' values."""
        return self._reduce(value, "MAX")

    def sum(self, value: float) -> float:
        """Return the sum of all processes' values."""
        return self._reduce(value, "SUM")

    def _reduce(self, value: float, how: str) -> float:
        if self.n == 1:
            return value
        import torch
        import torch.distributed as dist

        # On the CPU: it waits for no work of a GPU.
        total = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(total, op=getattr(dist.ReduceOp, how))
        return float(total)

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let one process after another do what is inside, so that only one holds a whole model in memory."""
        for turn in range(self.n):
            if turn == self.rank:
                yield
            self.wait()


ALONE = Ranks()


def ranks_of_environment(environment: Mapping[str, str] = os.environ) -> Ranks:
    """Read which of several processes this is; alone where nothing says otherwise.

    Raises:
        ConfigError: it was started in a way in which each process may believe that it is alone (by
            `accelerate launch` or MPI), or the settings contradict each other.
    """
    foreign = next((name for name in _ACCELERATE if name in environment), None)
    if foreign is not None:
        raise ConfigError("training can't be started by accelerate launch", where=foreign, hint=_START)
    given = [name for name in _SETTINGS if name in environment]
    if not given:
        mpi = next((name for name in _MPI if int(environment.get(name) or 1) > 1), None)
        if mpi is not None:
            raise ConfigError("training can't be started by MPI", where=mpi, hint=_START)
        return ALONE
    try:
        rank, n, local_rank = (int(environment[name]) for name in _SETTINGS)
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{', '.join(given)} set, and {', '.join(_SETTINGS)} are needed", where="the environment", hint=_START
        ) from error
    if not 0 <= rank < n or not 0 <= local_rank <= rank:
        raise ConfigError(f"there is no process {rank} of {n}", where="RANK", hint=_START)
    return Ranks(rank, n, local_rank)


def meet(device_type: str, n_asked: int | None, folder: Path | None = None) -> Ranks:
    """Meet the other processes; the first of torchrun's tells the others where the job is trained.

    Args:
        device_type: "cpu" or "cuda".
        n_asked: how many processes the job asks for.
        folder: where; none if nothing is trained.

    Raises:
        ConfigError: there are more or fewer than asked for.
    """
    ranks = ranks_of_environment()
    if n_asked not in {None, ranks.n}:
        raise ConfigError(
            f"{ranks.n} processes were started, and the job asks for {n_asked}",
            where="execution.processes",
            hint="Leave it out under torchrun",
        )
    if ranks.n == 1:
        return ranks
    import torch.distributed as dist

    if not dist.is_initialized():
        # What processes tell each other goes by gloo, the weights of GPUs by NCCL.
        backend = "cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo"
        if STORE in os.environ:
            store = dist.FileStore(os.environ[STORE], ranks.n)  # type: ignore[attr-defined]  # torch's stubs lack it
            dist.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.n, timeout=_WAIT)
        else:
            dist.init_process_group(backend, timeout=_WAIT)
    check_agreement(ranks, torch_distributed=dist.get_world_size())
    if ranks.is_main and STORE not in os.environ:
        ranks.from_main(lambda: folder)
    return ranks


def leave() -> None:
    """Leave the other processes, if this one has met any, once all have come to their end."""
    if has_met():
        import torch.distributed as dist

        dist.barrier()
        dist.destroy_process_group()


def has_met() -> bool:
    """Return whether this process has met others, and not left them yet."""
    if "torch" not in sys.modules:
        return False
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def check_agreement(ranks: Ranks, **counted: int) -> None:
    """Refuse to train where a library counts other processes than were started.

    Args:
        ranks: as started.
        **counted: by library, how many processes it counts.

    Raises:
        ConfigError: they differ.
    """
    for name, n in counted.items():
        if n != ranks.n:
            raise ConfigError(
                f"{ranks.n} processes were started, and {name} counts {n}", where="WORLD_SIZE", hint=_START
            )


def divide_rows(
    updates: Sequence[Sequence[Row]], rows_per_update: int, ranks: Ranks, micro_batch: int
) -> tuple[list[Row | tuple[()]], int, int]:
    """Arrange rows so that Trainer's batches, dealt to the processes in turn, make the planned updates.

    Where an update does not divide evenly, empty rows fill it: they have no supervised token, and cost time alone.

    Args:
        updates: the rows of each; the last may have fewer.
        rows_per_update: of the others.
        ranks: the processes.
        micro_batch: rows that go through the model at once.

    Returns:
        The rows, in order; how many go through the model at once in a process; and how often for an update.
    """
    if ranks.n == 1:
        return [row for update in updates for row in update], micro_batch, rows_per_update // micro_batch
    share = -(-rows_per_update // ranks.n)
    micro_batch = min(micro_batch, share)
    accumulation = -(-share // micro_batch)
    n_rows = ranks.n * micro_batch * accumulation
    rows: list[Row | tuple[()]] = []
    for update in updates:
        rows += [*update, *([()] * (n_rows - len(update)))]
    return rows, micro_batch, accumulation


def local_part(tensor: Any) -> Any:
    """Return what this process holds of a tensor that may be divided among several."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def reshard(model: Any) -> None:
    """Leave each process its part of a divided model: a forward pass leaves what lies outside the layers whole."""
    if hasattr(model, "reshard"):
        model.reshard()
