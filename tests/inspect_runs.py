"""Logs of plain Inspect tasks, as anybody would write them: really run, with scores that a test decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver


@solver
def silent() -> Solver:
    """Ask the model nothing."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        return state

    return solve


@scorer(metrics=[mean()])
def told(scores: Mapping[tuple[str, int], Any]) -> Scorer:
    """Score each sample and epoch as told; an exception is raised."""

    async def score(state: TaskState, target: Target) -> Score:
        found = scores[str(state.sample_id), state.epoch]
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, Score) else Score(value=found)

    return score


def run(
    folder: Path,
    model: str,
    scores: Mapping[str, Any] | Mapping[tuple[str, int], Any],
    *,
    name: str = "sums",
    question: str = "What is {} and 1?",
    groups: Mapping[str, str] | None = None,
    label: str = "group",
    form: str = "eval",
    limit: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    tags: Sequence[str] = (),
) -> Path:
    """Run a task on `mockllm/MODEL` and return its log.

    `scores` are by sample id, or by (id, epoch); `groups` the samples' metadata `label`.
    """
    known = {key if isinstance(key, tuple) else (key, 1): value for key, value in scores.items()}
    ids = list(dict.fromkeys(item for item, _ in known))
    about = {item: {label: groups[item]} if groups else {} for item in ids}
    samples = [Sample(input=question.format(item), target="x", id=item, metadata=about[item]) for item in ids]

    def outside() -> Task:
        return Task(dataset=MemoryDataset(samples, name=f"{name}-data"), solver=silent(), scorer=told(known), version=1)

    # Inspect looks through the files of every installed package for the one that brings a task's module: 2 s a run.
    outside.__module__ = "no_package"
    [log] = inspect_eval(
        task(name=name)(outside)(),
        model=f"mockllm/{model}",
        log_dir=str(folder),
        log_format=form,
        display="none",
        epochs=max(epoch for _, epoch in known),
        limit=limit,
        fail_on_error=False,
        metadata=dict(metadata or {}),
        tags=list(tags) or None,
    )
    return Path(log.location.removeprefix("file://"))
