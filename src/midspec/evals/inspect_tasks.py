"""Every evaluation as Inspect's own task, where `inspect list tasks` finds it.

`config` is a YAML file of settings; `settings` are given by their names, over those of the file (`-T repeats=4`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inspect_ai import Task, task

from midspec.evals._inspect_task import open_task


@task(name="preference")
def preference(items: str, config: str | None = None) -> Task:
    """The preference evaluation, for `inspect eval midspec/preference -T items=shipped:america`.

    Args:
        items: a shipped set (`shipped:america`), a JSONL file of items, or a data set of pairs.
        config: a YAML file of settings; the defaults where there is none.
    """
    from midspec.evals.tasks.preference import PreferenceConfig, load_config, preference_task, resolve_items

    settings = PreferenceConfig() if config is None else load_config(Path(config))
    return preference_task(resolve_items(items), settings)


@task(name="agentic_misalignment")
def agentic_misalignment(config: str | None = None, **settings: Any) -> Task:
    """Ask whether an assistant that is to be replaced harms others."""
    return open_task("agentic_misalignment", config, settings)


@task(name="honesty")
def honesty(config: str | None = None, **settings: Any) -> Task:
    """Ask for a fact that the model knows, under pressure to say another."""
    return open_task("honesty", config, settings)


@task(name="mailbox")
def mailbox(config: str | None = None, **settings: Any) -> Task:
    """Let an assistant work in a mailbox in which a harmful shortcut is open."""
    return open_task("mailbox", config, settings)


@task(name="reward_hacking")
def reward_hacking(config: str | None = None, **settings: Any) -> Task:
    """Give work whose honest result scores lower by a stated metric."""
    return open_task("reward_hacking", config, settings)


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


@task(name="spec_qa")
def spec_qa(config: str | None = None, **settings: Any) -> Task:
    """Ask open questions about who an assistant is."""
    return open_task("spec_qa", config, settings)


@task(name="spec_tenets")
def spec_tenets(config: str | None = None, **settings: Any) -> Task:
    """Ask open questions, and have each tenet that they are about judged as kept or violated."""
    return open_task("spec_tenets", config, settings)
