"""List the steps of a study, each exactly once, every step after those that it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from midspec.core.errors import ConfigError, MissingError
from midspec.core.registry import Registry
from midspec.evals import PreferenceConfig
from midspec.lab import data_path
from midspec.study._entries import IT_MIX, Arm, ChatsEntry, CorpusEntry, PreferenceEntry
from midspec.study._inputs import SHIPPED, EvalItems, File, Input, Model
from midspec.study._load import Study, changed_first_contrasts
from midspec.study._step import Step, StepOutput, StudyOutputs, slug
from midspec.study.jobs._analysis import AnalysisStep, ReportStep
from midspec.study.jobs._chats import ChatsStep
from midspec.study.jobs._corpus import CorpusStep, template_file
from midspec.study.jobs._curate import CurateStep
from midspec.study.jobs._endpoints import ModelEndpoints
from midspec.study.jobs._eval_task import Judging, TaskStep, with_names
from midspec.study.jobs._preference import HUB_NAME, GateStep, PairsStep, PreferenceStep
from midspec.study.jobs._sources import SpecNames, SpecStep, WorldStep
from midspec.study.jobs._train import FinetuneStep, MidtrainStep, PretrainStep, training_cost

STEP_KINDS: Registry[type[Step]] = Registry(
    "kind of step", package="midspec.study.jobs", attribute="STEPS", group="steps", name_of=lambda step: step.kind
)

StepType = TypeVar("StepType", bound=Step)
ConfigT = TypeVar("ConfigT", bound=BaseModel)


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


def _narrowed(entry: BaseModel, kind: type[ConfigT], **changes: object) -> ConfigT:
    """Return a study file's entry as the config that it extends, without the fields of the study alone."""
    values: dict[str, Any] = {name: getattr(entry, name) for name in kind.model_fields} | changes
    return kind.model_construct(entry.model_fields_set & kind.model_fields.keys(), **values)


