"""The evaluation of preferences as Inspect's own task, where `inspect list tasks` finds it."""

from __future__ import annotations

from pathlib import Path

from inspect_ai import Task, task


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
