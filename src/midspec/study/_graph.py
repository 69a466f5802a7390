"""A study -> its steps, each exactly once, every step after those that it is made from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, JsonValue

from midspec.core.errors import ConfigError, MissingError
from midspec.lab import data_path
from midspec.study._config import IT_MIX, Arm, ChatsEntry, CorpusEntry, PreferenceEntry
from midspec.study._load import Study
from midspec.study._steps import SHIPPED, Source, Step, slug, step_folder
from midspec.study._task_steps import task_step, with_names
from midspec.train import Recipe

_N_UPDATES_UNKNOWN = 200
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w-]*")


def study_steps(study: Study) -> tuple[Step, ...]:
    """Every step of a study, in an order in which they can be done.

    Raises:
        MissingError: a file that the study names is not there.
        ConfigError: two steps would share a folder.
    """
    return _Graph(study).all()


def arm_eval(arm: str, seed: int) -> str:
    """The name of the step that evaluates an arm."""
    return Step(kind="eval", label=arm, seed=seed).name


def arm_task(arm: str, eval_task: str, seed: int) -> str:
    """The name of the step in which an arm takes an exam."""
    return Step(kind="exam", label=f"{arm} {eval_task}", seed=seed).name


def _plain(model: BaseModel, *without: str) -> dict[str, JsonValue]:
    dumped: dict[str, JsonValue] = model.model_dump(mode="json", exclude=set(without))
    return dumped


class _Graph:
    """Collects steps; adding one that is there gives the one that is there."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._config = study.config
        self._steps: dict[str, Step] = {}
        self._places: dict[Path, str] = {}

    def all(self) -> tuple[Step, ...]:
        for name in self._config.specs:
            self._spec(name)
        for seed in self._config.seeds:
            base = self._base(seed)
            self._gate(base, seed)
            for name, arm in self._config.arms.items():
                model = self._finetuned(arm, self._midtrained(arm, base, seed), seed)
                self._eval(name, arm, model, seed)
                self._eval_tasks(name, arm, model, seed)
        self._ends()
        return tuple(self._steps.values())

    def _add(self, step: Step) -> Source:
        return Source(step=self._add_step(step).name)

    def _add_step(self, step: Step) -> Step:
        place = step_folder(Path(), step)
        if self._places.setdefault(place, step.name) != step.name:
            raise ConfigError(
                f"{step.name} and {self._places[place]} would share the folder {place}", hint="Rename one of the two"
            )
        return self._steps.setdefault(step.name, step)

    # Sources -------------------------------------------------------------------------------------------------

    def _outside(self, reference: str, where: str) -> Source:
        """A file that the study names: `lab:FILE`, or a path that starts at the study file."""
        if reference.startswith("lab:"):
            return Source(path=str(data_path(reference.removeprefix("lab:"))))
        path = self._study.home / Path(reference).expanduser()
        if not path.is_file():
            raise MissingError(
                f"there is no file {path}", where=where, hint="A path starts at the folder of the study file"
            )
        return Source(path=str(path))

    def _rows(self, reference: str, where: str, seed: int) -> Source:
        """Rows that the study names: a file of the world, one outside, or pairs that are shipped or on the hub."""
        if self._is_elsewhere(reference):
            asked = {"items": Source(asked=reference)}
            made = self._add(Step(kind="pairs", label=slug(reference), sources=asked, config={"items": reference}))
            return Source(step=made.step, file="items.jsonl")
        if not reference.startswith("world:"):
            return self._outside(reference, where)
        if self._config.base.world is None:
            raise ConfigError(f"{reference} and no world", where=where, hint="Only a base with a `world` has one")
        return Source(step=self._world(seed).step, file=f"{reference.removeprefix('world:')}.jsonl")

    def _is_elsewhere(self, reference: str) -> bool:
        if reference.startswith((SHIPPED, "world:", "lab:")):
            return reference.startswith(SHIPPED)
        path = self._study.home / Path(reference).expanduser()
        return bool(_HUB_NAME.fullmatch(reference)) and not path.exists() and not path.parent.is_dir()

    def _frames(self, frames: str, where: str) -> dict[str, Source]:
        return {} if frames == "english" else {"frames": self._outside(frames, where)}

    # Data ----------------------------------------------------------------------------------------------------

    def _spec(self, name: str) -> Source:
        source = self._outside(self._config.specs[name], f"specs.{name}")
        made = self._add(Step(kind="spec", label=name, sources={"text": source}, config={"name": name}))
        return Source(step=made.step, file="spec.md")

    def _world(self, seed: int) -> Source:
        return self._add(Step(kind="world", seed=seed, config={"seed": seed, **_plain(self._config.base.config)}))

    def _written(self, entry: CorpusEntry | ChatsEntry, where: str, seed: int) -> tuple[dict[str, Source], JsonValue]:
        """Sources and settings of a corpus or of chats: who they are about, and the seed that they draw with."""
        who = self._config.assistant
        settings = _plain(entry, "spec", "per_seed", "frames") | {
            "seed": entry.seed + (seed if entry.per_seed else 0),
            "model_name": entry.model_name or who.model_name,
            "provider_name": entry.provider_name or who.provider_name,
        }
        frames = self._frames(entry.frames, f"{where}.frames")
        return {"spec": self._spec(entry.spec), **frames}, settings

    def _corpus(self, name: str, seed: int) -> Source:
        entry = self._config.corpora[name]
        sources, settings = self._written(entry, f"corpora.{name}", seed)
        own_seed = seed if entry.per_seed else None
        config, options = {"spec": entry.spec, "corpus": settings}, self._reached(entry)
        step = Step(kind="corpus", label=name, seed=own_seed, sources=sources, config=config, options=options)
        return Source(step=self._curated(self._add_step(step), settings, ("documents", "plan")), file="documents.jsonl")

    def _chats(self, name: str, seed: int, *, cot: bool) -> Source:
        entry = self._config.chats[name]
        sources, settings = self._written(entry, f"chats.{name}", seed)
        own_seed = seed if entry.per_seed else None
        config, options = {"spec": entry.spec, "chats": settings}, self._reached(entry)
        step = Step(kind="chats", label=name, seed=own_seed, sources=sources, config=config, options=options)
        twins = ("chats_cot", "chats_cot_stripped") if entry.has_twins else ("chats", "chats")
        made = self._curated(self._add_step(step), settings, tuple(dict.fromkeys(twins)))
        return Source(step=made, file=f"{twins[0] if cot else twins[1]}.jsonl")

    def _curated(self, step: Step, settings: JsonValue, files: tuple[str, ...]) -> str:
        """The step whose rows are trained on: this one, or the one that curates what it wrote."""
        given = self._config.curate
        if given is None:
            return step.name
        who = settings if isinstance(settings, dict) else {}
        is_corpus = step.kind == "corpus"
        names = {name: getattr(given, name) or who.get(name) for name in ("model_name", "provider_name")}
        config = given.model_copy(update=names if is_corpus else names | {"judge": None, "calibrate_each": 0})
        models = self._config.models
        curated = Step(
            kind="curate",
            label=f"{step.kind} {step.label}",
            seed=step.seed,
            sources={
                **{f"rows/{name}.jsonl": Source(step=step.name, file=f"{name}.jsonl") for name in files},
                **{f"against/{name}": source for name, source in self._held_out(step.seed).items()},
                "spec": step.sources["spec"],
            },
            config={"title": step.label, "curate": _plain(config)},
            options={"author": _plain(models.author), "judge": _plain(models.judge or models.author)},
        )
        return self._add_step(curated).name

    def _held_out(self, seed: int | None) -> dict[str, Source]:
        """What the study's evaluations ask, by name: for rows of one seed its own items, else every seed's."""
        evals = self._config.evals
        seeds = self._config.seeds if seed is None else (seed,)
        items = {each: self._rows(evals.preference.items, "evals.preference.items", each) for each in seeds}
        shared = len({source.step for source in items.values()}) == 1
        found = {"preference" if shared else f"preference-s{each}": source for each, source in items.items()}
        for eval_task, config in evals.tasks.items():
            own = config.model_dump(include={"items"}).get("items") not in {None, "shipped"}
            found[eval_task] = self._task_files(eval_task, Arm())[0]["items"] if own else Source(asked=eval_task)
        return found

    def _reached(self, entry: CorpusEntry | ChatsEntry) -> dict[str, JsonValue]:
        """How the models are reached that write a corpus or chats."""
        if entry.author == "quoting":
            return {}
        models = self._config.models
        return {"author": _plain(models.author), "judge": _plain(models.judge or models.author)}

    # Models --------------------------------------------------------------------------------------------------

    def _base(self, seed: int) -> Source:
        base = self._config.base
        if base.checkpoint is not None:
            path = self._study.home / Path(base.checkpoint).expanduser()
            return Source(checkpoint=str(path) if path.exists() else base.checkpoint)
        world = self._world(seed).step
        source = Source(step=world, file="tokenizer/")
        for index, stage in enumerate(base.stages):
            sources = {"data[0]": Source(step=world, file=f"{stage.data}.jsonl")}
            sources |= {"tokenizer": source} if index == 0 else {"parent": source}
            extra: dict[str, JsonValue] = {"architecture": base.architecture} if index == 0 else {}
            source = self._train("pretrain", stage.name, seed, sources, stage.recipe, extra)
        return source

    def _train(
        self,
        kind: str,
        label: str,
        seed: int,
        sources: dict[str, Source],
        recipe: Recipe,
        extra: dict[str, JsonValue] | None = None,
    ) -> Source:
        step = Step(
            kind=kind,
            label=label,
            seed=seed,
            sources=sources,
            config={"seed": seed, "recipe": _plain(recipe, "micro_batch"), **(extra or {})},
            options={"micro_batch": recipe.micro_batch},
            cost=recipe.n_updates or _N_UPDATES_UNKNOWN,
        )
        return self._add(step)

    def _midtrained(self, arm: Arm, base: Source, seed: int) -> tuple[Source, str]:
        """The checkpoint after an arm's midtraining, and what it was midtrained on."""
        recipe = self._config.training.midtrain
        if not arm.midtrain or recipe is None:
            return base, ""
        replay = self._config.mixes.replay
        data = [self._corpus(name, seed) for name in arm.midtrain]
        data += [self._rows(replay, "mixes.replay", seed)] if replay else []
        label = "+".join(arm.midtrain)
        return self._train("midtrain", label, seed, _data(data) | {"parent": base}, recipe), label

    def _finetuned(self, arm: Arm, midtrained: tuple[Source, str], seed: int) -> Source:
        recipe = self._config.training.finetune
        parent, before = midtrained
        if not arm.finetune or recipe is None:
            return parent
        mix = self._config.mixes.it_mix
        data = [self._chats(name, seed, cot=arm.cot) for name in arm.finetune if name != IT_MIX]
        data += [self._rows(mix, "mixes.it_mix", seed)] if mix else []
        twin = [] if arm.cot else ["no-cot"]
        label = "+".join(filter(None, [before, *arm.finetune, *twin]))
        return self._train("finetune", label, seed, _data(data) | {"parent": parent}, recipe)

    # Measures ------------------------------------------------------------------------------------------------

    def _ask(self, entry: PreferenceEntry, where: str, model: Source, seed: int) -> dict[str, Source]:
        return {"model": model, "items": self._rows(entry.items, f"{where}.items", seed)}

    def _gate(self, base: Source, seed: int) -> None:
        gate = self._config.gate
        if gate is not None:
            sources = self._ask(gate, "gate", base, seed)
            asked = _plain(gate, "items", "measure", "at_least")
            self._add(Step(kind="gate", seed=seed, sources=sources, config={"preference": asked}))

    def _eval(self, name: str, arm: Arm, model: Source, seed: int) -> None:
        entry = self._config.evals.preference
        sources = self._ask(entry, "evals.preference", model, seed)
        config: dict[str, JsonValue] = {"preference": _plain(entry, "items")}
        if arm.context is not None:
            sources["context"] = self._spec(arm.context)
            config["context"] = {"spec": arm.context, **_plain(self._config.assistant)}
        self._add(Step(kind="eval", label=name, seed=seed, sources=sources, config=config, cost=20))

    def _eval_tasks(self, name: str, arm: Arm, model: Source, seed: int) -> None:
        evals, who, models = self._config.evals, _plain(self._config.assistant), self._config.models
        options = {"judge": _plain(models.judge or models.author), "judging_budget_usd": evals.judging_budget_usd}
        for eval_task, given in evals.tasks.items():
            config = with_names(given, self._config.assistant.model_dump())
            files, specs = self._task_files(eval_task, arm)
            step = task_step(
                eval_task,
                config,
                model,
                graders=evals.graders,
                temperature=evals.judge_temperature,
                files=files,
                places={role: self._place(source) for role, source in files.items()},
                who={role: {"spec": spec, **who} for role, spec in specs.items()},
                label=f"{name} {eval_task}",
                seed=seed,
                options=options,
            )
            self._add(step)

    def _task_files(self, eval_task: str, arm: Arm) -> tuple[dict[str, Source], dict[str, str]]:
        """The files that an exam's settings are completed from, and which specs are among them."""
        given = self._config.evals.tasks[eval_task].model_dump(include={"items", "spec"})
        files: dict[str, Source] = {}
        if (items := given.get("items")) not in {None, "shipped"}:
            files["items"] = self._outside(str(items), f"evals.{eval_task}.items")
        found = {"spec": given.get("spec"), "context": arm.context}
        specs = {role: str(spec) for role, spec in found.items() if spec is not None}
        return files | {role: self._spec(spec) for role, spec in specs.items()}, specs

    def _place(self, source: Source) -> str:
        """Where a file is that is outside, or that a spec's step copies."""
        found = self._steps[source.step].sources["text"] if source.step else source
        return str(found.path)

    def _ends(self) -> None:
        config = self._config
        scores = {
            f"scores/{arm}/{seed}": Source(step=arm_eval(arm, seed), file="scores.jsonl")
            for arm in config.arms
            for seed in config.seeds
        }
        scores |= {
            f"exam/{eval_task}/{arm}/{seed}": Source(step=arm_task(arm, eval_task, seed), file="scores.jsonl")
            for eval_task in config.evals.tasks
            for arm in config.arms
            for seed in config.seeds
        }
        gates = {f"gate/{s.seed}": Source(step=s.name, file="scores.jsonl") for s in self._of_kind("gate")}
        asked: dict[str, JsonValue] = {
            "contrasts": [_plain(contrast, "says") for contrast in config.contrasts],
            "level": config.report.level,
            "gate": {"measure": config.gate.measure, "at_least": config.gate.at_least} if config.gate else None,
        }
        if config.evals.tasks:
            asked["repeats"] = {name: eval_task.repeats for name, eval_task in config.evals.tasks.items()}
        self._add(Step(kind="analysis", sources={**scores, **gates}, config=asked))
        items = config.evals.preference.items
        sources = {name: Source(step=name) for name in self._steps}
        sources |= {f"items/{seed}": self._rows(items, "evals.preference.items", seed) for seed in config.seeds}
        for index, calibration in enumerate(config.evals.calibrations):
            sources[f"calibration/{index}"] = self._calibration(calibration, f"evals.calibrations[{index}]")
        self._add(Step(kind="report", sources=sources, config={"study": self._study.text}))

    def _calibration(self, reference: str, where: str) -> Source:
        """A calibration that the study names: its folder, or its file."""
        is_folder = (self._study.home / Path(reference).expanduser()).is_dir()
        return self._outside(f"{reference}/calibration.json" if is_folder else reference, where)

    def _of_kind(self, kind: str) -> Iterator[Step]:
        return (step for step in self._steps.values() if step.kind == kind)


def _data(sources: Sequence[Source]) -> dict[str, Source]:
    return {f"data[{index}]": source for index, source in enumerate(sources)}
