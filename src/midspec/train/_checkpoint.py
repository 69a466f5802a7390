"""The model that a stage starts from (a parent's weights or adapter, a fresh adapter or weights), saved and merged."""

from __future__ import annotations

import errno
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from midspec.core.artifact import CHECKPOINTS, Built, write_text
from midspec.core.errors import (
    CheckpointError,
    ConfigError,
    FolderError,
    MidspecError,
    PreflightError,
    note,
)
from midspec.models import (
    OPENING_ERRORS,
    ChatTemplate,
    copy_vocabularies,
    find_checkpoint,
    generation_ends,
    lacks_memory,
    load_model,
    load_tokenizer,
    open_merged,
    opened_name,
    quiet,
    rope_switch_in,
    router_logits_as_read,
    set_template_defaults,
    tokenizer_of,
)
from midspec.train._adapter import add_fresh_adapter, check_parent_adapter
from midspec.train._job import TrainJob, last_checkpoint
from midspec.train._pack import Piece


def open_tokenizer(job: TrainJob) -> Any:
    """Open the tokenizer that a job trains with: its parent's, or the one it names; with the recipe's defaults.

    Raises:
        CheckpointError: it does not open.
        ConfigError: recipe.template_args names what is no switch of a template.
    """
    found = job.parent
    tokenizer = tokenizer_of(find_checkpoint(found)) if found is not None else load_tokenizer(str(job.tokenizer))
    return set_template_defaults(tokenizer, job.recipe.template_args, job.recipe.default_system)


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
        return check_parent_adapter(model, job.recipe.lora, checkpoint.adapter)
    return add_fresh_adapter(model, job.recipe.lora, opened_name(checkpoint.model)) if lora else model


def _build_model(job: TrainJob, tokenizer: Any) -> Any:
    given = dict(job.architecture or {})
    kind = str(given.pop("model_type"))
    specials = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    try:
        config = AutoConfig.for_model(kind, **{"vocab_size": len(tokenizer), **specials, **given})
        with quiet(), torch.no_grad():
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
            # Sizes that don't fit each other are seen as it computes; outside training no random number is drawn.
            model.eval()(input_ids=torch.zeros(1, 2, dtype=torch.long), use_cache=False)
        return model.train()
    except OPENING_ERRORS as error:
        raise ConfigError(
            f"no {kind} model can be built ({' '.join(str(error).split())[:200]})",
            where="architecture",
            hint="Check the names and sizes against transformers' configuration of that model_type",
        ) from error


def refuse_misfit(model: Any, tokenizer: Any, pieces: Sequence[Piece], longest: int, where: str) -> None:
    """Refuse tokens that the model has no embedding for, and pieces longer than its positions reach.

    A tokenizer may know more tokens than the model, as long as no row uses them (Gemma 3 1B has one for images).

    Args:
        model: before its first update.
        tokenizer: its tokenizer.
        pieces: all that it is given.
        longest: tokens of the longest sequence, with those that it generates.
        where: names the parent in an error.

    Raises:
        CheckpointError: a row uses a token that the model lacks.
        PreflightError: a piece is too long for the model.
    """
    n_embedded = model.get_input_embeddings().weight.shape[0]
    last = max(int(piece.ids.max()) for piece in pieces)
    if last >= n_embedded:
        raise CheckpointError(
            f"the tokenizer has {len(tokenizer)} tokens and the model {n_embedded}, and a row uses "
            f"{tokenizer.convert_ids_to_tokens(last)!r} ({last})",
            where=where,
            hint="Use the model's own tokenizer, or rows without that token",
        )
    reach = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if reach is not None and longest > reach:
        raise PreflightError(
            f"a piece of {longest} tokens is longer than the model's {reach} positions",
            where=where,
            hint="Lower recipe.row_tokens",
        )
    if (switch := rope_switch_in(model.config)) is not None and longest > switch:
        note(
            f"pieces of more than {switch:,} tokens change the positions (longrope) of all that is computed with them, "
            f"so that the loss depends on micro_batch; row_tokens of {switch:,} avoids it",
            where,
        )


def drop_incomplete(folder: Path) -> None:
    """Remove checkpoints in `folder` that are not written to their end: only what one can go on from takes room."""
    last = last_checkpoint(folder)
    for path in (folder / CHECKPOINTS).glob("*"):
        if path != last and not path.name.endswith(DAMAGED):
            shutil.rmtree(path, ignore_errors=True)


def goes_on(folder: Path) -> str:
    """Say for a hint from which update the same command goes on, where it does not begin anew."""
    last = last_checkpoint(folder)
    return "" if last is None else f"; the same command goes on after update {last.name.rpartition('-')[2]}"


