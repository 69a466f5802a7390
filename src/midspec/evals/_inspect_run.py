"""One Inspect run: a task and opened models enter, the log of what happened leaves."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.log import EvalLog
from inspect_ai.model import Model

GRADER = "grader"
"""The role of judges in Inspect."""

# Samples between two writes of the log. Inspect compares each new sample with all that wait, so more cost its square.
_LOG_BUFFER = 128
_OS_ERROR = re.compile(r"(?:OSError\(|\[Errno )(\d+)")


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Have garbage looked for less often: an evaluation keeps what it makes, and the search costs it a tenth."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def evaluate(task: Task, model: Model, n_samples: int, logs: Path, *, graders: Sequence[Model] = ()) -> EvalLog:
    """Run `task` on `model` and give the header of its log, which is written into `logs` in a few parts.

    Args:
        task: what is asked.
        model: who is asked.
        n_samples: how many samples the task has; all begin at once, and each model's own limit says how many
            requests are under way.
        logs: a folder for the log.
        graders: the judges, where the task has any.

    Raises:
        KeyboardInterrupt: it was interrupted.
        OSError: the log can't be written.
        RuntimeError: Inspect itself failed.
    """
    [log] = inspect_eval(
        task,
        model=model,
        model_roles={GRADER: list(graders)} if graders else None,
        display="none",
        log_dir=str(logs),
        log_realtime=False,
        log_model_api=False,
        log_buffer=min(n_samples, _LOG_BUFFER),
        log_header_only=True,
        max_samples=n_samples,
        max_tasks=1,
        fail_on_error=False,
        score_display=False,
        ctl_server=False,
    )
    if log.status == "cancelled":
        raise KeyboardInterrupt
    if log.error is not None:
        _pass_on(log.error.message)
    return log


def _pass_on(message: str) -> NoReturn:
    """Raise what ended the evaluation: Inspect keeps an error as its words, a full disk's too."""
    if found := _OS_ERROR.search(message):
        number = int(found[1])
        raise OSError(number, os.strerror(number))
    raise RuntimeError(f"the evaluation itself failed: {message}")
