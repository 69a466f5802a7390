"""One Inspect run: a task and an opened model enter, the log of what happened leaves."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NoReturn

from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.log import EvalLog
from inspect_ai.model import Model

__all__ = ["evaluate"]

_OS_ERROR = re.compile(r"(?:OSError\(|\[Errno )(\d+)")


def evaluate(task: Task, model: Model, n_items: int, logs: Path) -> EvalLog:
    [log] = inspect_eval(
        task,
        model=model,
        display="none",
        log_dir=str(logs),
        log_realtime=False,
        log_model_api=False,
        log_buffer=n_items,
        log_header_only=True,
        max_samples=n_items,
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