@contextmanager
def fitting(what: str, where: str, hint: str, folder: Path | None = None) -> Iterator[None]:
    """Turn a memory that is too small for `what` into one `ConfigError`.

    Args:
        what: what takes the memory.
        where: the setting or checkpoint that decides about it.
        hint: what to do.
        folder: that may hold a checkpoint from which the same command goes on.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        more = "" if folder is None else goes_on(folder)
        raise ConfigError(f"the memory is too small for {what}", where=where, hint=hint + more) from error


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
        hint = f"Free space or choose another --out{goes_on(folder)}"
        raise FolderError(f"can't be written ({reason})", where=str(folder), hint=hint) from error


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


_TRIED_BYTES = 2 * 2**30
_TOKEN_IDS = ("eos_token_id", "pad_token_id", "bos_token_id")
_SAVING = (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, RuntimeError, SafetensorError)


def try_saving(model: Any, tokenizer: Any, folder: Path, where: str) -> None:
    """Save the model as it starts, and remove what was written: a fault of saving is found before training.

    All weights of a model over 2 GiB are not written twice; what goes wrong with them is the disk's, and its room is
    counted by `refuse_full_disk`.

    Args:
        model: before its first update.
        tokenizer: its tokenizer.
        folder: where the result will be.
        where: names the parent in an error.

    Raises:
        CheckpointError: it can't be saved.
        FolderError: the disk is full.
    """
    small = isinstance(model, PeftModel) or sum(weight.nbytes for weight in model.parameters()) <= _TRIED_BYTES
    cached = getattr(model.config, "use_cache", None)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".trial-") as trial:
        try:
            with writing(folder):
                if small:
                    save_model(model, tokenizer, Path(trial))
                else:
                    settle_generation(model, tokenizer)
                    settle_tying(model)
                    model.config.save_pretrained(trial)
                    model.generation_config.save_pretrained(trial)
                    tokenizer.save_pretrained(trial)
        except MidspecError:
            raise
        except _SAVING as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"the trained model could not be saved ({reason})",
                where=where,
                hint="Mend the parent's files, or save it again with transformers",
            ) from error
    if cached is not None:
        model.config.use_cache = cached


def settle_generation(model: Any, tokenizer: Any) -> None:
    """Give the model the generation settings that it is saved with.

    Its ends are the template's and the tokenizer's, and all that the parent named (Gemma names two). Sampling settings
    without `do_sample`, which transformers refuses to save once another setting has changed (Vicuna, the first
    Llama 2), get it; servers sample by them either way.
    """
    where = str(tokenizer.name_or_path)
    generation = model.generation_config or GenerationConfig()
    ends = list(ChatTemplate(tokenizer, ends=generation_ends(model)).end_ids)
    generation.eos_token_id = ends[0] if len(ends) == 1 else ends
    generation.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    generation.bos_token_id = tokenizer.bos_token_id
    model.generation_config = _valid(generation, where)


def settle_tying(model: Any) -> None:
    """Say in the configuration that input and output embedding are two matrices, where they are two and differ.

    A parent may say `tie_word_embeddings` over two (transformers then opens both); a reader that believes it computes
    logits by the input's.
    """
    source, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is None or head.weight is source.weight or torch.equal(head.weight, source.weight):
        return
    for part in (model.config, model.config.get_text_config()):
        part.tie_word_embeddings = False


def _valid(generation: GenerationConfig, where: str) -> GenerationConfig:
    """Return settings that transformers saves; says what was changed."""
    reason = _invalid(generation)
    if not reason:
        return generation
    greedy = {"temperature": 1.0, "top_k": 1} if generation.temperature == 0 else {}  # no 0 where one samples
    sampled = GenerationConfig.from_dict({**generation.to_dict(), "do_sample": True, **greedy})
    if not _invalid(sampled):
        note("generation_config.json sets sampling without do_sample; it is saved with do_sample: true", where)
        return sampled
    note(f"generation_config.json is not valid ({reason}); only its token ids are saved", where)
    return GenerationConfig(**{name: getattr(generation, name) for name in _TOKEN_IDS})


def _invalid(generation: GenerationConfig) -> str:
    """Return why transformers would not save these settings; empty where it would."""
    with quiet():
        try:
            generation.validate(strict=True)
        except ValueError as error:
            return " ".join(str(error).split())[:160]
    return ""


DAMAGED = ".damaged"  # ends the name of a half-way checkpoint that no run can go on from
_UNFINISHED = ".unfinished"


def save_model(model: Any, tokenizer: Any, folder: Path) -> tuple[str, ...]:
    """Write weights (or the adapter), configuration and tokenizer; returns the files that are the result.

    An adapter's `adapter_config.json` names its base as the user named it; a folder by its full path, so that the
    adapter opens from anywhere. The file is then not part of the result: a place is no content.

    They are written apart and moved when all are whole, so that what an interrupted run left is never taken for them.
    """
    apart, place_in_config = folder / _UNFINISHED, False
    shutil.rmtree(apart, ignore_errors=True)
    apart.mkdir()
    try:
        if isinstance(model, PeftModel):
            place_in_config = _save_adapter(model, apart)
        else:
            model.config.use_cache = True
            settle_generation(model, tokenizer)
            settle_tying(model)
            with quiet(), router_logits_as_read(model):
                model.save_pretrained(apart)
        tokenizer.save_pretrained(apart)
        copy_vocabularies(tokenizer, apart)
        names = sorted(path.name for path in apart.iterdir() if path.is_file())
        for path in sorted(apart.iterdir()):
            if path.is_dir():
                shutil.rmtree(folder / path.name, ignore_errors=True)
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(apart, ignore_errors=True)
    return tuple(name for name in names if not (place_in_config and name == "adapter_config.json"))


def _save_adapter(model: PeftModel, folder: Path) -> bool:
    """Write the adapter; returns whether its configuration names a place on this machine."""
    config = model.active_peft_config
    base = Path(config.base_model_name_or_path).expanduser()
    if base.is_dir():
        config.base_model_name_or_path = str(base.resolve())
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
    return base.is_dir()


def merge_adapter(name: str, folder: Path) -> Built:
    """Write the model of that name with its adapter added to its weights, in float32, into `folder`.

    In bfloat16 a weak adapter is mostly rounded away: of a change of 0.0120 in the logits of SmolLM2-135M 0.0080 were
    lost (PEFT 0.21.2).

    Raises:
        CheckpointError: it has no adapter, it does not open, it can't be merged, or it answers otherwise afterwards.
        FolderError: the disk is full.
    """
    model, tokenizer, merged = open_merged(find_checkpoint(name))
    with writing(folder):
        outputs = save_model(model, tokenizer, folder)
    return Built(outputs=outputs, summary={"adapter_effect": merged.effect, "merging_error": merged.error})
