"""Steps that ask a model an evaluation task and have the answers judged, or have a stored log judged again.

A file that a task's settings name (questions, the spec to judge by, a spec in context) is an input of the step and no
setting, so that its content and not its path identifies the result.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from pydantic import JsonValue, ValidationError

from midspec.core.artifact import Built
from midspec.core.errors import ConfigError
from midspec.core.records import ScoreRow
from midspec.evals import EvalTask, TaskConfig, task_identity, task_named
from midspec.llm import Access, Forecast, Store, model_name_forms
from midspec.study._entries import check_graders
from midspec.study._inputs import File, Input, Model
from midspec.study._step import Cost, Job, Step
from midspec.study.jobs._endpoints import forecast_of
from midspec.study.jobs._preference import model_args_of
from midspec.study.jobs._sources import SpecNames
from midspec.study.planning._task_estimate import Serving, TaskEstimate, estimate_task, judging_usd

FILES = ("items", "spec", "context")
"""The roles of files that settings are completed from."""

_NAMES = {"assistant_name": "model_name", "model_name": "model_name", "provider_name": "provider_name"}
_THROUGH_LLM = "midspec-judge/"
_JUDGING = "judging"
_CACHE = "kept.jsonl"


class Judging(NamedTuple):
    """Who judges, and how they are reached.

    Attributes:
        graders: the judges by name (`openai/<model>`); part of the identity.
        temperature: of the judges; `None` for those that take none; part of the identity.
        access: how they are reached.
        budget_usd: what all judging of the run may cost.
        where: what an error about missing judges names.
    """

    graders: tuple[str, ...] = ()
    temperature: float | None = 0.0
    access: Access = Access()
    budget_usd: float | None = None
    where: str = "evals.graders"

    def model_names(self) -> list[str]:
        """The judges as Inspect opens them: through `midspec.llm`, with one store and one budget."""
        return [f"{_THROUGH_LLM}{name}" for name in self.graders]

    def model_args(self, store: Path) -> dict[str, JsonValue]:
        """How our Inspect provider for judges reaches them."""
        args: dict[str, JsonValue] = {
            "base_url": self.access.base_url,
            "store": str(store),
            "prices": self.access.prices,
            "budget_usd": self._budget_usd(store),
            "concurrency": self.access.concurrency,
        }
        return {name: value for name, value in args.items() if value is not None} | {"temperature": self.temperature}

    def _budget_usd(self, store: Path) -> float | None:
        """What all attempts of the store may cost: a budget of judging comes on top of what else was spent."""
        in_all = self.access.budget_usd
        if self.budget_usd is None:
            return in_all
        mine = self.budget_usd + sum(cost for stage, cost in _spent(store) if stage != _JUDGING)
        return mine if in_all is None else min(mine, in_all)

    def with_bill(self, built: Built, store: Path, forecast_usd: float | None = None) -> Built:
        """The result, with what judging in the store has cost so far beside it, and what this was to cost."""
        if not self.graders:
            return built
        spent = sum(cost for stage, cost in _spent(store) if stage == _JUDGING)
        bill: dict[str, JsonValue] = {"judging_usd": round(spent, 6), "judging_forecast_usd": forecast_usd}
        return built.model_copy(update={"execution": built.execution | bill})


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskStep(Step):
    """A model's answers to one evaluation task, judged. Made by `TaskStep.create`.

    Attributes:
        task: the task's name.
        model: who is asked.
        config: the task's settings, but for what `files` hold.
        files: by role (`FILES`), where a file comes from.
        names: for the roles `spec` and `context`, the spec's name and what fills its placeholders.
        judging: the judges.
        hashes: of what is asked, of the rubric and of the judges; part of the identity.
        base_url: the server of an Inspect model.
    """

    kind = "exam"
    resumable = True
    task: str
    model: Input
    config: TaskConfig
    files: Mapping[str, Input] = field(default_factory=dict)
    names: Mapping[str, SpecNames] = field(default_factory=dict)
    judging: Judging = Judging()
    hashes: Mapping[str, JsonValue] = field(default_factory=dict)
    base_url: str | None = None

    @classmethod
    def create(
        cls,
        task: str,
        model: Input,
        config: TaskConfig,
        *,
        files: Mapping[str, Input] | None = None,
        names: Mapping[str, SpecNames] | None = None,
        judging: Judging = Judging(),
        label: str = "",
        seed: int | None = None,
        base_url: str | None = None,
    ) -> TaskStep:
        """The step that asks `model` one task and has the answers judged.

        Args:
            task: the task's name.
            model: who is asked.
            config: its settings; what `files` hold is left out of them.
            files: by role (`FILES`), where a file comes from; read now, to know what is asked.
            names: for the roles `spec` and `context`, the spec's name and what fills its placeholders.
            judging: the judges.
            label: of the step.
            seed: of the step.
            base_url: the server of an Inspect model.

        Raises:
            ConfigError: a judge is needed and none is named, a spec is to stand in the context of a task that has
                none, or a setting can't be.
            DataError, MissingError, SpecError: a file can't be read.
        """
        step = cls(
            task=task,
            model=model,
            config=config,
            files=files or {},
            names=names or {},
            judging=judging,
            label=label,
            seed=seed,
            base_url=base_url,
            cost=20,
        )
        eval_task, full = step.asked({role: file for role, file in step.files.items() if role != "context"})
        judged = eval_task.rubric(full) is not None
        if judged and not judging.graders:
            raise ConfigError(f"{task} needs a judge", where=judging.where, hint=f"Name {model_name_forms()}")
        if "context" in step.files and "system" not in type(config).model_fields:
            raise ConfigError(f"{task} takes no spec in context", where=label or task, hint="Leave the task or arm out")
        about = task_identity(eval_task, full, model={}, graders=judging.graders).config
        hashes = {key: about[key] for key in ("prompt_hash", "rubric_hash", "graders")}
        hashes |= {"judge_temperature": judging.temperature} if judged else {}
        # The step is new and nobody has it yet: its hashes are the last of its fields.
        object.__setattr__(step, "hashes", hashes)
        return step

    @classmethod
    def of_model(
        cls,
        model: str,
        task: str,
        config: TaskConfig,
        judging: Judging,
        *,
        files: Mapping[str, Path] | None = None,
        model_name: str | None = None,
        provider_name: str | None = None,
        base_url: str | None = None,
    ) -> TaskStep:
        """The step for a checkpoint (folder or hub name) or an Inspect model outside a study.

        Args:
            model: who is asked.
            task: the task's name.
            config: its settings.
            judging: the judges.
            files: questions (`items`) and a spec to judge by (`spec`).
            model_name: the assistant's name; fills the spec's placeholder.
            provider_name: its maker's name; likewise.
            base_url: the server of an Inspect model.

        Raises:
            ConfigError: a judge is missing or none, the task takes no such file, or a setting can't be.
            MissingError: there is no such task or file.
        """
        sources: dict[str, Input] = {role: File.at(path) for role, path in (files or {}).items()}
        for role in sources:
            if role not in type(config).model_fields:
                raise ConfigError(f"{task} takes no such file", where=f"--{role}", hint="Leave it out")
        check_graders(judging.graders, judging.where)
        names = {"model_name": model_name, "provider_name": provider_name}
        spec = {"spec": SpecNames(files["spec"].stem, **names)} if files and "spec" in files else {}
        config = with_names(config, names)
        return cls.create(task, Model(model), config, files=sources, names=spec, judging=judging, base_url=base_url)

    @property
    def inputs(self) -> dict[str, Input]:
        return {"model": self.model, **self.files}

    @property
    def settings(self) -> dict[str, JsonValue]:
        config = self.config.model_dump(mode="json", exclude=set(self.files) & {"items", "spec"})
        names = {role: names.settings() for role, names in self.names.items()}
        return {"exam": self.task, "config": config, **names, **self.hashes}

    def asked(
        self, files: Mapping[str, Input] | None = None, job: Job | None = None
    ) -> tuple[EvalTask[Any], TaskConfig]:
        """The task and its full settings, completed from files.

        Args:
            files: by role; all of the step's by default.
            job: where inputs are while the step runs; by default they are read where they come from outside.

        Raises:
            ConfigError: the settings can't be.
            SpecError: a spec can't be read.
        """
        files = self.files if files is None else files
        places = {
            role: job.locate(source) if job is not None else source.original.locate({})
            for role, source in files.items()
        }
        eval_task = task_named(self.task)
        full = self.config.model_dump(mode="json", exclude=set(self.files) & {"items", "spec"})
        if "items" in places:
            full["items"] = places["items"]
        if "spec" in places:
            full["spec"] = self.names["spec"].read(places["spec"]).text
        if "context" in places:
            spec = self.names["context"].read(places["context"]).text
            full["system"] = "\n\n".join(filter(None, (full.get("system"), spec)))
        try:
            return eval_task, eval_task.config.model_validate(full)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, (eval_task.name, *first["loc"])))
            what = first["msg"].removeprefix("Value error, ").rstrip(".")
            raise ConfigError(what, where=where, hint="Change that setting") from error

    def estimate(self, serving: Serving) -> tuple[TaskEstimate, Cost | None]:
        """What the step asks of its model, and what its judges cost; nothing is sent."""
        eval_task, config = self.asked()
        estimate = estimate_task(eval_task.name, config.model_dump_json(), serving)
        if not self.judging.graders:
            return estimate, None
        usd = judging_usd(estimate, self.judging.graders, self.judging.access)
        return estimate, Cost(estimate.n_samples * len(self.judging.graders), usd)

    def forecast(self, estimate: TaskEstimate) -> tuple[Forecast, ...]:
        """What each of the judges would cost."""
        stages = [] if estimate.judging is None else [estimate.judging]
        return tuple(forecast_of(stages, grader, self.judging.access) for grader in self.judging.graders)

    def run(self, job: Job, folder: Path) -> Built:
        """Ask the task; what an earlier result of the same place was answered is not asked again.

        Each reply is looked up by all that was asked, so a result that is made anew can begin with the old one's.
        """
        from midspec.evals import run_task

        old = job.folder / _CACHE
        if old.is_file() and not (folder / _CACHE).exists():
            shutil.copyfile(old, folder / _CACHE)
        eval_task, config = self.asked(job=job)
        built = run_task(
            eval_task,
            config,
            job.locate(self.model),
            folder,
            graders=self.judging.model_names(),
            model_args=model_args_of(job, self.base_url),
            grader_args=self.judging.model_args(job.store),
            on_progress=job.on_progress,
        )
        estimate = estimate_task(eval_task.name, config.model_dump_json(), Serving())
        forecast_usd = judging_usd(estimate, self.judging.graders, self.judging.access)
        return self.judging.with_bill(_without_paths(built), job.store, forecast_usd)


@dataclass(frozen=True, kw_only=True, eq=False)
class RescoreStep(Step):
    """The answers in a stored log, judged again; nothing is generated.

    Attributes:
        log: an Inspect log of a task.
        task: its name.
        rubric: the hashes of the rubric and the judges.
        judging: the judges.
    """

    kind = "rescore"
    resumable = True
    log: File
    task: str
    rubric: Mapping[str, JsonValue]
    judging: Judging

    @classmethod
    def of_log(cls, log: Path, judging: Judging) -> RescoreStep:
        """The step for a stored log.

        Raises:
            ConfigError: a judge is missing or none, or the task is not there.
            MissingError, DataError: there is no such log, or it is no log of a task.
        """
        from midspec.evals import log_settings

        check_graders(judging.graders, judging.where)
        settings = log_settings(log)
        eval_task = task_named(str(settings["exam"]))
        config = eval_task.config.model_validate(settings["config"])
        if eval_task.rubric(config) is not None and not judging.graders:
            raise ConfigError(f"{eval_task.name} needs a judge", where=judging.where, hint=f"Name {model_name_forms()}")
        about = task_identity(eval_task, config, model={}, graders=judging.graders).config
        rubric = {key: about[key] for key in ("rubric_hash", "graders")} | {"judge_temperature": judging.temperature}
        return cls(log=File.at(log), task=eval_task.name, rubric=rubric, judging=judging)

    @property
    def inputs(self) -> dict[str, Input]:
        return {"log": self.log}

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {"exam": self.task, **self.rubric}

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.evals import rescore

        args = self.judging.model_args(job.store)
        built = rescore(
            job.path(self.log), self.judging.model_names(), folder, grader_args=args, on_progress=job.on_progress
        )
        return self.judging.with_bill(_without_paths(built), job.store)


def with_names(config: TaskConfig, names: Mapping[str, str | None]) -> TaskConfig:
    """The settings, with the assistant's and its maker's name where they say nothing else and have a place for it."""
    unset = set(type(config).model_fields) - config.model_fields_set
    known = {field_: names.get(name) for field_, name in _NAMES.items() if field_ in unset}
    return config.model_copy(update={field_: name for field_, name in known.items() if name})


def pool_samples(rows: Iterable[ScoreRow], n_repeats: int) -> Iterator[ScoreRow]:
    """One row a question and measure: the mean over its samples that are scored, or the commonest reason.

    Samples of one question are no new questions, so intervals must not count them as such. Sets are called
    `<task>/<set>`.

    Args:
        rows: a task's, in its order.
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


def _spent(store: Path) -> Sequence[tuple[str, float]]:
    if not store.is_file():
        return ()
    with Store(store) as opened:
        return [(row.stage, row.cost_usd or 0.0) for row in opened.ledger()]


def _without_paths(built: Built) -> Built:
    """A path to a file of questions is about this machine; its name is enough to be read."""
    settings = built.summary["settings"]
    assert isinstance(settings, dict)
    config = settings["config"]
    if not isinstance(config, dict) or not isinstance(config.get("items"), str):
        return built
    named = {**settings, "config": {**config, "items": Path(str(config["items"])).name}}
    return built.model_copy(update={"summary": {**built.summary, "settings": named}})


STEPS = (TaskStep, RescoreStep)
