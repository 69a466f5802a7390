"""The model that a stage starts from (a parent's weights or adapter, a fresh adapter, fresh weights), and saving it."""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from midspec.core.artifact import write_text
from midspec.core.errors import CheckpointError, ConfigError, FolderError, MidspecError, PreflightError
from midspec.models import (
    ChatTemplate,
    find_checkpoint,
    load_model,
    load_tokenizer,
    quiet,
    refuse_second_adapter,
    tokenizer_of,
)
from midspec.train._job import LoraRecipe, TrainJob


def open_tokenizer(job: TrainJob) -> Any:
    """Open the tokenizer that a job trains with: its parent's, or the one it names.

    Raises:
        CheckpointError: it does not open.
    """
    if job.parent is not None:
        return tokenizer_of(find_checkpoint(job.parent))
    return load_tokenizer(str(job.tokenizer))


def open_start(job: TrainJob, tokenizer: Any, *, dtype: torch.dtype) -> Any:
    """Open the model as it is before its first update, on the CPU.

    Fresh weights and fresh adapters are drawn from `job.seed`. A parent's adapter is trained further; a second one is
    never put over it.

    Args:
        job: what to train.
        tokenizer: from `open_tokenizer`.
        dtype: of frozen weights; trained ones are always float32.

    Raises:
        CheckpointError: the parent does not open, or its kind does not fit the method.
        ConfigError: the architecture or the adapter's settings don't fit.
    """
    torch.manual_seed(job.seed)
    if job.parent is None:
        return _build_model(job, tokenizer)
    checkpoint = find_checkpoint(job.parent)
    lora = job.recipe.method == "lora"
    if checkpoint.adapter is not None and not lora:
        raise CheckpointError(
            "the parent is an adapter, and all weights can't be trained through it",
            where=job.parent,
            hint="Set recipe.method to lora, or merge the adapter into its base",
        )
    model = load_model(checkpoint, dtype=dtype if lora else torch.float32, trainable=True)
    if checkpoint.adapter is not None:
        return _check_adapter(model, job.recipe.lora, checkpoint.adapter)
    return _add_fresh_adapter(model, job.recipe.lora, job.parent) if lora else model


def _build_model(job: TrainJob, tokenizer: Any) -> Any:
    given = dict(job.architecture or {})
    kind = str(given.pop("model_type"))
    specials = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    try:
        config = AutoConfig.for_model(kind, **{"vocab_size": len(tokenizer), **specials, **given})
        with quiet():
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ConfigError(
            f"no {kind} model can be built ({' '.join(str(error).split())[:200]})",
            where="architecture",
            hint="Check the names and sizes against transformers' configuration of that model_type",
        ) from error


def _add_fresh_adapter(model: Any, lora: LoraRecipe, where: str) -> Any:
    refuse_second_adapter(model, where)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        task_type="CAUSAL_LM",
        base_model_name_or_path=where,
    )
    try:
        with quiet():
            return get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError(
            f"no adapter fits ({' '.join(str(error).split())[:200]})",
            where="recipe.lora.target_modules",
            hint="Name modules that this architecture has",
        ) from error


def _check_adapter(model: PeftModel, lora: LoraRecipe, folder: str) -> PeftModel:
    """Return the parent's adapter, if the recipe does not ask for another kind of adapter."""
    config = model.active_peft_config
    found = LoraRecipe(
        r=config.r,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        target_modules=tuple(sorted(config.target_modules)),
    )
    wanted = lora.model_copy(update={"target_modules": tuple(sorted(lora.target_modules))})
    if found != wanted:
        differing = [name for name in LoraRecipe.model_fields if getattr(found, name) != getattr(wanted, name)]
        raise ConfigError(
            f"recipe.lora differs from the parent adapter in {', '.join(differing)}",
            where=str(Path(folder)),
            hint="Training on continues the same adapter: give the same settings",
        )
    return model


