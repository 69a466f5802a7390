"""Steps that run an evaluation task and have its answers judged, or have a stored log judged again.

A file that a task's settings name (questions, the spec to judge by, a spec in context) is an input of the step and no
setting, so that its content and not its path identifies the result.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from pydantic import JsonValue, ValidationError

from midspec.core.artifact import Built, read_record
from midspec.core.errors import ConfigError, first_fault
from midspec.core.records import ScoreRow
from midspec.evals import EvalTask, TaskConfig, task_identity, task_named
from midspec.llm import Access, Forecast, Store, model_name_forms
from midspec.study._entries import check_graders
from midspec.study._inputs import File, Input, Model
from midspec.study._step import Cost, Job, Step, lacks_answers
from midspec.study.jobs._endpoints import Serving, TaskEstimate, estimate_task, forecast_of, judging_usd
from midspec.study.jobs._preference import CACHE, model_args_of, template_settings
from midspec.study.jobs._sources import SpecNames

FILES = ("items", "spec", "context")
"""The roles of files that complete a task's settings."""

_NAMES = {"assistant_name": "model_name", "model_name": "model_name", "provider_name": "provider_name"}
_THROUGH_LLM = "midspec-judge/"
_JUDGING = "judging"


class Judging(NamedTuple):
    """The judges, and how they are reached.

    Attributes:
        graders: the judges by name (`openai/<model>`); part of the identity.
        temperature: of the judges; `None` for those that take none; part of the identity.
        access: how they are reached.
        budget_usd: of all judging of the run.
        where: the place that an error about missing judges names.
    """

    graders: tuple[str, ...] = ()
    temperature: float | None = 0.0
    access: Access = Access()
    budget_usd: float | None = None
    where: str = "evals.graders"

    def model_names(self) -> list[str]:
        """Return the judges' names for Inspect, which reaches them through `midspec.llm`."""
        return [f"{_THROUGH_LLM}{name}" for name in self.graders]

    def model_args(self, store: Path) -> dict[str, JsonValue]:
        """Return the arguments of our Inspect provider for judges."""
        budget_usd = self.access.budget_usd
        if self.budget_usd is not None:
            # A budget of judging comes on top of the other costs in the store, within the budget of all.
            judging = self.budget_usd + sum(cost for stage, cost in _costs(store) if stage != _JUDGING)
            budget_usd = judging if budget_usd is None else min(judging, budget_usd)
        args: dict[str, JsonValue] = {
            "base_url": self.access.base_url,
            "store": str(store),
            "prices": self.access.prices,
            "budget_usd": budget_usd,
            "concurrency": self.access.concurrency,
        }
        return {name: value for name, value in args.items() if value is not None} | {"temperature": self.temperature}

    def with_cost(self, built: Built, store: Path, forecast_usd: float | None = None) -> Built:
        """Return the result with the cost of all judging in the store so far, and the forecast of its own."""
        if not self.graders:
            return built
        spent = sum(cost for stage, cost in _costs(store) if stage == _JUDGING)
        costs: dict[str, JsonValue] = {"judging_usd": round(spent, 6), "judging_forecast_usd": forecast_usd}
        if store.is_file():
            with Store(store) as opened:  # what was sent: not every model takes the temperature that is configured
                costs["sampling"] = {
                    model: list(sent) for model, sent in opened.sampling().items() if model in self.graders
                }
        return built.model_copy(update={"execution": built.execution | costs})


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskStep(Step):
    """A model's answers to one evaluation task, judged. Made by `TaskStep.create`.

    Attributes:
        task: the task's name.
        model: under test.
        config: the task's settings, without those from `files`.
        files: by role (`FILES`).
        names: for the roles `spec` and `context`, the spec's name and the values of its placeholders.
        judging: the judges.
        hashes: of prompts, rubric and judges; part of the identity.
        base_url: the server of an Inspect model.
        template_args: switches of the chat template; of a checkpoint that midspec trained they are in its template.
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
    template_args: Mapping[str, JsonValue] = field(default_factory=dict)

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
        template_args: Mapping[str, JsonValue] | None = None,
    ) -> TaskStep:
        """Create a step with its hashes; for the arguments see the class. Files are read now.

        Raises:
            ConfigError: a judge is needed and none is named, a task that takes no spec in context is given one, or a
                setting is wrong.
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
            template_args=template_args or {},
            cost=20,
        )
        eval_task, full = step.complete({role: file for role, file in step.files.items() if role != "context"})
        judged = eval_task.rubric(full) is not None
        if judged and not judging.graders:
            raise ConfigError(f"{task} needs a judge", where=judging.where, hint=f"Name {model_name_forms()}")
        if "context" in step.files and "system" not in type(config).model_fields:
            raise ConfigError(f"{task} takes no spec in context", where=label or task, hint="Leave the task or arm out")
        about = task_identity(eval_task, full, model={}, graders=judging.graders).config
        hashes = {key: about[key] for key in ("prompt_hash", "rubric_hash", "graders")}
        hashes |= {"judge_temperature": judging.temperature} if judged else {}
        return replace(step, hashes=hashes)

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
        called: Mapping[str, str] | None = None,
        leave_out: Sequence[str] | None = None,
        base_url: str | None = None,
    ) -> TaskStep:
        """Create the step for a checkpoint (folder or hub name) or an Inspect model outside a study.

        Args:
            model: under test.
            task: the task's name.
            config: its settings.
            judging: the judges.
            files: questions (`items`) and a spec to judge by (`spec`).
            model_name: the assistant's name; fills the spec's placeholder.
            provider_name: its maker's name; likewise.
            called: names that the spec uses, with those that stand for them.
            leave_out: what of the spec is no part of it.
            base_url: the server of an Inspect model.

        Raises:
            ConfigError: a judge is missing or wrong, the task takes no such file, or a setting is wrong.
            MissingError: there is no such task or file.
        """
        sources: dict[str, Input] = {role: File.at(path) for role, path in (files or {}).items()}
        for role in sources:
            if role not in type(config).model_fields:
                raise ConfigError(f"{task} takes no such file", where=f"--{role}", hint="Leave it out")
        check_graders(judging.graders, judging.where)
        names = {"model_name": model_name, "provider_name": provider_name}
        as_named = (model_name, provider_name, called or {}, tuple(leave_out or ()))
        spec = {"spec": SpecNames(files["spec"].stem, *as_named)} if files and "spec" in files else {}
        config = with_names(config, names)
        return cls.create(task, Model(model), config, files=sources, names=spec, judging=judging, base_url=base_url)

    @property
    def n_devices(self) -> int:
        return 1 if self.base_url is None else 0

    @property
    def inputs(self) -> dict[str, Input]:
        return {"model": self.model, **self.files}

    @property
    def settings(self) -> dict[str, JsonValue]:
        config = self.config.model_dump(mode="json", exclude=set(self.files) & {"items", "spec"})
        names = {role: names.settings() for role, names in self.names.items()}
        return {"exam": self.task, "config": config, **names, **self.hashes, **template_settings(self.template_args)}

    def complete(
        self, files: Mapping[str, Input] | None = None, job: Job | None = None
    ) -> tuple[EvalTask[Any], TaskConfig]:
        """Return the task and its settings, completed from files: the step's, or `files`.

        Without a `job` they are read from outside, and with one from the places that it names.

        Raises:
            ConfigError, SpecError: a setting is wrong, or a spec can't be read.
        """
        files = self.files if files is None else files
        places = {
            role: job.locate(source) if job is not None else source.original.locate({})
            for role, source in files.items()
        }
        eval_task = task_named(self.task)
        full = {name: value for name, value in self.config if name not in {*self.files} & {"items", "spec"}}
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
            field, what = first_fault(error)
            where = ".".join(filter(None, (eval_task.name, field)))
            raise ConfigError(what, where=where, hint="Change that setting") from error

    def estimate(self, serving: Serving) -> tuple[TaskEstimate, Cost | None]:
        """Estimate the requests to the model, and the requests and dollars of its judges; nothing is sent."""
        eval_task, config = self.complete()
        estimate = estimate_task(eval_task, config, serving)
        if not self.judging.graders or estimate.judging is None:
            return estimate, None
        usd = judging_usd(estimate, self.judging.graders, self.judging.access)
        return estimate, Cost(estimate.n_samples * len(self.judging.graders), usd)

    def forecast(self, estimate: TaskEstimate) -> tuple[Forecast, ...]:
        """Forecast the tokens and dollars of each judge."""
        stages = [] if estimate.judging is None else [estimate.judging]
        return tuple(forecast_of(stages, grader, self.judging.access) for grader in self.judging.graders)

    def run(self, job: Job, folder: Path) -> Built:
        """Run the task. A result that is made anew begins with the cached replies of the old one.

        A reply's key is a hash of its whole request, so no reply to another request is used. What is behind a served
        model's name can have changed unseen, so it is asked anew, unless the budget of judging or a fault of a server
        ended the old result.
        """
        from midspec.evals import is_served, run_task

        old = job.folder / CACHE
        is_kept = not is_served(job.locate(self.model)) or _was_cut_short(job.folder)
        if is_kept and old.is_file() and not (folder / CACHE).exists():
            shutil.copyfile(old, folder / CACHE)
        eval_task, config = self.complete(job=job)
        built = run_task(
            eval_task,
            config,
            job.locate(self.model),
            folder,
            graders=self.judging.model_names(),
            model_args=model_args_of(job, self.base_url, self.template_args),
            grader_args=self.judging.model_args(job.store),
            on_progress=job.on_progress,
        )
        estimate = estimate_task(eval_task, config, Serving())
        forecast_usd = judging_usd(estimate, self.judging.graders, self.judging.access)
        return self.judging.with_cost(_without_paths(built), job.store, forecast_usd)


