"""What happens between updates, in every stage: metrics are collected, checkpoints kept, signals obeyed."""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import signal
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from transformers import TrainerCallback

from midspec.core.artifact import read_rows, write_rows
from midspec.core.errors import CheckpointError, ConfigError, DataError, note
from midspec.core.terminals import leave_terminals
from midspec.train._checkpoint import DAMAGED, save_model, writing
from midspec.train._job import KEPT_PREFIX, MetricsRow, Progress, TrainExecution, TrainJob, last_checkpoint
from midspec.train._ranks import ALONE, Ranks

if TYPE_CHECKING:
    from transformers import GenerationConfig

    from midspec.train._distributed import Shards

_HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none
_SIGNALS = (signal.SIGINT, signal.SIGTERM, *filter(None, [_HANG_UP]))
_METRICS = "metrics.jsonl"
_END = 1 << 16
# What files raise whose content is wrong. Any other `OSError` is of the disk, the network or the rights.
_DAMAGES = (
    *(FileNotFoundError, ValueError, LookupError, TypeError, AttributeError, DataError, EOFError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, SafetensorError),
)


class GracefulStop:
    """Within it, a first SIGINT, SIGTERM or SIGHUP is noted, and passed to its own handler on leaving.

    A second one is passed on at once, but for SIGHUP, which shell and system both send where a terminal is closed. A
    signal that is ignored stays ignored. Outside the main thread, where no handler can be set, nothing is changed.

    Attributes:
        requested: the number of the signal that came, here or in another process of the training, if one did.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        # Where another process's signal came first, `requested` is set before this process's own one comes.
        self._has_come = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in _SIGNALS}
            # A handler that was not set from Python reads as None, and could not be put back.
            self._before = {number: old for number, old in before.items() if old not in {signal.SIG_IGN, None}}
            for number in self._before:
                signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._restore()
        if self.requested is not None and error is None:
            signal.raise_signal(self.requested)
            # The handler returned; but training did not end, so this must not look like success.
            raise SystemExit(128 + self.requested)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == _HANG_UP:
            leave_terminals()
        if not self._has_come:
            self._has_come = True
            self.requested = number
        elif number != _HANG_UP:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, old in self._before.items():
            signal.signal(number, old)


def whole_checkpoint(folder: Path, row_type: type[MetricsRow]) -> Path | None:
    """Return the last checkpoint in `folder` that a run can go on from; damaged ones are told, and renamed.

    After a loss of power a file may be cut or empty although those written after it are there.

    Raises:
        CheckpointError: it can't be read at present, which says nothing of what is in it.
    """
    while (last := last_checkpoint(folder)) is not None and (damage := _damage(last, row_type)):
        aside = last.with_name(last.name + DAMAGED)
        if aside.exists():
            shutil.rmtree(aside)
        last.rename(aside)
        before = last_checkpoint(folder)
        start = "begins anew" if before is None else f"goes on after update {before.name.rpartition('-')[2]}"
        note(f"the half-way checkpoint is damaged ({damage}), and is {aside.name} now: training {start}", str(last))
    return last


def _damage(checkpoint: Path, row_type: type[MetricsRow]) -> str:
    """Return what is wrong with a checkpoint's files, as far as can be seen without opening them; empty if nothing.

    Raises:
        CheckpointError: a file that is there can't be read.
    """
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_bytes())
        n_done, is_last = state["global_step"], state["global_step"] == state["max_steps"]
        if [row.update for row in read_rows(checkpoint / _METRICS, row_type)] != list(range(1, n_done + 1)):
            return f"{_METRICS} has not the {n_done} updates that were made"
        # Each process has a file of random numbers; without it Trainer draws others for dropout, and says nothing.
        needed = () if is_last else ("optimizer.pt", "scheduler.pt", "rng_state*.pth")
        if lost := [name for name in needed if not any(checkpoint.glob(name))]:
            return f"there is no {lost[0]}"
        read = {path.name: json.loads(path.read_bytes()) for path in checkpoint.rglob("*.json")}
        for path in sorted(checkpoint.rglob("*.pt*")):  # torch's files are zip archives, with a checksum for each part
            _read_end(path)
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    return f"{path.name} is not as it was written"
        weights = {*checkpoint.rglob("*.safetensors")}
        for index in (value for name, value in read.items() if name.endswith(".index.json")):
            weights |= {checkpoint / name for name in index["weight_map"].values()}
        for path in weights:
            _read_end(path)
            with safe_open(path, framework="pt"):
                pass
    except _DAMAGES as error:
        return " ".join(str(error).split())[:160] or type(error).__name__
    except OSError as error:
        what = f"the half-way checkpoint can't be read ({error.strerror or type(error).__name__})"
        hint = "The same command goes on from it once it can be; to begin anew, remove it"
        raise CheckpointError(what, where=str(checkpoint), hint=hint) from error
    return "" if weights else "there are no weights"


def _read_end(path: Path) -> None:
    """Read the end of a file: zipfile and safetensors call one damaged that the system does not let them read."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _END))
        file.read()