def refuse_misfit(model: Any, tokenizer: Any, longest: int, where: str) -> None:
    """Refuse tokens that the model has no embedding for, and pieces longer than its positions reach.

    Raises:
        CheckpointError: the tokenizer has more tokens than the model.
        PreflightError: a piece of `longest` tokens is too long for the model.
    """
    n_embedded = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > n_embedded:
        raise CheckpointError(
            f"the tokenizer has {len(tokenizer)} tokens and the model {n_embedded}",
            where=where,
            hint="Use the model's own tokenizer",
        )
    reach = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if reach is not None and longest > reach:
        raise PreflightError(
            f"a piece of {longest} tokens is longer than the model's {reach} positions",
            where=where,
            hint="Lower recipe.row_tokens",
        )


_DISK_FULL = re.compile(r"\(os error \d+\)|PytorchStreamWriter")
_DISK_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what torch and the Rust libraries raise when a disk is full into a `FolderError`.

    They raise no `OSError`: safetensors its own type, tokenizers a bare `Exception` that ends in "(os error 28)",
    torch a `RuntimeError` about its writer. Everything else passes.
    """
    try:
        yield
    except Exception as error:
        full = isinstance(error, OSError) and not isinstance(error, MidspecError) and error.errno in _DISK_FULL_ERRNOS
        known = full or type(error) in {Exception, RuntimeError, SafetensorError}
        if not known or not (full or _DISK_FULL.search(str(error))):
            raise
        reason = " ".join(str(error).split())[:160]
        raise FolderError(
            f"can't be written ({reason})", where=str(folder), hint="Free space or choose another --out"
        ) from error


def refuse_full_disk(model: Any, folder: Path) -> None:
    """Refuse to begin where the disk has no room for two checkpoints (a new one is written before the old is removed).

    A checkpoint holds what the result holds, and AdamW's two running means in float32 for every trained weight. Files
    that an interrupted run left in `folder` count as room: they are replaced.

    Raises:
        FolderError: the disk has less room.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    saved = trained if isinstance(model, PeftModel) else list(model.parameters())
    checkpoint = sum(weight.nbytes for weight in saved) + sum(2 * 4 * weight.numel() for weight in trained)
    left_before = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    room = shutil.disk_usage(folder).free + left_before
    if room < 2 * checkpoint:
        raise FolderError(
            f"the disk has {room / 1e6:,.1f} MB of room, and training needs {2 * checkpoint / 1e6:,.1f} MB",
            where=str(folder),
            hint="Free space or choose another --out",
        )


def save_model(model: Any, tokenizer: Any, folder: Path) -> tuple[str, ...]:
    """Write weights (or the adapter), configuration and tokenizer; returns the files that are the result.

    An adapter's `adapter_config.json` names its base as the user named it; a folder by its full path, so that the
    adapter opens from anywhere. The file is then not part of the result: a place is no content.
    """
    before = {path.name for path in folder.iterdir()}
    if isinstance(model, PeftModel):
        config = model.active_peft_config
        base = Path(config.base_model_name_or_path).expanduser()
        if base.is_dir():
            config.base_model_name_or_path = str(base.resolve())
            before.add("adapter_config.json")
        with quiet():
            model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        # PEFT writes sets in the order of their hashes, which differs between processes.
        data = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        settled = {
            key: sorted(value) if key.endswith("_modules") and isinstance(value, list) else value
            for key, value in data.items()
        }
        write_text(folder / "adapter_config.json", json.dumps(settled, indent=2, sort_keys=True) + "\n")
    else:
        model.config.use_cache = True
        ends = list(ChatTemplate(tokenizer).end_ids)
        generation = model.generation_config or GenerationConfig()
        generation.eos_token_id = ends[0] if len(ends) == 1 else ends
        generation.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
        generation.bos_token_id = tokenizer.bos_token_id
        model.generation_config = generation
        with quiet():
            model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tuple(sorted({path.name for path in folder.iterdir() if path.is_file()} - before))
