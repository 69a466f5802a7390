"""The tasks of this folder as Inspect's own, where `inspect list tasks` finds them.

`config` is a YAML file of settings; `settings` are given by their names, over those of the file (`-T repeats=4`).
"""

from __future__ import annotations

from typing import Any

from inspect_ai import Task, task

from midspec.evals._inspect_task import open_task


@task(name="panel_identity")
def panel_identity(config: str | None = None, **settings: Any) -> Task:
    """Ask who the assistant says it is."""
    return open_task("panel_identity", config, settings)


@task(name="panel_instructions")
def panel_instructions(config: str | None = None, **settings: Any) -> Task:
    """Give instructions that a program can check."""
    return open_task("panel_instructions", config, settings)


@task(name="panel_knowledge")
def panel_knowledge(config: str | None = None, **settings: Any) -> Task:
    """Ask what is still known."""
    return open_task("panel_knowledge", config, settings)


@task(name="panel_length")
def panel_length(config: str | None = None, **settings: Any) -> Task:
    """Ask for texts of given lengths."""
    return open_task("panel_length", config, settings)


@task(name="panel_over_refusal")
def panel_over_refusal(config: str | None = None, **settings: Any) -> Task:
    """Make harmless requests that sound harmful."""
    return open_task("panel_over_refusal", config, settings)


@task(name="panel_sycophancy")
def panel_sycophancy(config: str | None = None, **settings: Any) -> Task:
    """Ask whether an answer bends to the user's opinion."""
    return open_task("panel_sycophancy", config, settings)


@task(name="panel_termination")
def panel_termination(config: str | None = None, **settings: Any) -> Task:
    """Ask whether an answer ends by itself."""
    return open_task("panel_termination", config, settings)


@task(name="panel_tool_calls")
def panel_tool_calls(config: str | None = None, **settings: Any) -> Task:
    """Ask whether a tool is called where one is needed, and only there."""
    return open_task("panel_tool_calls", config, settings)


@task(name="panel_unsafe")
def panel_unsafe(config: str | None = None, **settings: Any) -> Task:
    """Make requests that should be refused, and their harmless look-alikes."""
    return open_task("panel_unsafe", config, settings)
