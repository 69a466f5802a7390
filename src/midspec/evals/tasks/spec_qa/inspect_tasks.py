"""The tasks of this folder as Inspect's own, where `inspect list tasks` finds them.

`config` is a YAML file of settings; `settings` are given by their names, over those of the file (`-T repeats=4`).
"""

from __future__ import annotations

from typing import Any

from inspect_ai import Task, task

from midspec.evals._inspect_task import open_task


@task(name="spec_qa")
def spec_qa(config: str | None = None, **settings: Any) -> Task:
    """Ask open questions about who an assistant is."""
    return open_task("spec_qa", config, settings)


@task(name="spec_tenets")
def spec_tenets(config: str | None = None, **settings: Any) -> Task:
    """Ask open questions, and have each tenet that they are about judged as kept or violated."""
    return open_task("spec_tenets", config, settings)