@dataclass(frozen=True, kw_only=True, eq=False)
class RescoreStep(Step):
    """The answers in a stored log, judged again; no answer is generated.

    Attributes:
        log: an Inspect log of a task.
        task: its name.
        rubric: the hashes of the rubric and the judges.
        judging: the judges.
    """

    kind = "rescore"
    resumable = True
    opens_model = False
    log: File
    task: str
    rubric: Mapping[str, JsonValue]
    judging: Judging

    @classmethod
    def of_log(cls, log: Path, judging: Judging) -> RescoreStep:
        """Create the step for a stored log.

        Raises:
            ConfigError: a judge is missing or wrong, or the task does not exist.
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
    def settings(self) -> dict[str, JsonValue]:
        return {"exam": self.task, **self.rubric}

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.evals import rescore

        args = self.judging.model_args(job.store)
        built = rescore(
            job.path(self.log), self.judging.model_names(), folder, grader_args=args, on_progress=job.on_progress
        )
        return self.judging.with_cost(_without_paths(built), job.store)


def with_names(config: TaskConfig, names: Mapping[str, str | None]) -> TaskConfig:
    """Fill in the assistant's and its maker's name where the settings have such fields and leave them unset."""
    unset = set(type(config).model_fields) - config.model_fields_set
    known = {field_: names.get(name) for field_, name in _NAMES.items() if field_ in unset}
    return config.model_copy(update={field_: name for field_, name in known.items() if name})


def pool_samples(rows: Iterable[ScoreRow], n_repeats: int) -> Iterator[ScoreRow]:
    """Yield a row per question and measure: the mean over its scored samples, or the commonest reason for no score.

    Intervals must not count samples of one question as questions. Sets become `<task>/<set>`.
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


def _was_cut_short(folder: Path) -> bool:
    """Return whether a budget, a server or an account left a finished result without answers or judgements."""
    if (record := read_record(folder)) is None:
        return False
    reasons = record.summary.get("unscored")
    has_no_budget = isinstance(reasons, dict) and any("budget" in reason for reason in reasons)
    return has_no_budget or lacks_answers(record)


def _costs(store: Path) -> Sequence[tuple[str, float]]:
    if not store.is_file():
        return ()
    with Store(store) as opened:
        return [(row.stage, row.cost_usd or 0.0) for row in opened.ledger()]


def _without_paths(built: Built) -> Built:
    """Replace the path of a file of questions, which is about this machine, by the file's name."""
    settings: Any = built.summary["settings"]
    config = settings["config"]
    if not isinstance(config, dict) or not isinstance(config.get("items"), str):
        return built
    named = {**settings, "config": {**config, "items": Path(str(config["items"])).name}}
    return built.model_copy(update={"summary": {**built.summary, "settings": named}})


STEPS = (TaskStep, RescoreStep)