# Turns what a trainer logs of an update into a row of metrics; given as keywords are the fields of `MetricsRow`.
RowReader = Callable[..., MetricsRow]


class Recorder(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here, and calls every event
    """Collects the metrics, asks for checkpoints, and completes each by writing its metrics last.

    Args:
        execution: when to save.
        n_updates: of the whole run.
        read_row: turns logs into a row.
        save_between: checkpoints are written only after multiples of so many updates: TRL keeps the replies that it
            has sampled in memory alone, and would sample others after an interruption in between.
        on_progress: called after every update.
        ranks: the processes that train together; the first one writes.

    Attributes:
        rows: of the updates so far.
        stop: the signal that ends the run after the current update.
    """

    def __init__(
        self,
        execution: TrainExecution,
        n_updates: int,
        read_row: RowReader,
        *,
        save_between: int = 1,
        on_progress: Callable[[Progress], None] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.rows: list[MetricsRow] = []
        self.stop = GracefulStop()
        self._execution, self._n_updates, self._ranks = execution, n_updates, ranks
        self._read_row, self._save_between, self._on_progress = read_row, save_between, on_progress
        self._begun = self._saved = time.monotonic()

    def go_on_from(self, checkpoint: Path | None, row_type: type[MetricsRow]) -> None:
        """Read the rows of the updates before a checkpoint, if there is one."""
        if checkpoint is not None:
            self.rows.extend(read_rows(checkpoint / _METRICS, row_type))

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._begun = self._saved = time.monotonic()

    def on_step_end(self, *context: Any, **_: Any) -> None:
        arguments, state, control = context
        every = self._execution.save_every_updates
        by_time = bool(self._ranks.largest(time.monotonic() - self._saved >= self._execution.save_every_s))
        due = state.global_step % every == 0 if every else by_time
        is_last = state.global_step == self._n_updates
        if is_last or (due and self._may_save(state.global_step)):
            control.should_save = True
        # After the last update weights are all that a fault while the result is made could lose.
        arguments.save_only_model = is_last

    def on_log(self, *context: Any, logs: dict[str, float], **_: Any) -> None:
        _arguments, state, control = context
        state.log_history.clear()
        if "loss" not in logs:
            return
        loss, grad_norm = float(logs["loss"]), float(logs["grad_norm"])
        if not math.isfinite(loss) and state.global_step == 1:  # before any weight was changed
            raise CheckpointError(
                f"the loss is {loss} before anything was trained",
                where="the weights that training starts from",
                hint="They hold values that are no numbers, or too large ones: use another copy of them",
            )
        if not math.isfinite(loss + grad_norm):
            raise ConfigError(
                f"the loss is {loss} and its gradient {grad_norm} at update {state.global_step}",
                where="recipe.learning_rate",
                hint="Lower it, or raise warmup_updates",
            )
        row = self._read_row(
            logs, update=state.global_step, loss=loss, learning_rate=float(logs["learning_rate"]), grad_norm=grad_norm
        )
        self.rows.append(row)
        # After a signal the terminal or pipe that progress is written to may be gone.
        if self._on_progress is not None and self.stop.requested is None:
            seconds = time.monotonic() - self._begun
            self._on_progress(Progress(row.update, self._n_updates, loss, row.tokens, seconds))
        # A signal to one of several processes is one to all; one that comes meanwhile is told after the next update.
        agreed = int(self._ranks.largest(self.stop.requested or 0))
        if agreed:
            self.stop.requested = agreed
        # No other callback runs between this one and the writing of a checkpoint.
        if agreed and self._may_save(state.global_step):
            control.should_save = control.should_training_stop = True

    def on_save(self, *context: Any, **_: Any) -> None:
        arguments, state, _control = context
        checkpoints = Path(arguments.output_dir)
        current = checkpoints / f"checkpoint-{state.global_step}"
        if self._ranks.is_main:
            write_rows(current / _METRICS, self.rows)
            for path in checkpoints.glob("checkpoint-*"):
                if path != current and not path.name.endswith(DAMAGED):
                    shutil.rmtree(path)
        self._saved = time.monotonic()

    def _may_save(self, update: int) -> bool:
        return update % self._save_between == 0


class KeepCheckpoints(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Saves the model after each of the recipe's `keep_updates`, whole and ready to be opened.

    A run that was interrupted and goes on from before such an update saves it again, with the same weights.

    Args:
        job: names the updates.
        tokenizer: is saved beside the weights.
        folder: of the stage's result; the checkpoints are folders in it.
        shards: of a model that is divided among processes, of which the main one saves.
        generation: the settings to save it with, where it is trained with others.
    """

    def __init__(
        self,
        job: TrainJob,
        tokenizer: Any,
        folder: Path,
        shards: Shards | None = None,
        generation: GenerationConfig | None = None,
    ) -> None:
        self._shards, self._generation = shards, generation
        self._updates = frozenset(job.recipe.keep_updates)
        self._tokenizer = tokenizer
        self._folder = folder

    def on_step_end(self, *context: Any, model: Any, **_: Any) -> None:
        _arguments, state, _control = context
        if state.global_step not in self._updates:
            return
        if self._shards is not None and (model := self._shards.whole()) is None:
            return
        place = self._folder / f"{KEPT_PREFIX}{state.global_step}"
        draft = place.with_name(f".{place.name}")
        for folder in (draft, place):
            shutil.rmtree(folder, ignore_errors=True)
        draft.mkdir()
        config, generation = model.config, model.generation_config
        use_cache = config.use_cache
        model.generation_config = copy.deepcopy(generation if self._generation is None else self._generation)
        with writing(self._folder):
            save_model(model, self._tokenizer, draft)
        for other in [path for path in draft.iterdir() if path.is_dir()]:
            shutil.rmtree(other)  # PEFT saves the adapter that TRL keeps as DPO's reference too, as `ref/`
        # Saving sets both for whoever opens the checkpoint; the training goes on with its own.
        config.use_cache, model.generation_config = use_cache, generation
        # Only a whole checkpoint has its name.
        draft.rename(place)


def kept_files(job: TrainJob, folder: Path) -> tuple[str, ...]:
    """Return the files of the kept checkpoints that are part of the result, in the folder of a finished stage.

    The file that names the place of an adapter's base is left out, as in `save_model`.
    """
    files = []
    for n_updates in job.recipe.keep_updates:
        place = folder / f"{KEPT_PREFIX}{n_updates}"
        files += [path for path in sorted(place.iterdir()) if path.name not in _left_out(place)]
    return tuple(str(path.relative_to(folder)) for path in files)


def _left_out(place: Path) -> frozenset[str]:
    from midspec.models import find_checkpoint

    found = find_checkpoint(str(place))
    names_place = found.adapter is not None and Path(found.model).expanduser().is_dir()
    return frozenset({"adapter_config.json"} if names_place else ())
