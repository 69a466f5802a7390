"""A training job (hyperparameters, data, parent), from YAML or Python, and the records of what it does."""

from __future__ import annotations

import errno
import operator
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, JsonValue, model_validator

from midspec.core.artifact import CHECKPOINTS, locked
from midspec.core.errors import FolderError, InUseError
from midspec.core.records import Strict
from midspec.train._rl_recipe import DpoRecipe, GrpoRecipe

Stage = Literal["pretrain", "midtrain", "finetune", "dpo", "grpo"]
Share = Annotated[float, Field(ge=0, le=1)]

# About memory and speed alone: other values give the same result.
_NO_IDENTITY = frozenset({"micro_batch"})
# Came after results were made without them: at its default such a field leaves a result's identity as it was.
_ADDED_LATER: frozenset[str] = frozenset({"default_system", "control_tokens", "pack", "dpo", "grpo", "keep_updates"})
_LORA_ADDED_LATER: frozenset[str] = frozenset({"target_parameters"})

KEPT_PREFIX = "checkpoint-"
"""Of the folders, in a stage's result, of the checkpoints that the recipe's `keep_updates` names."""

UPDATE_FLOORS: dict[str, int] = {"pretrain": 100, "midtrain": 100, "finetune": 30, "dpo": 20, "grpo": 20}

DIVIDED_STAGES = frozenset({"pretrain", "midtrain", "finetune"})
"""The stages that several processes can train together."""


class LoraRecipe(Strict):
    """A low-rank adapter; the defaults are those of the paper (arXiv 2605.02087).

    `target_modules` are names of linear layers, `all-linear`, or one pattern (a regular expression for the full
    names, as in PEFT). Where a parent's adapter is trained further, what is not set here is the parent's.
    `target_parameters` are weights that are no layers of their own, as the experts of a mixture are
    (`experts.gate_up_proj`).
    """

    r: int = Field(64, ge=1)
    alpha: int = Field(128, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] | str = (
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    )
    target_parameters: tuple[str, ...] = ()


