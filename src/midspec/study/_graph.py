"""List the steps of a study, each exactly once, every step after those that it is made from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from midspec.core.registry import Registry
from midspec.evals import PreferenceConfig
from midspec.study._arms import Arm
from midspec.study._chains import TrainingStage, arm_points, kept_updates, training_stages
from midspec.study._config import Run, pooled_tasks
from midspec.study._data_steps import DataSteps
from midspec.study._entries import PreferenceEntry, narrowed
from midspec.study._first_contrasts import changed_first_contrasts
from midspec.study._inputs import Input, Model
from midspec.study._load import Study
from midspec.study._step import Step, StepOutput, StudyOutputs
from midspec.study.jobs._analysis import AnalysisStep, ReportStep
from midspec.study.jobs._eval_task import Judging, TaskStep, with_names
from midspec.study.jobs._preference import GateStep, PreferenceStep
from midspec.study.jobs._sources import MirroredModelStep
from midspec.study.jobs._train import (
    TRAIN_STEPS,
    GrpoStep,
    MergeStep,
    PretrainStep,
    TrainedModel,
    TrainStep,
    kept_checkpoint,
    training_cost,
    under_adapter,
)
from midspec.train import DIVIDED_STAGES, Stage, TrainExecution

STEP_KINDS: Registry[type[Step]] = Registry(
    "kind of step", package="midspec.study.jobs", attribute="STEPS", group="steps", name_of=lambda step: step.kind
)


def study_steps(study: Study, folder: Path | None = None) -> tuple[Step, ...]:
    """List every step of a study, in an order in which they can be done.

    Args:
        study: the study.
        folder: of its run; where its first results were made under other contrasts, the report shows those too.

    Raises:
        MissingError: a file that the study names is not there.
        ConfigError: two steps would share a folder.
    """
    return _Graph(study).all(folder)


class _Moment(NamedTuple):
    """A model that is evaluated, for one arm, point and seed; `after` is what an evaluation of its own is called by."""

    name: str
    arm: str
    seed: int
    model: Input
    after: str


class _Graph(DataSteps):
    """Lists the steps: bases, the arms' stages, their evaluations, the analysis and the report."""

    def __init__(self, study: Study) -> None:
        super().__init__(study)
        self._kept = kept_updates(self._config.arms.values(), self._config.recipes)
        self._seams: dict[tuple[str, int], Input] = {}

    def all(self, folder: Path | None) -> tuple[Step, ...]:
        config = self._config
        for name in config.specs:
            self._spec(name)
        preferences: dict[tuple[str, int], PreferenceStep] = {}
        tasks: dict[tuple[str, str, int], TaskStep] = {}
        gates: dict[int, GateStep] = {}
        for run in config.runs:
            seed, base = run.seed, self._base(run)
            if config.gate is not None and run.seed == run.base:
                items = self._rows(config.gate.items, "gate.items", seed)
                settings = narrowed(config.gate, PreferenceConfig)
                switches = config.evals.template_args
                gates[seed] = self._add(
                    GateStep(seed=seed, model=base, items=items, config=settings, template_args=switches)
                )
            moments = []
            for name, arm in config.arms.items():
                *between, end = self._moments(name, arm, base, seed)
                moments += between
                # What has no training of its own is evaluated once a world.
                asked = seed if arm.chain else run.world
                preferences[name, seed] = self._preference(name, arm, end.model, asked)
                for task in config.evals.tasks:
                    tasks[name, task, seed] = self._task(task, name, arm, end.model, asked)
            for moment in moments:
                self._evaluate_between(moment, preferences, tasks)
        for name, entry in config.steps.items():
            for step in STEP_KINDS.get(entry.kind, where=f"steps.{name}.kind").from_study(
                name, entry.model_extra or {}, self._outputs(preferences)
            ):
                self._add(step)
        analysis = self._add(self._analysis(preferences, tasks, gates))
        self._report(analysis, folder)
        return tuple(self._steps.values())

    def _analysis(
        self,
        preferences: Mapping[tuple[str, int], PreferenceStep],
        tasks: Mapping[tuple[str, str, int], TaskStep],
        gates: Mapping[int, GateStep],
    ) -> AnalysisStep:
        config = self._config
        points = [point.name for name, arm in config.arms.items() for point in arm_points(name, arm)[:-1]]

        def by_name(names: Collection[str]) -> dict[tuple[str, int], PreferenceStep]:
            return {(name, seed): preferences[name, seed] for name in names for seed in config.run_seeds}

        def by_task(names: Collection[str]) -> dict[tuple[str, str, int], TaskStep]:
            keys = ((name, task, seed) for task in config.evals.tasks for name in names for seed in config.run_seeds)
            return {key: tasks[key] for key in keys}

        return AnalysisStep(
            preferences=by_name(config.arms),
            tasks=by_task(config.arms),
            point_preferences=by_name(points),
            point_tasks=by_task(points),
            gates=gates,
            bases={run.seed: run.base for run in config.runs} if config.base.midtrainings > 1 else {},
            contrasts=config.contrasts,
            level=config.report.level,
            gate_measure=config.gate.measure if config.gate else None,
            gate_threshold=config.gate.at_least if config.gate else 0.0,
            pooled=pooled_tasks(config),
        )

    def _outputs(self, preferences: Mapping[tuple[str, int], PreferenceStep]) -> StudyOutputs:
        config, entry, seeds = self._config, self._config.evals.preference, self._config.run_seeds
        return StudyOutputs(
            documents={(name, seed): self._corpus(name, seed) for name in config.corpora for seed in seeds},
            chats={(name, seed): self._chats(name, seed, cot=True) for name in config.chats for seed in seeds},
            checkpoints={key: step.model for key, step in preferences.items() if key[0] in config.arms},
            scores={
                key: StepOutput(step, "scores.jsonl") for key, step in preferences.items() if key[0] in config.arms
            },
            bases={run.seed: self._base(run) for run in config.runs},
            seams=dict(self._seams),
            specs={name: (self._spec(name), self._names(name)) for name in config.specs},
            items={seed: self._rows(entry.items, "evals.preference.items", seed) for seed in seeds},
            asked=narrowed(entry, PreferenceConfig),
        )

    def _base(self, run: Run) -> Input:
        base = self._config.base
        if base.checkpoint is not None:
            return self._tokenizer(run.base)
        world = self._world(run.base)
        parent: Input | None = None
        for index, stage in enumerate(base.stages):
            rows = self._rows(f"world:{stage.data}", f"base.stages[{index}].data", run.base)
            start = partial(PretrainStep, parent=parent)
            if parent is None:
                tokenizer = StepOutput(world, "tokenizer/")
                start = partial(PretrainStep, tokenizer=tokenizer, architecture=base.architecture)
            step = start(
                label=stage.name,
                seed=run.base,
                recipe=stage.recipe,
                data=(rows,),
                execution=self._execution("pretrain"),
                cost=training_cost(stage.recipe),
            )
            parent = TrainedModel(self._add(step))
        assert parent is not None, "the config's own check gives a world its stages"
        return (
            parent if run.world == run.base else StepOutput(self._add(MirroredModelStep(seed=run.world, model=parent)))
        )

    def _moments(self, name: str, arm: Arm, base: Input, seed: int) -> Iterator[_Moment]:
        """Yield the models of an arm that are evaluated, in the order of its training; the last is its end."""
        stages = training_stages(arm, self._config.recipes)
        models: dict[tuple[int, int | None], tuple[Input, str]] = {(-1, None): (base, "base model")}
        for index, stage in enumerate(stages):
            step = self._trained(arm, stage, models[stage.parent, None][0], seed)
            after = f"{step.kind}:{stage.label}"
            models[index, None] = (TrainedModel(step), after)
            if stage.stage.kind == "midtrain" and stage.parent == -1:
                self._seams[name, seed] = TrainedModel(step)
            for n in stage.stage.checkpoints:
                models[index, n] = (kept_checkpoint(step, n), f"{after}@{n}")
        for point in arm_points(name, arm):
            yield _Moment(point.name, name, seed, *models[point.stage, point.update])

    def _trained(self, arm: Arm, stage: TrainingStage, parent: Input, seed: int) -> TrainStep:
        kind = stage.stage.kind
        kept = self._kept[kind, stage.label]
        if stage.is_merged:
            parent = StepOutput(self._add(MergeStep.of(parent, seed)))
        elif stage.stage.adapter == "fresh" and isinstance(parent, Model):
            parent = under_adapter(parent)
        start = partial(GrpoStep, judge=self._endpoints.judge) if kind == "grpo" else TRAIN_STEPS[kind]
        step = start(
            label=stage.label,
            seed=seed,
            recipe=stage.recipe.model_copy(update={"keep_updates": kept}) if kept else stage.recipe,
            data=self._stage_data(arm, stage.stage, parent, seed),
            parent=parent,
            execution=self._execution(kind),
            cost=training_cost(stage.recipe),
        )
        return self._add(step)

    def _execution(self, kind: Stage) -> TrainExecution | None:
        """Return how the stages of a kind run; several processes are for those alone that can be divided."""
        execution = self._config.training.execution
        if execution is None or kind in DIVIDED_STAGES:
            return execution
        return execution.model_copy(update={"processes": None})

    def _evaluate_between(
        self,
        moment: _Moment,
        preferences: dict[tuple[str, int], PreferenceStep],
        tasks: dict[tuple[str, str, int], TaskStep],
    ) -> None:
        """Add the evaluations of an arm on its way; where another arm has the same model and context, they are its."""
        config, arm, seed = self._config, self._config.arms[moment.arm], moment.seed
        alike = [name for name, other in config.arms.items() if other.context == arm.context]
        same = next((name for name in alike if preferences[name, seed].model == moment.model), None)
        label = f"{moment.after} in {arm.context}" if arm.context else moment.after
        preferences[moment.name, seed] = (
            self._preference(label, arm, moment.model, seed) if same is None else preferences[same, seed]
        )
        for task in config.evals.tasks:
            tasks[moment.name, task, seed] = (
                self._task(task, label, arm, moment.model, seed) if same is None else tasks[same, task, seed]
            )

    def _preference(self, name: str, arm: Arm, model: Input, seed: int) -> PreferenceStep:
        entry: PreferenceEntry = self._config.evals.preference
        return self._add(
            PreferenceStep(
                label=name,
                seed=seed,
                model=model,
                items=self._rows(entry.items, "evals.preference.items", seed),
                config=narrowed(entry, PreferenceConfig),
                context=self._spec(arm.context) if arm.context is not None else None,
                context_names=self._names(arm.context) if arm.context is not None else None,
                template_args=self._config.evals.template_args,
                cost=20,
            )
        )

    def _task(self, task: str, name: str, arm: Arm, model: Input, seed: int) -> TaskStep:
        evals = self._config.evals
        files, specs = self._task_files(task, arm)
        judging = Judging(
            evals.graders, evals.judge_temperature, self._endpoints.judge, budget_usd=evals.judging_budget_usd
        )
        return self._add(
            TaskStep.create(
                task,
                model,
                with_names(evals.tasks[task], self._config.assistant.model_dump()),
                files=files,
                names={role: self._names(spec) for role, spec in specs.items()},
                judging=judging,
                label=f"{name} {task}",
                seed=seed,
                template_args=evals.template_args,
            )
        )

    def _report(self, analysis: AnalysisStep, folder: Path | None) -> None:
        items, path = self._config.evals.preference.items, "evals.preference.items"
        calibrations = []
        for index, reference in enumerate(self._config.evals.calibrations):
            is_folder = (self._study.home / Path(reference).expanduser()).is_dir()
            file = f"{reference}/calibration.json" if is_folder else reference
            calibrations.append(self._outside(file, f"evals.calibrations[{index}]"))
        self._add(
            ReportStep(
                study=self._study,
                analysis=analysis,
                steps=tuple(self._steps.values()),
                items={seed: self._rows(items, path, seed) for seed in self._config.run_seeds},
                calibrations=tuple(calibrations),
                first_contrasts=changed_first_contrasts(self._study, folder),
            )
        )
