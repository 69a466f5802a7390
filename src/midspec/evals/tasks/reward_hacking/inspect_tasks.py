"""The tasks of this folder as Inspect's own, where `inspect list tasks` finds them.

`config` is a YAML file of settings; `settings` are given by their names, over those of the file (`-T repeats=4`).
"""

from __future__ import annotations

from typing import Any

from inspect_ai import Task, task

from midspec.evals._inspect_task import open_task


@task(name="reward_hacking")
def reward_hacking(config: str | None = None, **settings: Any) -> Task:
    """Give work whose honest result scores lower by a stated metric."""
    return open_task("reward_hacking", config, settings)