class Recipe(Strict):
    """Hyperparameters: with the data, the parent and the seed, they identify the result.

    `rows_per_update` packed rows of at most `row_tokens` tokens make an update; `micro_batch` of them go through
    the model at once (memory only: it does not count towards the identity; by default as many as keep memory low).
    `n_updates` asks for exactly that many; `min_updates` is the floor under which training is refused (100; 30 for
    finetuning). `precision` "auto" is bfloat16 on a GPU, and on a CPU for models of hidden size 256 and more where it
    is measured to be faster. `overlong` says what happens to chats longer than a row.

    `template_args` are switches of the chat template (`enable_thinking`, say), and `default_system` is the system
    message of chats that bring none, in place of the template's own: both are saved with the checkpoint, as defaults
    of its chat template. `control_tokens` says what happens to a text that spells a control token (`<|im_end|>`): it
    is refused, tokenized as text ("escape"), or kept as control token. `pack` "auto" puts several documents in a row
    where the model keeps them apart, which is measured on it; else the same documents make the same updates, one
    document a row, padded.
    After each of `keep_updates` updates the model is kept as a checkpoint of its own, `checkpoint-N/` in the result.

    `dpo` and `grpo` are settings of these stages alone, which take `n_updates` updates of `rows_per_update` pairs or
    replies, and go through their data as often as that needs.
    """

    method: Literal["full", "lora"] = "full"
    lora: LoraRecipe = LoraRecipe()
    learning_rate: float = Field(1e-4, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    final_lr_fraction: Share = 0.0
    warmup_fraction: Share = 0.05
    warmup_updates: int | None = Field(None, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    n_epochs: int = Field(1, ge=1)
    rows_per_update: int = Field(16, ge=1)
    micro_batch: int | None = Field(None, ge=1)
    row_tokens: int = Field(4096, ge=2)
    n_updates: int | None = Field(None, ge=1)
    min_updates: int | None = Field(None, ge=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    overlong: Literal["refuse", "drop", "cut"] = "refuse"
    template_args: dict[str, JsonValue] = Field(default_factory=dict)
    default_system: str | None = None
    control_tokens: Literal["refuse", "escape", "keep"] = "refuse"
    pack: Literal["auto", "always", "never"] = "auto"
    dpo: DpoRecipe | None = None
    grpo: GrpoRecipe | None = None
    keep_updates: tuple[Annotated[int, Field(ge=1)], ...] = ()

    @model_validator(mode="after")
    def _micro_batch_divides(self) -> Recipe:
        if self.micro_batch is not None and self.rows_per_update % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} must divide rows_per_update {self.rows_per_update}")
        return self

    @model_validator(mode="after")
    def _keeps_before_the_end(self) -> Recipe:
        if self.n_updates is not None and (late := max(self.keep_updates, default=0)) >= self.n_updates:
            raise ValueError(
                f"keep_updates names {late}, and n_updates is {self.n_updates}: name updates before the last"
            )
        return self

    def check_stage(self, stage: Stage) -> None:
        """Refuse a recipe that is not of this stage.

        Raises:
            ValueError: a section of another stage, or a setting that `dpo` or `grpo` needs is missing or does not fit.
        """
        for name in ("dpo", "grpo"):
            if getattr(self, name) is not None and stage != name:
                raise ValueError(f"{name}: settings of stage {name}, and this is {stage}")
        if stage not in ("dpo", "grpo"):
            return
        if self.n_updates is None:
            raise ValueError(f"n_updates: {stage} needs it, and comparable arms have the same")
        if stage == "grpo" and (self.grpo is None or not self.grpo.rewards):
            raise ValueError("grpo: stage grpo needs this section, with its rewards")
        if self.grpo is not None and self.rows_per_update % self.grpo.group_size:
            what = f"rows_per_update {self.rows_per_update} must be a multiple of grpo.group_size"
            raise ValueError(f"{what} {self.grpo.group_size}")

    def identity(self) -> dict[str, JsonValue]:
        """Return the fields that identify a result."""
        values = self.model_dump(mode="json", exclude=set(_NO_IDENTITY))
        defaults = Recipe().model_dump(mode="json")
        values["lora"] = _without(values["lora"], defaults["lora"], _LORA_ADDED_LATER)
        return _without(values, defaults, _ADDED_LATER)


def _without(
    values: dict[str, JsonValue], defaults: dict[str, JsonValue], added_later: frozenset[str]
) -> dict[str, JsonValue]:
    """Leave out what came later and is at its default."""
    return {name: value for name, value in values.items() if name not in added_later or value != defaults[name]}


class TrainExecution(Strict):
    """How to run, apart from what results: memory, saving, threads. Not part of the identity.

    A half-way checkpoint is written every `save_every_s` seconds, or every `save_every_updates` updates if given.
    `threads` are CPU threads (default: MIDSPEC_THREADS, else 1). `processes` is over how many GPUs (or, without any,
    processes) the model is divided, for one that does not fit one of them (FSDP2).
    """

    gradient_checkpointing: bool = False
    save_every_s: float = Field(600.0, gt=0)
    save_every_updates: int | None = Field(None, ge=1)
    threads: int | None = Field(None, ge=1)
    processes: int | None = Field(None, ge=1)


def last_checkpoint(folder: Path) -> Path | None:
    """Return the last complete checkpoint that a run left in `folder`; its metrics are written last."""
    complete = [path for path in (folder / CHECKPOINTS).glob("checkpoint-*[0-9]") if (path / "metrics.jsonl").is_file()]
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


class TrainJob(Strict):
    """One stage of training.

    `parent` is a checkpoint folder, a hub name or a GGUF file (or `package:NAME` for one in an installed package).
    Pretraining from scratch gives `architecture` (a transformers configuration with its `model_type`) and a
    `tokenizer` folder instead. `data` are JSONL files of documents (`text`, or `content`) and chats (`messages`);
    they are put together, then shuffled with the seed. Stage dpo takes pairs (`prompt`, `chosen`, `rejected`),
    stage grpo prompts (`prompt`).
    """

    stage: Stage
    parent: str | None = None
    architecture: dict[str, JsonValue] | None = None
    tokenizer: str | None = None
    data: tuple[str, ...] = Field(min_length=1)
    recipe: Recipe = Recipe()
    seed: int = Field(0, ge=0, le=2**32 - 1)  # as numpy takes it
    execution: TrainExecution = TrainExecution()

    @model_validator(mode="after")
    def _check_start(self) -> TrainJob:
        if (self.parent is None) == (self.architecture is None):
            raise ValueError("give either a parent, or an architecture with a tokenizer")
        if self.architecture is None and self.tokenizer is not None:
            raise ValueError("tokenizer: a parent brings its own; leave it out")
        if self.architecture is not None:
            if self.stage != "pretrain":
                raise ValueError(f"architecture: only pretrain starts from scratch; {self.stage} needs a parent")
            if self.tokenizer is None:
                raise ValueError("tokenizer: an architecture needs a tokenizer folder")
            if "model_type" not in self.architecture:
                raise ValueError("architecture: model_type is missing (llama or qwen3, say)")
        if (self.execution.processes or 1) > 1 and self.stage not in DIVIDED_STAGES:
            raise ValueError(f"execution.processes: {self.stage} trains in one process")
        if self.stage == "pretrain" and self.recipe.method == "lora":
            raise ValueError("recipe.method: pretrain trains all weights; use full, or stage midtrain")
        try:
            self.recipe.check_stage(self.stage)
        except ValueError as error:
            raise ValueError(f"recipe.{error}") from error
        return self

    @property
    def floor(self) -> int:
        """The fewest updates that this job may train."""
        return self.default_floor if self.recipe.min_updates is None else self.recipe.min_updates

    @property
    def default_floor(self) -> int:
        """The floor of this stage when the recipe does not say another."""
        return UPDATE_FLOORS[self.stage]


class MetricsRow(Strict):
    """One update: mean loss over its trained-on tokens, rate, gradient norm before clipping, real tokens so far."""

    update: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int


class Trained(NamedTuple):
    """The rows of all updates of a stage, and what else it says of its health."""

    rows: Sequence[MetricsRow]
    summary: Mapping[str, JsonValue]


class Progress(NamedTuple):
    """How far a run has come; `seconds` since this process began its first update."""

    update: int
    n_updates: int
    loss: float
    tokens: int
    seconds: float


class Preflight(Strict):
    """What a run will do, counted over all its updates (all epochs) unless said otherwise.

    `n_documents` and `n_chats` were read; `n_split` documents are longer than a row and continue in the next,
    `n_cut` and `n_dropped` chats were too long. `n_rows` is packed rows in one epoch, each `row_width` tokens wide;
    `n_rows_unused` were left over by `n_updates`. `example` is the first row, the trained-on stretches in «».
    `n_untrained` rows of chats were cut before the assistant speaks; `notes` is what else was done with the rows, and
    `warnings` what is probably not wanted of them or of the chat template, a sentence each.
    Where `packed` is false, every document is a row of its own, and `row_width` the longest.
    """

    stage: str
    n_documents: int
    n_chats: int
    n_split: int
    n_cut: int
    n_dropped: int
    n_rows: int
    n_rows_unused: int
    row_width: int
    real_tokens: int
    padded_tokens: int
    supervised_tokens: int
    n_updates: int
    warmup_updates: int
    rows_per_update: int
    floor: int
    floor_lowered: bool
    example: str
    n_untrained: int = Field(default=0, exclude_if=operator.not_)
    notes: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    warnings: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    packed: bool = Field(default=True, exclude_if=bool)
    longest_tokens: int | None = Field(default=None, exclude=True)  # for the forecast of memory alone

    def lines(self) -> list[str]:
        """Show it for a person to read, one fact a line."""
        kinds = f"{self.n_documents:,} documents, {self.n_chats:,} chats"
        losses = f"{self.n_split:,} split, {self.n_cut:,} cut, {self.n_dropped:,} dropped"
        floor = f"; floor {self.floor:,}{' (lowered)' if self.floor_lowered else ''}"
        apart = "" if self.packed else ", one document in each"
        return [
            f"{self.stage}: {kinds} ({losses})",
            f"rows: {self.n_rows:,} of {self.row_width:,} tokens{apart}, {self.n_rows_unused:,} unused",
            f"tokens: {self.real_tokens:,} real, {self.padded_tokens:,} padding, {self.supervised_tokens:,} trained on",
            f"updates: {self.n_updates:,} of {self.rows_per_update} rows, warm-up {self.warmup_updates:,}{floor}",
            *(f"warning: {warning}" for warning in self.warnings),
            *(f"note: {note}" for note in self.notes),
            f"example, trained on in «»: {self.example}",
        ]


def check_folder(folder: Path) -> None:
    """Refuse a folder that can't be written, or that another process is writing; makes nothing.

    Args:
        folder: where `midspec.core.artifact.build` is to put a result.

    Raises:
        FolderError: the nearest folder above that exists is none, or can't be written.
        InUseError: another process is making a result there.
    """
    above = next(parent for parent in folder.absolute().parents if parent.exists())
    refusal = errno.ENOTDIR if not above.is_dir() else errno.EACCES if not os.access(above, os.W_OK | os.X_OK) else 0
    if refusal:
        raise FolderError(f"can't be written ({os.strerror(refusal)})", where=str(folder), hint="Choose another --out")
    draft = folder.with_name(f".{folder.name}.part")
    if (draft / ".lock").exists():
        try:
            with locked(draft):
                pass
        except InUseError as error:
            raise InUseError(error.what, where=str(folder), hint=error.hint) from error
