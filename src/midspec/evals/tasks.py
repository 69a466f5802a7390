"""Every evaluation as a task of Inspect's own command line: `inspect list tasks`, `inspect eval midspec/<name>`.

This file is not private, and each task is written out, because Inspect finds tasks by reading files.
"""

from __future__ import annotations

from pathlib import Path

from inspect_ai import Task, task

from midspec.evals.preference._ask import read_items
from midspec.evals.preference._config import PreferenceConfig, load_config
from midspec.evals.preference._task import preference_task

__all__ = ["preference"]


@task(name="preference")
def preference(items: str, config: str | None = None) -> Task:
    """The preference evaluation, for `inspect eval midspec/preference -T items=FILE [-T config=FILE]`.

    Args:
        items: a JSONL file of items.
        config: a YAML file of settings; the defaults where there is none.
    """
    settings = PreferenceConfig() if config is None else load_config(Path(config))
    return preference_task(read_items(Path(items)), settings)