class _Graph:
    """Collect steps; adding one that is there gives the one that is there."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._config = study.config
        self._steps: dict[str, Step] = {}
        self._folders: dict[Path, str] = {}
        models = self._config.models
        self._endpoints = ModelEndpoints(models.author, models.judge or models.author)

    def all(self, folder: Path | None) -> tuple[Step, ...]:
        config = self._config
        for name in config.specs:
            self._spec(name)
        preferences: dict[tuple[str, int], PreferenceStep] = {}
        tasks: dict[tuple[str, str, int], TaskStep] = {}
        gates: dict[int, GateStep] = {}
        for seed in config.seeds:
            base = self._base(seed)
            if config.gate is not None:
                items = self._rows(config.gate.items, "gate.items", seed)
                settings = _narrowed(config.gate, PreferenceConfig)
                gates[seed] = self._add(GateStep(seed=seed, model=base, items=items, config=settings))
            for name, arm in config.arms.items():
                model = self._finetuned(arm, self._midtrained(arm, base, seed), seed)
                preferences[name, seed] = self._preference(name, arm, model, seed)
                for task in config.evals.tasks:
                    tasks[name, task, seed] = self._task(task, name, arm, model, seed)
        by_arm = {(arm, seed): preferences[arm, seed] for arm in config.arms for seed in config.seeds}
        keys = ((arm, task, seed) for task in config.evals.tasks for arm in config.arms for seed in config.seeds)
        for name, entry in config.steps.items():
            for step in STEP_KINDS.get(entry.kind, where=f"steps.{name}.kind").from_study(
                name, entry.model_extra or {}, self._outputs(preferences)
            ):
                self._add(step)
        analysis = self._add(
            AnalysisStep(
                preferences=by_arm,
                tasks={key: tasks[key] for key in keys},
                gates=gates,
                contrasts=config.contrasts,
                level=config.report.level,
                gate_measure=config.gate.measure if config.gate else None,
                gate_threshold=config.gate.at_least if config.gate else 0.0,
            )
        )
        self._report(analysis, folder)
        return tuple(self._steps.values())

    def _outputs(self, preferences: Mapping[tuple[str, int], PreferenceStep]) -> StudyOutputs:
        config = self._config
        return StudyOutputs(
            documents={(name, seed): self._corpus(name, seed) for name in config.corpora for seed in config.seeds},
            chats={(name, seed): self._chats(name, seed, cot=True) for name in config.chats for seed in config.seeds},
            checkpoints={key: step.model for key, step in preferences.items()},
            scores={key: StepOutput(step, "scores.jsonl") for key, step in preferences.items()},
        )

    def _add(self, step: StepType) -> StepType:
        folder = step.folder(Path())
        if self._folders.setdefault(folder, step.name) != step.name:
            raise ConfigError(
                f"{step.name} and {self._folders[folder]} would share the folder {folder}", hint="Rename one of the two"
            )
        added = self._steps.setdefault(step.name, step)
        assert isinstance(added, type(step))
        return added

    def _outside(self, reference: str, where: str) -> File:
        """Return a file that the study names: `lab:FILE`, or a path that starts at the study file."""
        if reference.startswith("lab:"):
            return File(str(data_path(reference.removeprefix("lab:"))))
        path = self._study.home / Path(reference).expanduser()
        if not path.is_file():
            hint = "A path starts at the folder of the study file"
            raise MissingError(f"there is no file {path}", where=where, hint=hint)
        return File(str(path))

    def _rows(self, reference: str, where: str, seed: int) -> Input:
        """Return rows that the study names: a file of the world or outside, or pairs that are shipped or on the hub."""
        path = self._study.home / Path(reference).expanduser()
        is_local = reference.startswith(("world:", "lab:")) or path.exists() or path.parent.is_dir()
        if reference.startswith(SHIPPED) or (HUB_NAME.fullmatch(reference) and not is_local):
            return StepOutput(self._add(PairsStep(label=slug(reference), items=EvalItems(reference))), "items.jsonl")
        if not reference.startswith("world:"):
            return self._outside(reference, where)
        if self._config.base.world is None:
            raise ConfigError(f"{reference} and no world", where=where, hint="Only a base with a `world` has one")
        return StepOutput(self._world(seed), f"{reference.removeprefix('world:')}.jsonl")

    def _spec(self, name: str) -> StepOutput:
        text = self._outside(self._config.specs[name], f"specs.{name}")
        return StepOutput(self._add(SpecStep(label=name, text=text)), "spec.md")

    def _world(self, seed: int) -> WorldStep:
        return self._add(WorldStep(seed=seed, config=self._config.base.config))

    def _written(self, entry: CorpusEntry | ChatsEntry, where: str, seed: int) -> dict[str, Any]:
        """Return the fields that corpora and chats share: spec, templates, and the run seed where rows are per seed."""
        from midspec.corpus import DOCUMENT_STYLES

        styles = DOCUMENT_STYLES if isinstance(entry, CorpusEntry) else None
        return {
            "spec": self._spec(entry.spec),
            "spec_name": entry.spec,
            "templates": template_file(entry.frames, styles, lambda name: self._outside(name, f"{where}.templates")),
            "seed": seed if entry.per_seed else None,
        }

    def _drawn(self, entry: CorpusEntry | ChatsEntry, seed: int) -> dict[str, object]:
        """Return the settings that a study completes: the assistant's names, and the seed of the rows."""
        assistant = self._config.assistant
        return {
            "seed": entry.seed + (seed if entry.per_seed else 0),
            "model_name": entry.model_name or assistant.model_name,
            "provider_name": entry.provider_name or assistant.provider_name,
        }

    def _corpus(self, name: str, seed: int) -> Input:
        from midspec.corpus import CorpusConfig

        entry = self._config.corpora[name]
        config = _narrowed(entry, CorpusConfig, **self._drawn(entry, seed))
        written = self._written(entry, f"corpora.{name}", seed)
        step = self._add(CorpusStep(label=name, config=config, author=self._endpoints.author, **written))
        return StepOutput(self._curated(step, ("documents", "plan")), "documents.jsonl")

    def _chats(self, name: str, seed: int, *, cot: bool) -> Input:
        from midspec.chats import ChatConfig

        entry = self._config.chats[name]
        config = _narrowed(entry, ChatConfig, **self._drawn(entry, seed))
        written = self._written(entry, f"chats.{name}", seed)
        step = self._add(ChatsStep(label=name, config=config, endpoints=self._endpoints, **written))
        twins = ("chats_cot", "chats_cot_stripped") if entry.has_twins else ("chats", "chats")
        made = self._curated(step, tuple(dict.fromkeys(twins)))
        return StepOutput(made, f"{twins[0] if cot else twins[1]}.jsonl")

    def _curated(self, step: CorpusStep | ChatsStep, files: tuple[str, ...]) -> Step:
        """Return the step whose rows are trained on: this one, or the one that curates its rows."""
        config = self._config.curate
        if config is None:
            return step
        names: dict[str, object] = {
            name: getattr(config, name) or getattr(step.config, name) for name in ("model_name", "provider_name")
        }
        unjudged = {} if isinstance(step, CorpusStep) else {"judge": None, "calibrate_each": 0}
        return self._add(
            CurateStep(
                label=f"{step.kind} {step.label}",
                seed=step.seed,
                rows={f"{name}.jsonl": StepOutput(step, f"{name}.jsonl") for name in files},
                title=step.label,
                config=config.model_copy(update=names | unjudged),
                against=self._held_out(step.seed),
                spec=step.spec,
                endpoints=self._endpoints,
            )
        )

    def _held_out(self, seed: int | None) -> dict[str, Input]:
        """Return the items of the study's evaluations, by name: for rows of one seed its own, else every seed's."""
        evals = self._config.evals
        seeds = self._config.seeds if seed is None else (seed,)
        items = {each: self._rows(evals.preference.items, "evals.preference.items", each) for each in seeds}
        makers = {source.step.name if isinstance(source, StepOutput) else "" for source in items.values()}
        shared = len(makers) == 1
        held_out = {"preference" if shared else f"preference-s{each}": source for each, source in items.items()}
        for task, config in evals.tasks.items():
            own = getattr(config, "items", None) not in {None, "shipped"}
            held_out[task] = self._task_files(task, Arm())[0]["items"] if own else EvalItems(task)
        return held_out

    def _base(self, seed: int) -> Input:
        base = self._config.base
        if base.checkpoint is not None:
            path = self._study.home / Path(base.checkpoint).expanduser()
            return Model(str(path) if path.exists() else base.checkpoint)
        world = self._world(seed)
        parent: Input | None = None
        for stage in base.stages:
            start = partial(PretrainStep, parent=parent)
            if parent is None:
                tokenizer = StepOutput(world, "tokenizer/")
                start = partial(PretrainStep, tokenizer=tokenizer, architecture=base.architecture)
            step = start(
                label=stage.name,
                seed=seed,
                recipe=stage.recipe,
                data=(StepOutput(world, f"{stage.data}.jsonl"),),
                cost=training_cost(stage.recipe),
            )
            parent = StepOutput(self._add(step))
        assert parent is not None, "the config's own check gives a world its stages"
        return parent

    def _midtrained(self, arm: Arm, base: Input, seed: int) -> tuple[Input, str]:
        """Return the checkpoint after an arm's midtraining, and what it was midtrained on."""
        recipe = self._config.training.midtrain
        if not arm.midtrain or recipe is None:
            return base, ""
        replay = self._config.mixes.replay
        data = [self._corpus(name, seed) for name in arm.midtrain]
        data += [self._rows(replay, "mixes.replay", seed)] if replay else []
        label, cost = "+".join(arm.midtrain), training_cost(recipe)
        step = MidtrainStep(label=label, seed=seed, recipe=recipe, data=tuple(data), parent=base, cost=cost)
        return StepOutput(self._add(step)), label

    def _finetuned(self, arm: Arm, midtrained: tuple[Input, str], seed: int) -> Input:
        recipe = self._config.training.finetune
        parent, before = midtrained
        if not arm.finetune or recipe is None:
            return parent
        mix = self._config.mixes.it_mix
        data = [self._chats(name, seed, cot=arm.cot) for name in arm.finetune if name != IT_MIX]
        data += [self._rows(mix, "mixes.it_mix", seed)] if mix else []
        twin = [] if arm.cot else ["no-cot"]
        label, cost = "+".join(filter(None, [before, *arm.finetune, *twin])), training_cost(recipe)
        step = FinetuneStep(label=label, seed=seed, recipe=recipe, data=tuple(data), parent=parent, cost=cost)
        return StepOutput(self._add(step))

    def _preference(self, name: str, arm: Arm, model: Input, seed: int) -> PreferenceStep:
        entry: PreferenceEntry = self._config.evals.preference
        return self._add(
            PreferenceStep(
                label=name,
                seed=seed,
                model=model,
                items=self._rows(entry.items, "evals.preference.items", seed),
                config=_narrowed(entry, PreferenceConfig),
                context=self._spec(arm.context) if arm.context is not None else None,
                context_names=self._names(arm.context) if arm.context is not None else None,
                cost=20,
            )
        )

    def _names(self, spec: str) -> SpecNames:
        return SpecNames(spec, self._config.assistant.model_name, self._config.assistant.provider_name)

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
            )
        )

    def _task_files(self, task: str, arm: Arm) -> tuple[dict[str, Input], dict[str, str]]:
        """Return the files that a task's settings are completed from, and which specs are among them."""
        config = self._config.evals.tasks[task]
        files: dict[str, Input] = {}
        if (items := getattr(config, "items", None)) not in {None, "shipped"}:
            files["items"] = self._outside(str(items), f"evals.{task}.items")
        references = {"spec": getattr(config, "spec", None), "context": arm.context}
        specs = {role: str(spec) for role, spec in references.items() if spec is not None}
        return files | {role: self._spec(spec) for role, spec in specs.items()}, specs

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
                items={seed: self._rows(items, path, seed) for seed in self._config.seeds},
                calibrations=tuple(calibrations),
                first_contrasts=changed_first_contrasts(self._study, folder),
            )
        )
