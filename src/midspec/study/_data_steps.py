"""The steps that make a study's data: specs, worlds, corpora, chats, pairs; each exactly once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

from midspec.core.errors import ConfigError, MissingError, did_you_mean
from midspec.lab import ITEM_SETS
from midspec.study._arms import Arm, ArmStage
from midspec.study._entries import IT_MIX, ChatsEntry, CorpusEntry, RowsEntry, narrowed
from midspec.study._inputs import MIX, SHIPPED, EvalItems, File, Input, Model, is_world, outside_path
from midspec.study._load import Study
from midspec.study._step import CHATS_FILE, DOCUMENTS_FILE, PAIRS_FILE, Step, StepOutput, slug
from midspec.study.jobs._chats import ChatsStep
from midspec.study.jobs._controls import DisclosedStep, MatchedStep, ToldStep
from midspec.study.jobs._corpus import CorpusStep, GivenCorpusStep, ReframeStep, template_file
from midspec.study.jobs._curate import CurateStep
from midspec.study.jobs._endpoints import ModelEndpoints
from midspec.study.jobs._exchange import MixStep
from midspec.study.jobs._preference import HUB_NAME, PairsStep, PreferenceStep
from midspec.study.jobs._ranked_pairs import RankedPairsStep, RankingConfig
from midspec.study.jobs._sources import SpecNames, SpecStep, WorldStep
from midspec.study.jobs._stage_data import (
    PROMPTS_FILE,
    FirstChatsStep,
    PressureStep,
    ReplyPairsStep,
    TaskPromptsStep,
)
from midspec.study.jobs._train import MergeStep, TrainStep

_WORLD_FILES = ("facts", "mix", "replay", *ITEM_SETS)

StepType = TypeVar("StepType", bound=Step)


# File systems allow 255 bytes; while a result is made its folder has a dot in front and `.part` behind.
_MAX_NAME_BYTES = 249


class DataSteps:
    """Collects the steps of a study's data; adding one that is there gives the one that is there."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._config = study.config
        self._runs = {run.seed: run for run in self._config.runs}
        self._steps: dict[str, Step] = {}
        self._folders: dict[Path, str] = {}
        models = self._config.models
        self._endpoints = ModelEndpoints(models.author, models.judge or models.author)

    def _add(self, step: StepType) -> StepType:
        folder = step.folder(Path())
        if (n_bytes := len(folder.name.encode())) > _MAX_NAME_BYTES or folder.name in (".", ".."):
            why = (
                f"takes {n_bytes} bytes, and {_MAX_NAME_BYTES} are the most" if n_bytes > 2 else "means another folder"
            )
            what = f"no folder can be called after it: {folder.name[:40]!r} {why}"
            raise ConfigError(what, where=step.name[:80], hint="Give what it is called after a shorter, plain name")
        if self._folders.setdefault(folder, step.name) != step.name:
            what = f"would share the folder {folder} with {self._folders[folder]}"
            raise ConfigError(what, where=step.name, hint="Rename one of the two")
        added = self._steps.setdefault(step.name, step)
        assert isinstance(added, type(step))
        is_called_after_data = isinstance(step, TrainStep | MergeStep | PreferenceStep) and step is not added
        if is_called_after_data and (step.inputs, step.settings) != (added.inputs, added.settings):
            hint = "Rename some of the data that it is called after"
            raise ConfigError("two different steps would have this name", where=step.name, hint=hint)
        return added

    def _file(self, reference: str, where: str, seed: int) -> Input:
        """Return a file of rows that the study names: of the world, `lab:FILE`, or a path."""
        return self._rows(reference, where, seed) if is_world(reference) else self._outside(reference, where)

    def _outside(self, reference: str, where: str) -> File:
        """Return a file that the study names: `lab:FILE`, or a path that starts at the study file."""
        path = outside_path(self._study.home, reference)
        if not path.is_file():
            hint = "A path starts at the folder of the study file"
            raise MissingError(f"there is no file {path}", where=where, hint=hint)
        return File(str(path))

    def _rows(self, reference: str, where: str, seed: int) -> Input:
        """Return rows that the study names: a file of the world or outside, or pairs that are shipped or on the hub."""
        path = self._study.home / Path(reference).expanduser()
        is_local = reference.startswith(("world:", "lab:", MIX)) or path.exists() or path.parent.is_dir()
        if reference.startswith(SHIPPED) or (HUB_NAME.fullmatch(reference) and not is_local):
            return StepOutput(self._add(PairsStep(label=slug(reference), items=EvalItems(reference))), "items.jsonl")
        if reference.startswith(MIX):
            return self._mixed(reference.removeprefix(MIX), where)
        if not is_world(reference):
            return self._outside(reference, where)
        if self._config.base.world is None:
            raise ConfigError(f"{reference} and no world", where=where, hint="Only a base with a `world` has one")
        name = reference.removeprefix("world:")
        if name not in _WORLD_FILES:
            raise ConfigError(f"a world has no rows {name!r}", where=where, hint=did_you_mean(name, _WORLD_FILES))
        return StepOutput(self._world(seed), f"{name}.jsonl")

    def _mixed(self, name: str, where: str) -> StepOutput:
        """Return the rows of a mix that the run makes: a shipped one by name, or of a YAML file."""
        kind: Literal["documents", "chats"] = "documents" if where == "mixes.replay" else "chats"
        assistant = self._config.assistant
        names = {"model_name": assistant.model_name, "provider_name": assistant.provider_name}
        return StepOutput(self._add(MixStep.named(name, self._study.home, kind, names)), f"{kind}.jsonl")

    def _spec(self, name: str) -> StepOutput:
        text = self._outside(self._config.specs[name], f"specs.{name}")
        return StepOutput(self._add(SpecStep(label=name, text=text)), "spec.md")

    def _world(self, seed: int) -> WorldStep:
        run = self._runs[seed]
        mirrors = run.base if run.world != run.base else None
        return self._add(WorldStep(seed=run.world, config=self._config.base.config, mirrors=mirrors))

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
            "called": entry.called or assistant.called,
            "leave_out": entry.leave_out or assistant.leave_out,
        }

    def _corpus(self, name: str, seed: int) -> Input:
        """Return a corpus as arms train on it: curated, with its disclosure, cut to the lengths of others."""
        for group, entry in self._config.matched.items():
            if name in entry.corpora:
                return self._matched(group, seed)[name]
        return self._uncut_corpus(name, seed)

    def _uncut_corpus(self, name: str, seed: int) -> Input:
        from midspec.corpus import CorpusConfig

        entry = self._config.corpora[name]
        rows = self._corpus(entry.documents, seed) if entry.documents else self._own_documents(name, seed)
        if entry.framing is not None:
            config = narrowed(entry, CorpusConfig, **self._assistant_names(name))
            again = ReframeStep(
                label=name,
                seed=self._documents_seed(name, seed),
                documents=rows,
                framing=entry.framing,
                config=config,
                author=self._endpoints.author,
            )
            rows = StepOutput(self._add(again), DOCUMENTS_FILE)
        if entry.disclosure is None:
            return rows
        step = DisclosedStep(
            label=name,
            seed=self._documents_seed(name, seed),
            documents=rows,
            text=entry.disclosure.text,
            at=entry.disclosure.at,
            names=self._assistant_names(name),
        )
        return StepOutput(self._add(step), DOCUMENTS_FILE)

    def _own_documents(self, name: str, seed: int) -> Input:
        from midspec.corpus import CorpusConfig

        entry = self._config.corpora[name]
        config = narrowed(entry, CorpusConfig, **self._drawn(entry, seed))
        if entry.rows is not None:
            rows, own_seed = self._file(entry.rows, f"corpora.{name}.rows", seed), seed if entry.per_seed else None
            given = GivenCorpusStep(label=name, seed=own_seed, rows=rows, spec=self._spec(entry.spec), config=config)
            return StepOutput(self._curated(self._add(given), ("documents",)), DOCUMENTS_FILE)
        written = self._written(entry, f"corpora.{name}", seed)
        step = self._add(CorpusStep(label=name, config=config, author=self._endpoints.author, **written))
        return StepOutput(self._curated(step, ("documents", "plan")), DOCUMENTS_FILE)

    def _matched(self, group: str, seed: int) -> dict[str, Input]:
        """Return the corpora of a group, cut to equal lengths."""
        entry = self._config.matched[group]
        step = MatchedStep(
            label=group,
            seed=self._documents_seed(entry.corpora[0], seed),
            corpora={name: self._uncut_corpus(name, seed) for name in entry.corpora},
            tokenizer=self._tokenizer(seed),
            cut=entry.cut,
            least=entry.least,
        )
        return {name: StepOutput(self._add(step), file) for name, file in step.files.items()}

    def _documents_seed(self, name: str, seed: int) -> int | None:
        """Return the seed of what is made of a corpus: none where all seeds share it, and its tokenizer."""
        config = self._config
        together = {name, config.corpora[name].documents}
        for entry in config.matched.values():
            together |= set(entry.corpora) if together & set(entry.corpora) else set()
        differs = config.base.world is not None or any(config.corpora[each].per_seed for each in together if each)
        return seed if differs else None

    def _assistant_names(self, corpus: str, entry: RowsEntry | None = None) -> dict[str, str]:
        """Return the names in what is made of a corpus: of the entry, of the corpus, or of its own."""
        own = self._config.corpora[corpus]
        source = self._config.corpora[own.documents] if own.documents else own
        places = (*([] if entry is None else [entry]), own, source, self._config.assistant)
        return {
            name: next(filter(None, (getattr(place, name) for place in places)), "")
            for name in ("model_name", "provider_name")
        }

    def _tokenizer(self, seed: int) -> Input:
        """Return what holds the base's tokenizer."""
        base = self._config.base
        if base.checkpoint is None:
            return StepOutput(self._world(seed), "tokenizer/")
        path = self._study.home / Path(base.checkpoint).expanduser()
        return Model(str(path) if path.exists() else base.checkpoint)

    def _chats(self, name: str, seed: int, *, cot: bool) -> Input:
        from midspec.chats import ChatConfig

        entry = self._config.chats[name]
        if entry.part_of is not None:
            return self._part(name, entry, self._chats(entry.part_of, seed, cot=cot), seed)
        if entry.documents is not None:
            return self._told(name, entry, entry.documents, seed)
        config = narrowed(entry, ChatConfig, **self._drawn(entry, seed))
        written = self._written(entry, f"chats.{name}", seed)
        step = self._add(ChatsStep(label=name, config=config, endpoints=self._endpoints, **written))
        twins = ("chats_cot", "chats_cot_stripped") if entry.has_twins else ("chats", "chats")
        made = self._curated(step, tuple(dict.fromkeys(twins)))
        return StepOutput(made, f"{twins[0] if cot else twins[1]}.jsonl")

    def _part(self, name: str, entry: ChatsEntry, whole: Input, seed: int) -> Input:
        """Return the first of other chats; of those with reasoning and those without, the same."""
        label = f"{name} of {Path(whole.file).stem}" if isinstance(whole, StepOutput) else name
        own_seed = seed if self._is_per_seed(name) else None
        step = FirstChatsStep(label=label, seed=own_seed, chats=whole, n_samples=entry.n_samples or 1)
        return StepOutput(self._add(step), CHATS_FILE)

    def _told(self, name: str, entry: ChatsEntry, corpus: str, seed: int) -> Input:
        """Return a corpus as chats."""
        step = ToldStep(
            label=name,
            seed=self._documents_seed(corpus, seed),
            documents=self._corpus(corpus, seed),
            tokenizer=self._tokenizer(seed),
            requests=entry.requests,
            names=self._assistant_names(corpus, entry),
            draw=entry.seed,
        )
        return StepOutput(self._add(step), CHATS_FILE)

    def _is_per_seed(self, chats: str) -> bool:
        entry = self._config.chats[chats]
        if entry.part_of is not None:
            return self._is_per_seed(entry.part_of)
        if entry.documents is not None:
            return self._documents_seed(entry.documents, 0) is not None
        return entry.per_seed

    def _curated(self, step: CorpusStep | GivenCorpusStep | ChatsStep, files: tuple[str, ...]) -> Step:
        """Return the step whose rows are trained on: this one, or the one that curates its rows."""
        config = self._config.curate
        if config is None:
            return step
        names: dict[str, object] = {
            name: getattr(config, name) or getattr(step.config, name)
            for name in ("model_name", "provider_name", "called", "leave_out")
        }
        unjudged = {"judge": None, "calibrate_each": 0} if isinstance(step, ChatsStep) else {}
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
        seeds = self._config.run_seeds if seed is None else (seed,)
        items = {each: self._rows(evals.preference.items, "evals.preference.items", each) for each in seeds}
        makers = {source.step.name if isinstance(source, StepOutput) else "" for source in items.values()}
        shared = len(makers) == 1
        held_out = {"preference" if shared else f"preference-s{each}": source for each, source in items.items()}
        for task, config in evals.tasks.items():
            own = getattr(config, "items", None) not in {None, "shipped"}
            held_out[task] = self._task_files(task, Arm())[0]["items"] if own else EvalItems(task)
        return held_out

    def _names(self, spec: str) -> SpecNames:
        return SpecNames.of(spec, self._config.assistant)

    def _task_files(self, task: str, arm: Arm) -> tuple[dict[str, Input], dict[str, str]]:
        """Return the files that a task's settings are completed from, and which specs are among them."""
        config = self._config.evals.tasks[task]
        files: dict[str, Input] = {}
        if (items := getattr(config, "items", None)) not in {None, "shipped"}:
            files["items"] = self._outside(str(items), f"evals.{task}.items")
        references = {"spec": getattr(config, "spec", None), "context": arm.context}
        specs = {role: str(spec) for role, spec in references.items() if spec is not None}
        return files | {role: self._spec(spec) for role, spec in specs.items()}, specs

    def _stage_data(self, arm: Arm, stage: ArmStage, parent: Input, seed: int) -> tuple[Input, ...]:
        """Return the files that a stage is trained on; `parent` is the model that it starts from."""
        mixes = self._config.mixes
        match stage.kind:
            case "midtrain":
                data = [self._corpus(name, seed) for name in stage.data]
                data += [self._rows(mixes.replay, "mixes.replay", seed)] if mixes.replay else []
            case "finetune":
                data = []
                for name in stage.data:
                    if name in self._config.pressure:
                        data += self._pressure(name, seed)
                    elif name != IT_MIX:
                        data.append(self._chats(name, seed, cot=arm.cot))
                data += [self._rows(mixes.it_mix, "mixes.it_mix", seed)] if mixes.it_mix else []
            case "dpo":
                data = [self._pairs(name, parent, seed, cot=arm.cot) for name in stage.data]
            case "grpo":
                data = [each for name in stage.data for each in self._prompts(name, seed, cot=arm.cot)]
        return tuple(dict.fromkeys(data)) if stage.kind == "grpo" else tuple(data)

    def _pressure(self, name: str, seed: int) -> list[Input]:
        entry = self._config.pressure[name]
        rows = [self._file(each, f"pressure.{name}.rows", seed) for each in entry.rows]
        if entry.conflicting is None:
            return rows
        conflicting = self._chats(entry.conflicting, seed, cot=False)
        step = PressureStep(label=name, seed=seed, rows=tuple(rows), conflicting=conflicting, share=entry.share)
        return [StepOutput(self._add(step), CHATS_FILE)]

    def _pairs(self, name: str, parent: Input, seed: int, *, cot: bool) -> Input:
        entry = self._config.pairs[name]
        if entry.ranked_by:
            return self._ranked_pairs(name, parent, seed, cot=cot)
        if entry.file is not None:
            return self._file(entry.file, f"pairs.{name}.file", seed)
        sides = (entry.chosen or "", entry.rejected or "")
        chosen, rejected = (self._chats(side, seed, cot=cot) for side in sides)
        per_seed = any(map(self._is_per_seed, sides))
        has_twins = any(self._config.chats[self._config.chats[side].part_of or side].has_twins for side in sides)
        label = f"{name}+no-cot" if has_twins and not cot else name
        step = ReplyPairsStep(label=label, seed=seed if per_seed else None, chosen=chosen, rejected=rejected)
        return StepOutput(self._add(step), PAIRS_FILE)

    def _ranked_pairs(self, name: str, parent: Input, seed: int, *, cot: bool) -> Input:
        entry = self._config.pairs[name]
        prompts = dict.fromkeys(source for each in entry.ranked_by for source in self._prompts(each, seed, cot=cot))
        if len(prompts) > 1:
            hint = "Name rewards of the same prompts, or several pairs in the stage"
            raise ConfigError("its rewards have more than one file of prompts", where=f"pairs.{name}", hint=hint)
        by = f"{parent.step.kind}:{parent.step.label}" if isinstance(parent, StepOutput) else "base model"
        rewards = tuple(self._config.rewards[each].reward for each in entry.ranked_by)
        sampling = {"n_replies": entry.n_replies, "max_new_tokens": entry.max_new_tokens, "seed": seed}
        config = RankingConfig.model_validate({"rewards": rewards, **sampling})
        step = RankedPairsStep(
            label=f"{name} by {by}",
            seed=seed,
            model=parent,
            prompts=next(iter(prompts)),
            config=config,
            judge=self._endpoints.judge,
        )
        return StepOutput(self._add(step), PAIRS_FILE)

    def _prompts(self, name: str, seed: int, *, cot: bool) -> list[Input]:
        """Return a reward's prompts: chats, files, or the questions of its task."""
        entry, chats = self._config.rewards[name], self._config.chats
        if entry.prompts:
            where = f"rewards.{name}.prompts"
            return [
                self._chats(each, seed, cot=cot) if each in chats else self._file(each, where, seed)
                for each in entry.prompts
            ]
        return [StepOutput(self._add(TaskPromptsStep(label=name, reward=entry.reward)), PROMPTS_FILE)]
