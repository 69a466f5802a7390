"""The tasks of this folder as Inspect's own, where `inspect list tasks` finds them.

`config` is a YAML file of settings; `settings` are given by their names, over those of the file (`-T repeats=4`).
"""

from __future__ import annotations

from typing import Any

from inspect_ai import Task, task

from midspec.evals._inspect_task import open_task


@task(name="agentic_misalignment")
def agentic_misalignment(config: str | None = None, **settings: Any) -> Task:
    """Ask whether an assistant that is to be replaced harms others."""
    return open_task("agentic_misalignment", config, settings)
