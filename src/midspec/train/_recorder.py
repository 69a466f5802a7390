"""What happens between updates, in every stage: metrics are collected, checkpoints asked for, signals obeyed."""

from __future__ import annotations

import math
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from transformers import TrainerCallback

from midspec.core.artifact import read_rows, write_rows
from midspec.core.errors import ConfigError
from midspec.train._job import MetricsRow, Progress, TrainExecution
from midspec.train._ranks import ALONE, Ranks

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_METRICS = "metrics.jsonl"


class GracefulStop:
    """Within it, a first SIGINT or SIGTERM is noted, and passed to its own handler on leaving.

    A second one is passed on at once. A signal that is ignored stays ignored. Outside the main thread, where no
    handler can be set, nothing is changed.

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
        if not self._has_come:
            self._has_come = True
            self.requested = number
        else:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, old in self._before.items():
            signal.signal(number, old)


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
                if path != current:
                    shutil.rmtree(path)
        self._saved = time.monotonic()

    def _may_save(self, update: int) -> bool:
        return update % self._save_between == 0
