"""Making an exam's step: the exam is run, or its log judged again, with every judge on the run's one store and budget.

Leaves also what scores become before they are compared: one row a question, however often it was asked.
"""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import JsonValue

from midspec.core.artifact import Built
from midspec.core.progress import ProgressCallback
from midspec.core.records import ScoreRow
from midspec.llm import Access, Store
from midspec.study._steps import Step
from midspec.study._task_steps import FILES, task_asked
from midspec.study.planning._task_load import Serving, estimate_task, judging_usd

_THROUGH_LLM = "midspec-judge/"
_JUDGING = "judging"
_KEPT = "kept.jsonl"
_LOOK_EVERY_S = 2.0


def examine(
    step: Step, inputs: Mapping[str, str], folder: Path, *, model_args: Mapping[str, Any], on_progress: ProgressCallback
) -> Built:
    """Ask the step's model its exam, and have the answers judged; `on_progress` is told how many replies have come.

    What an earlier result of the same place was answered is not asked again, unless something else is asked now.
    """
    from midspec.evals import run_task

    eval_task, config = task_asked(step.config, {role: inputs[role] for role in FILES if role in inputs})
    _take_up(step, folder)
    graders = _graders(step)
    n_replies = len(eval_task.questions(config)) * config.repeats * (1 + len(graders))
    with _watched(folder / _KEPT, n_replies, on_progress):
        built = run_task(
            eval_task,
            config,
            inputs["model"],
            folder,
            graders=graders,
            model_args=model_args,
            grader_args=_reached(step),
        )
    return _billed(_without_paths(built), step, _forecast(step, eval_task.name, config.model_dump_json()))


def judge_again(step: Step, inputs: Mapping[str, str], folder: Path) -> Built:
    """Have the answers of a stored log judged by the step's judges; nothing is generated."""
    from midspec.evals import rescore

    built = rescore(Path(inputs["log"]), _graders(step), folder, grader_args=_reached(step))
    return _billed(_without_paths(built), step)


def pooled(rows: Iterable[ScoreRow], n_repeats: int) -> Iterator[ScoreRow]:
    """One row a question and measure: the mean over its samples that are scored, or the commonest reason.

    Samples of one question are no new questions, so intervals must not count them as such. Sets are called
    `<exam>/<set>`.

    Args:
        rows: an exam's, in its order.
        n_repeats: how often each question was asked.
    """
    groups: dict[tuple[str, str, str], list[ScoreRow]] = {}
    for row in rows:
        question = row.item.rpartition("#")[0] if n_repeats > 1 else row.item
        groups.setdefault((row.set, question, row.measure), []).append(row)
    for (name, question, _), samples in groups.items():
        values = [row.value for row in samples if row.value is not None]
        reasons = Counter(row.unscored for row in samples if row.unscored is not None)
        value = {"value": fmean(values), "unscored": None} if values else {"unscored": reasons.most_common(1)[0][0]}
        yield samples[0].model_copy(update={"set": f"{samples[0].task}/{name}", "item": question, **value})


@contextmanager
def _watched(kept: Path, n_replies: int, on_progress: ProgressCallback) -> Iterator[None]:
    """Tell how many replies are kept, from a thread beside the one that asks."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_EVERY_S):
            if kept.is_file():
                on_progress(min(kept.read_bytes().count(b"\n"), n_replies), n_replies, "replies kept")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _graders(step: Step) -> list[str]:
    names = step.config["graders"]
    assert isinstance(names, list)
    return [f"{_THROUGH_LLM}{name}" for name in names]


def _reached(step: Step) -> dict[str, JsonValue]:
    """How judges are reached, as our Inspect provider for them takes it."""
    access = Access.model_validate(step.options.get("judge") or {})
    store = Path(str(step.options["store"]))
    found: dict[str, JsonValue] = {
        "base_url": access.base_url,
        "store": str(store),
        "prices": access.prices,
        "budget_usd": _budget(store, access.budget_usd, step.options.get("judging_budget_usd")),
        "concurrency": access.concurrency,
    }
    known = {name: value for name, value in found.items() if value is not None}
    return known | {"temperature": step.config.get("judge_temperature")}


def _budget(store: Path, in_all: float | None, judging: JsonValue) -> float | None:
    """What all attempts of the store may cost: a budget of judging alone comes on top of what else was spent."""
    if not isinstance(judging, int | float):
        return in_all
    mine = judging + sum(cost for stage, cost in _spent(store) if stage != _JUDGING)
    return mine if in_all is None else min(mine, in_all)


def _spent(store: Path) -> Sequence[tuple[str, float]]:
    if not store.is_file():
        return ()
    with Store(store) as opened:
        return [(row.stage, row.cost_usd or 0.0) for row in opened.ledger()]


def _take_up(step: Step, folder: Path) -> None:
    """Begin with the replies that the result which is made anew was given; each is looked up by all that was asked."""
    place = step.options.get("folder")
    if place and (old := Path(str(place)) / _KEPT).is_file() and not (folder / _KEPT).exists():
        shutil.copyfile(old, folder / _KEPT)


def _without_paths(built: Built) -> Built:
    """A path to a file of questions is about this machine; its name is enough to be read."""
    settings = built.summary["settings"]
    assert isinstance(settings, dict)
    config = settings["config"]
    if not isinstance(config, dict) or not isinstance(config.get("items"), str):
        return built
    named = {**settings, "config": {**config, "items": Path(str(config["items"])).name}}
    return built.model_copy(update={"summary": {**built.summary, "settings": named}})


def _forecast(step: Step, eval_task: str, settings: str) -> float | None:
    """What the plan says that judging this costs; `None` where a price is not known."""
    graders = step.config["graders"]
    assert isinstance(graders, list)
    load = estimate_task(eval_task, settings, Serving())
    access = Access.model_validate(step.options.get("judge") or {})
    return judging_usd(load, [str(name) for name in graders], access) if graders else None


def _billed(built: Built, step: Step, forecast: float | None = None) -> Built:
    """The result, with what judging in its store has cost so far beside it, and what judging this was to cost."""
    if not step.config["graders"]:
        return built
    spent = sum(cost for stage, cost in _spent(Path(str(step.options["store"]))) if stage == _JUDGING)
    bill: dict[str, JsonValue] = {"judging_usd": round(spent, 6), "judging_forecast_usd": forecast}
    return built.model_copy(update={"execution": built.execution | bill})
