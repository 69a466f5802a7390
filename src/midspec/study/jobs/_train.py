"""The steps that train a stage, a kind for each stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import JsonValue

from midspec.core.artifact import Built
from midspec.core.fingerprint import fingerprint
from midspec.core.records import Record
from midspec.llm import Access
from midspec.study._inputs import File, Input, Model, TokenizerFolder
from midspec.study._step import Job, Saved, Size, Step, StepOutput
from midspec.study.jobs._chats import ChatsStep
from midspec.study.jobs._corpus import CorpusStep
from midspec.train import KEPT_PREFIX, UPDATE_FLOORS, Stage, last_checkpoint

if TYPE_CHECKING:
    from midspec.evals import TaskReward
    from midspec.models import ModelShape
    from midspec.train import Progress, Recipe, Reward, RewardEntry, TrainExecution, TrainJob

_N_UPDATES_UNKNOWN = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainStep(Step):
    """A checkpoint; each stage is a kind of its own.

    Attributes:
        recipe: of the training.
        data: files of rows, in order.
        parent: the checkpoint it starts from; none from scratch.
        tokenizer: of a model from scratch.
        architecture: of a model from scratch: a transformers config.
        execution: about the run only.
    """

    resumable = True
    kind: ClassVar[Stage]
    seed: int
    recipe: Recipe
    data: tuple[Input, ...]
    parent: Input | None = None
    tokenizer: Input | None = None
    architecture: dict[str, JsonValue] | None = None
    execution: TrainExecution | None = None

    @staticmethod
    def of_job(job: TrainJob, judge: Access | None = None) -> TrainStep:
        """Create the step for a training job outside a study; `judge` is how the judge of a reward is reached."""
        kind = TRAIN_STEPS[job.stage]
        return (partial(GrpoStep, judge=judge) if judge is not None and kind is GrpoStep else kind)(
            seed=job.seed,
            recipe=job.recipe,
            data=tuple(File.at(Path(path)) for path in job.data),
            parent=Model(job.parent) if job.parent is not None else None,
            tokenizer=TokenizerFolder(job.tokenizer) if job.tokenizer is not None else None,
            architecture=job.architecture,
            execution=job.execution,
        )

    @property
    def n_devices(self) -> int:
        return (self.execution and self.execution.processes) or 1

    @property
    def inputs(self) -> dict[str, Input]:
        models = {"tokenizer": self.tokenizer, "parent": self.parent}
        data: dict[str, Input] = {f"data[{index}]": source for index, source in enumerate(self.data)}
        return data | {role: source for role, source in models.items() if source is not None}

    @property
    def settings(self) -> dict[str, JsonValue]:
        architecture: dict[str, JsonValue] = {"architecture": self.architecture} if self.architecture else {}
        return {"seed": self.seed, "recipe": self.recipe.identity(), **architecture}

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.train import TrainExecution, TrainJob, train

        stage = TrainJob(
            stage=self.kind,
            parent=job.locate(self.parent) if self.parent else None,
            architecture=self.architecture,
            tokenizer=job.locate(self.tokenizer) if self.tokenizer else None,
            data=tuple(job.locate(source) for source in self.data),
            recipe=self.recipe,
            seed=self.seed,
            execution=self.execution or TrainExecution(),
        )

        def show(progress: Progress) -> None:
            job.on_progress(progress.update, progress.n_updates, f"loss {progress.loss:.3f}")

        return train(
            stage, folder, on_progress=show, device=job.device, rewards=self.rewards(job), keep_checkpoints=True
        )

    def saved(self, folder: Path) -> Saved | None:
        """Return the last complete checkpoint, and with it the models that the recipe keeps from updates before."""
        if (last := last_checkpoint(folder)) is None:
            return None
        kept = [folder / f"{KEPT_PREFIX}{n_updates}" for n_updates in self.recipe.keep_updates]
        files = [path for place in (last, *kept) for path in sorted(place.rglob("*")) if path.is_file()]
        return Saved(int(last.name.rpartition("-")[2]), tuple(path.relative_to(folder).as_posix() for path in files))

    def rewards(self, _job: Job) -> Mapping[str, Reward]:
        """Return the rewards that the recipe takes from evaluation tasks, by their entries' names."""
        return {}

    # Sizes before it is made ------------------------------------------------------------------------------------

    def size(self, summary: Mapping[str, JsonValue]) -> Size:
        expected, done = self.updates_expected(), summary.get("n_updates")
        updates = (done if isinstance(done, int) else 0) or self.recipe.n_updates or expected
        about = updates is not None and updates == expected and not summary and self.recipe.n_updates is None
        tokens = updates * self._tokens_per_update if updates else self._tokens_expected()
        return Size(updates=updates, tokens=tokens, about=about or updates is None)

    def operations(self, shape: ModelShape, tokens: int) -> float | None:
        """Estimate the operations of training on so many tokens; `None` where the model writes what it trains on."""
        recipe = self.recipe
        return shape.training_operations(tokens, recipe.row_tokens, is_lora=recipe.method == "lora")

    def _tokens_expected(self) -> int | None:
        """Estimate the tokens of all data, padding left out; `None` where some are not known."""
        tokens = [step.size({}).tokens if step is not None else None for step in self._writers()]
        known = [each for each in tokens if each]
        return sum(known) * (self.recipe.n_epochs or 1) if known and len(known) == len(tokens) else None

    @property
    def floor(self) -> int:
        """Return the least number of updates that the recipe allows."""
        least = self.recipe.min_updates
        return UPDATE_FLOORS[self.kind] if least is None else least

    def updates_expected(self) -> int | None:
        """Estimate how many updates the data makes, where all of it is corpora with target tokens."""
        writers = self._writers()
        tokens = [step.config.target_tokens or 0 if isinstance(step, CorpusStep) else 0 for step in writers]
        if not tokens or not all(tokens):
            return None
        return sum(tokens) * (self.recipe.n_epochs or 1) // self._tokens_per_update

    def most_updates(self) -> int | None:
        """Return the most updates that the data can make, where all of it is chats of a known number.

        A chat is never split, so packed rows are never more than chats.
        """
        writers = self._writers()
        chats = [step.size({}).documents or 0 if isinstance(step, ChatsStep) else 0 for step in writers]
        if not chats or not all(chats):
            return None
        return -(-sum(chats) * (self.recipe.n_epochs or 1) // self.recipe.rows_per_update)

    def _writers(self) -> list[Step | None]:
        """Return the step behind each file of data; `None` for a file outside."""
        return [source.step if isinstance(source, StepOutput) else None for source in self.data]

    @property
    def _tokens_per_update(self) -> int:
        return self.recipe.rows_per_update * self.recipe.row_tokens


@dataclass(frozen=True, kw_only=True, eq=False)
class PretrainStep(TrainStep):
    """A base model, trained from scratch or on from another."""

    kind = "pretrain"


@dataclass(frozen=True, kw_only=True, eq=False)
class MidtrainStep(TrainStep):
    """A model midtrained on documents."""

    kind = "midtrain"


@dataclass(frozen=True, kw_only=True, eq=False)
class FinetuneStep(TrainStep):
    """A model fine-tuned on chats."""

    kind = "finetune"


@dataclass(frozen=True, kw_only=True, eq=False)
class DpoStep(TrainStep):
    """A model trained on pairs of a better and a worse reply."""

    kind = "dpo"

    def operations(self, shape: ModelShape, tokens: int) -> float | None:
        recipe = self.recipe
        return shape.training_operations(tokens, recipe.row_tokens, is_lora=recipe.method == "lora", passes=1)

    @property
    def _tokens_per_update(self) -> int:
        return 2 * super()._tokens_per_update


@dataclass(frozen=True, kw_only=True, eq=False)
class GrpoStep(TrainStep):
    """A model trained on rewards of its own replies to prompts.

    Attributes:
        judge: how the judge of a reward is reached; no part of the identity.
    """

    kind = "grpo"
    judge: Access = Access()

    def operations(self, _shape: ModelShape, _tokens: int) -> float | None:
        return None

    @property
    def settings(self) -> dict[str, JsonValue]:
        rewards = task_rewards(self._entries, self.judge, Path())
        made: dict[str, JsonValue] = {name: reward.identity for name, reward in rewards.items()}
        return super().settings | ({"rewards": made} if made else {})

    def rewards(self, job: Job) -> Mapping[str, Reward]:
        return task_rewards(self._entries, self.judge, job.store)

    def check_rewards(self) -> None:
        """Refuse a reward that can't be made: an unknown rule, a wrong setting, a judge that is missing.

        Raises:
            ConfigError: see above.
        """
        from midspec.train import RewardSum

        RewardSum(self._entries, task_rewards(self._entries, self.judge, Path()))

    @property
    def _entries(self) -> Sequence[RewardEntry]:
        return self.recipe.grpo.rewards if self.recipe.grpo is not None else ()


def task_rewards(entries: Sequence[RewardEntry], judge: Access, store: Path) -> dict[str, TaskReward]:
    """Make the rewards that evaluation tasks pay, by their entries' names.

    Args:
        entries: of a recipe.
        judge: how judges are reached.
        store: the file of their replies.

    Raises:
        ConfigError: there is no such task or measure, a setting is wrong, or a judge is missing.
    """
    from midspec.evals import TaskReward

    return {
        entry.name: TaskReward(entry.task, entry.measure, entry.settings, judge=entry.judge, access=judge, store=store)
        for entry in entries
        if entry.task is not None and entry.measure is not None
    }


@dataclass(frozen=True)
class TrainedModel(StepOutput):
    """The model at the end of a training step.

    Its digest leaves out the checkpoints kept on the way: what is trained on from the end stays as it is when a study
    comes to keep one.
    """

    def digest(self, records: Mapping[str, Record]) -> str:
        record = records[self.step.name]
        own = {name: hash_ for name, hash_ in record.outputs.items() if not name.startswith(KEPT_PREFIX)}
        return record.digest if len(own) == len(record.outputs) else fingerprint(own)


def kept_checkpoint(step: TrainStep, n_updates: int) -> StepOutput:
    """Return the model that a training step keeps after so many updates."""
    return StepOutput(step, f"{KEPT_PREFIX}{n_updates}/")


def under_adapter(model: Model) -> Model:
    """Return the weights under an adapter from outside; a model without one as it is.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    from midspec.models import find_checkpoint

    found = find_checkpoint(model.name)
    return model if found.adapter is None else Model(found.model)


@dataclass(frozen=True, kw_only=True, eq=False)
class MergeStep(Step):
    """A model whose adapter is added to the weights under it, in float32.

    Attributes:
        model: with its adapter.
    """

    kind = "merge"
    model: Input

    @property
    def settings(self) -> dict[str, JsonValue]:
        return {}

    @classmethod
    def of(cls, model: Input, seed: int) -> MergeStep:
        """Create the step for the end of a training step, or for a model from outside, which all seeds share."""
        if isinstance(model, StepOutput):
            return cls(label=f"{model.step.kind}:{model.step.label}", seed=seed, model=model)
        return cls(label="base model", model=model)

    def run(self, job: Job, folder: Path) -> Built:
        from midspec.train import merge_adapter

        return merge_adapter(job.locate(self.model), folder)


def training_cost(recipe: Recipe) -> float:
    """Return a training step's rough size, for the order of work."""
    return recipe.n_updates or _N_UPDATES_UNKNOWN


TRAIN_STEPS: dict[Stage, type[TrainStep]] = {
    "pretrain": PretrainStep,
    "midtrain": MidtrainStep,
    "finetune": FinetuneStep,
    "dpo": DpoStep,
    "grpo": GrpoStep,
}
STEPS = (*TRAIN_STEPS.values(), MergeStep)
