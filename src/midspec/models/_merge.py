"""A checkpoint as it leaves: its adapter merged into the base's weights, or beside them; opened again and compared."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import load_peft_weights
from safetensors.torch import save_file
from transformers import GenerationConfig

from midspec.core.artifact import write_text
from midspec.core.errors import CheckpointError, ConfigError
from midspec.core.records import Checkpoint
from midspec.models._chat import ChatTemplate
from midspec.models._for_readers import add_older_keys, copy_vocabularies
from midspec.models._open import (
    base_apart,
    cast_weights,
    load_model,
    open_config,
    router_logits_as_read,
    tokenizer_of,
)
from midspec.models._probes import Kept, compare_logits, probe_ids, probe_logits, without_adapter
from midspec.models._quiet import quiet

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Sums in another order differ by 1e-6 of the logits, and by less than 1e-3 of a weak adapter's effect (r 16, B of sd
# 0.0005 on SmolLM2-135M: effect 0.012 beside logits of 5).
_SAME_OF_LOGITS, _SAME_OF_EFFECT = 1e-5, 0.01
# LoRA r 16 on SmolLM2-135M, 12 updates of 1e-4, effect 0.22: merged and rounded to bfloat16 it keeps 61%, error 40%; at
# a tenth of it 17%. Computed in bfloat16 the error is 46% with the adapter beside its base, and 340% at a tenth.
_LOST, _WEAKENED, _NOISY = 0.1, 0.9, 0.5


class Exported(NamedTuple):
    """What was written, and how it compares with what was trained, on probes in float32.

    Attributes:
        files: names in the folder.
        dtype: of the weights.
        merged: the float32 weights with the adapter merged in, before they are rounded; `None` where nothing is merged.
        saved: the folder, opened again and computed in float32: what rounding the weights costs.
        served: the same computed in `dtype`, as a server does; `None` where that is float32.
        has_base: whether a base was there to compare with.
        lora_rank: of the adapter, where there is one.
        ends: tokens that end a turn: text -> id.
        notes: what a user must know, a sentence each.
    """

    files: tuple[str, ...]
    dtype: str
    merged: Kept | None
    saved: Kept
    served: Kept | None
    has_base: bool
    lora_rank: int | None
    ends: dict[str, int]
    notes: tuple[str, ...]


class _Start(NamedTuple):
    """The trained model in float32, with what its copies are compared with."""

    model: Any
    tokenizer: Any
    template: ChatTemplate
    probes: list[list[int]]
    trained: torch.Tensor
    base: torch.Tensor | None


def open_merged(checkpoint: Checkpoint) -> tuple[Any, Any, Kept]:
    """Open a checkpoint in float32 with its adapter merged into its weights.

    Returns:
        The model, its tokenizer, and how it compares with the adapter beside its base.

    Raises:
        CheckpointError: it has no adapter, it does not open, it can't be merged, or it answers otherwise afterwards.
    """
    if checkpoint.adapter is None:
        raise CheckpointError(
            "has no adapter to merge", where=checkpoint.model, hint="Name a checkpoint with an adapter"
        )
    start = _open_start(checkpoint, None)
    model = _merge(start.model, checkpoint, untie=False)
    merged = compare_logits(probe_logits(model, start.probes), start.trained, start.base)
    _refuse_other(merged, start, "the merged weights", checkpoint)
    return model, start.tokenizer, merged


def export_weights(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    parent: Checkpoint | None = None,
    dtype: str = "auto",
    temperature: float = 1.0,
    untie: bool = False,
) -> Exported:
    """Write all weights of a checkpoint, an adapter merged in (in float32), with tokenizer and generation_config.

    Args:
        checkpoint: from `find_checkpoint`.
        folder: an empty folder.
        parent: what a checkpoint of full weights was trained from, to compare with; an adapter brings its base.
        dtype: of the saved weights: "float32", "bfloat16", "float16", or "auto": that of the base's own files.
        temperature: written into generation_config.json, with `do_sample`.
        untie: give the output embedding weights of its own, so that an adapter on tied embeddings can be merged.

    Raises:
        CheckpointError: it does not open, the adapter can't be merged, or the copy has lost what training changed.
    """
    start = _open_start(checkpoint, parent)
    model, name = start.model, _dtype_name(dtype, checkpoint)
    merged, lora_rank = None, None
    if isinstance(model, PeftModel):
        lora_rank = _rank(model)
        model = _merge(model, checkpoint, untie=untie)
        merged = compare_logits(probe_logits(model, start.probes), start.trained, start.base)
        _refuse_other(merged, start, "the merged weights", checkpoint)
    chosen = _DTYPES[name]
    rounded = probe_logits(cast_weights(cast_weights(model, chosen), torch.float32), start.probes)
    model.config.use_cache = True
    model.generation_config = _generation(start, model.generation_config, temperature)
    with quiet(), router_logits_as_read(model):
        cast_weights(model, chosen).save_pretrained(folder)
        start.tokenizer.save_pretrained(folder)
    copy_vocabularies(start.tokenizer, folder, checkpoint.model, parent.model if parent is not None else None)
    add_older_keys(start.tokenizer, folder)
    del model
    start = start._replace(model=None)
    again = probe_logits(load_model(Checkpoint(model=str(folder)), dtype=torch.float32).eval(), start.probes)
    _refuse_other(compare_logits(again, rounded, start.base), start, "the saved folder, opened again,", checkpoint)
    saved = compare_logits(again, start.trained, start.base)
    notes = _judge(saved, start, name, checkpoint, is_adapter=merged is not None)
    served = None
    if name != "float32":
        low = load_model(Checkpoint(model=str(folder)), dtype=chosen).eval()
        served = compare_logits(probe_logits(low, start.probes), start.trained, start.base)
    notes += _served_notes(served, start, name)
    return _exported(start, folder, name, (merged, saved, served), lora_rank, notes)


def export_adapter(
    checkpoint: Checkpoint, folder: Path, *, base: str, opens_at: str, temperature: float = 1.0
) -> Exported:
    """Write an adapter with its tokenizer and a generation_config, over a base of the name that the user wants.

    Args:
        checkpoint: from `find_checkpoint`, with an adapter.
        folder: an empty folder.
        base: the base's name in adapter_config.json.
        opens_at: where that base is now, to open the folder again and compare.
        temperature: written into generation_config.json, with `do_sample`.

    Raises:
        CheckpointError: it does not open, is no adapter, or answers otherwise over that base.
    """
    if checkpoint.adapter is None:
        raise CheckpointError(
            "holds all weights, and no adapter", where=checkpoint.model, hint="Export it with --format merged"
        )
    start = _open_start(checkpoint, None)
    settings = json.loads((Path(checkpoint.adapter) / "adapter_config.json").read_text(encoding="utf-8"))
    settings |= {"base_model_name_or_path": base, "inference_mode": True}
    for key, value in settings.items():  # PEFT writes sets in the order of their hashes
        if key.endswith("_modules") and isinstance(value, list):
            settings[key] = sorted(value)
    write_text(folder / "adapter_config.json", json.dumps(settings, indent=2, sort_keys=True) + "\n")
    weights = {name: weight.contiguous() for name, weight in load_peft_weights(checkpoint.adapter, "cpu").items()}
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with quiet():
        start.tokenizer.save_pretrained(folder)
        _generation(start, start.model.generation_config, temperature).save_pretrained(folder)
    copy_vocabularies(start.tokenizer, folder, checkpoint.model)
    add_older_keys(start.tokenizer, folder)
    rank, notes = _rank(start.model), _adapter_notes(start, settings, changes_base=base_apart(checkpoint) is not None)
    start = start._replace(model=None)
    again = load_model(Checkpoint(model=opens_at, adapter=str(folder)), dtype=torch.float32).eval()
    saved = compare_logits(probe_logits(again, start.probes), start.trained, start.base)
    _refuse_other(saved, start, f"the saved adapter over {base}", checkpoint)
    _judge(saved, start, "float32", checkpoint, is_adapter=True)
    del again
    # A server's forward pass over the base as it is saved, the adapter beside it.
    name, served = _dtype_name("auto", Checkpoint(model=opens_at)), None
    if name != "float32":
        low = load_model(Checkpoint(model=opens_at, adapter=str(folder)), dtype=_DTYPES[name]).eval()
        served = compare_logits(probe_logits(low, start.probes), start.trained, start.base)
    notes += _served_notes(served, start, name)
    kind = {weight.dtype for weight in weights.values()}.pop()
    return _exported(start, folder, str(kind).removeprefix("torch."), (None, saved, served), rank, notes)


def _open_start(checkpoint: Checkpoint, parent: Checkpoint | None) -> _Start:
    tokenizer = tokenizer_of(checkpoint)
    template = ChatTemplate(tokenizer)
    probes = probe_ids(
        template, getattr(open_config(checkpoint.model).get_text_config(), "max_position_embeddings", None)
    )
    base, apart = None, base_apart(checkpoint) if checkpoint.adapter else parent
    if apart is not None:  # before the other is opened: one in memory at a time
        base = probe_logits(load_model(apart, dtype=torch.float32).eval(), probes)
    model = load_model(checkpoint, dtype=torch.float32).eval()
    trained = probe_logits(model, probes)
    if isinstance(model, PeftModel) and base is None:
        with without_adapter(model):
            base = probe_logits(model, probes)
    elif base is not None and base.shape != trained.shape:
        base = None  # another vocabulary: the parent's tokens are not this model's
    if base is not None and torch.equal(base, trained):
        raise CheckpointError(
            "answers exactly as its base: what was trained is not in it",
            where=checkpoint.adapter or checkpoint.model,
            hint="Export the folder that training wrote",
        )
    return _Start(model, tokenizer, template, probes, trained, base)


def _rank(model: PeftModel) -> int | None:
    """Return the highest rank of an adapter's layers; `None` for one that has no rank (IA3)."""
    config = model.active_peft_config
    if getattr(config, "r", None) is None:
        return None
    return max([int(config.r), *(int(rank) for rank in (getattr(config, "rank_pattern", None) or {}).values())])


def _dtype_name(asked: str, checkpoint: Checkpoint) -> str:
    """Return the name of the weights' type; of "auto" the one in which the base's files are saved."""
    if asked == "auto":
        asked = str(open_config(checkpoint.model).dtype or torch.float32).removeprefix("torch.")
    if asked not in _DTYPES:
        raise ConfigError(f"{asked!r} is no type to save in", where="--dtype", hint=f"There is {', '.join(_DTYPES)}")
    return asked


def _merge(model: PeftModel, checkpoint: Checkpoint, *, untie: bool) -> Any:
    """Merge the adapter in float32; refuses one on tied embeddings, or unties them first."""
    if _is_tied(model):
        # PEFT merges both deltas into the one matrix: logits off by 1.2 to 1.5 on SmolLM2-135M, and with
        # `ensure_weight_tying`, which its warning recommends, twice the same delta (PEFT 0.21.2).
        if not untie or getattr(model.active_peft_config, "ensure_weight_tying", False):
            raise CheckpointError(
                "the adapter is on embeddings that input and output share, and merged it would change both",
                where=str(checkpoint.adapter),
                hint="Export it as an adapter (peft), or give the output weights of its own with --untie",
            )
        _untie(model)
    with quiet():
        try:
            return model.merge_and_unload(safe_merge=True).eval()
        except (ValueError, RuntimeError, NotImplementedError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"PEFT can't merge this adapter ({reason})", where=str(checkpoint.adapter), hint="Export it as peft"
            ) from error


def _ends(model: PeftModel) -> tuple[Any, Any]:
    base = model.get_base_model()
    return base.get_input_embeddings(), base.get_output_embeddings()


def _is_tied(model: PeftModel) -> bool:
    """Return whether input and output embedding are one matrix in truth, and the adapter has a layer on either."""
    source, head = _ends(model)
    if head is None or not any(isinstance(module, BaseTunerLayer) for module in (source, head)):
        return False
    weights = [getattr(module, "base_layer", module).weight for module in (source, head)]
    return bool(weights[0].data_ptr() == weights[1].data_ptr())


def _untie(model: PeftModel) -> None:
    _, head = _ends(model)
    layer = getattr(head, "base_layer", head)
    layer.weight = torch.nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
    config = model.get_base_model().config
    for part in (config, config.get_text_config()):
        part.tie_word_embeddings = False


def _generation(start: _Start, before: GenerationConfig | None, temperature: float) -> GenerationConfig:
    """Sample from the whole distribution, and end at every token that ends a turn, the base's own among them.

    `transformers serve` ignores a request's temperature unless `do_sample` is written here.
    """
    known = getattr(before, "eos_token_id", None)
    known = known if isinstance(known, list) else [] if known is None else [known]
    ends = list(dict.fromkeys([*start.template.end_ids, *known]))
    tokenizer = start.tokenizer
    return GenerationConfig(
        do_sample=True,
        temperature=temperature,
        top_k=0,
        top_p=1.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends[0] if len(ends) == 1 else ends,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0],
    )


def _refuse_other(kept: Kept, start: _Start, what: str, checkpoint: Checkpoint) -> None:
    """Refuse a copy that must equal what it was made from and does not."""
    size = float(start.trained.double().square().mean().sqrt())
    most = max(_SAME_OF_LOGITS * size, _SAME_OF_EFFECT * kept.effect if start.base is not None else 0.0)
    if not kept.error <= most:
        raise CheckpointError(
            f"{what} answers otherwise than what was trained: logits differ by {kept.error:.2g} (root mean square), "
            f"and training changed them by {kept.effect:.2g}",
            where=checkpoint.adapter or checkpoint.model,
            hint="Check that the base is the one it was trained on; the export was removed",
        )


def _judge(kept: Kept, start: _Start, dtype: str, checkpoint: Checkpoint, *, is_adapter: bool) -> tuple[str, ...]:
    """Refuse a copy in which rounding has lost the training, and note where it has lost some of it."""
    if start.base is None:
        return ()
    if kept.share < _LOST:
        raise CheckpointError(
            f"rounded to {dtype}, {max(kept.share, 0.0):.0%} of what training changed in the logits is left",
            where=checkpoint.adapter or checkpoint.model,
            hint="Give --dtype float32" + (", or export the adapter beside its base (peft)" if is_adapter else ""),
        )
    if kept.share < _WEAKENED or kept.relative_error > _NOISY:
        mend = "; --dtype float32 and peft round no weight" if is_adapter else "; --dtype float32 rounds nothing"
        told = f"Rounded to {dtype}, the weights keep {kept.share:.0%} of what training changed in the logits"
        return (f"{told}, with an error of {kept.relative_error:.0%} of it{mend}.",)
    return ()


def _served_notes(served: Kept | None, start: _Start, dtype: str) -> tuple[str, ...]:
    """Say where the noise of 16-bit arithmetic is large beside what training changed."""
    if served is None or start.base is None or served.relative_error <= _NOISY:
        return ()
    share = f"{served.relative_error:.0%} of what training changed"
    return (f"Computed in {dtype}, as servers do, logits are off by {share}: evaluate it in float32.",)


def _adapter_notes(start: _Start, settings: dict[str, Any], *, changes_base: bool) -> tuple[str, ...]:
    """Say what vLLM refuses of an adapter (vllm/lora/peft_helper.py), before it does at the first request.

    What it does not read is worse: it serves the adapter, by the rank and alpha of the whole or over the plain base.
    So is a base whose own class holds the language model under another name than the one that was trained.
    """
    refused = [
        name
        for name in ("modules_to_save", "use_dora", "trainable_token_indices", "target_parameters", "lora_bias")
        if settings.get(name)
    ]
    refused += ["bias"] if settings.get("bias", "none") != "none" else []
    unread = [name for name in ("rank_pattern", "alpha_pattern") if settings.get(name)]
    unread += ["init_lora_weights"] if changes_base else []
    notes = []
    if refused:
        notes.append(f"vLLM serves no adapter with {', '.join(refused)}: export it as merged for that.")
    if unread:
        notes.append(f"vLLM does not read {', '.join(unread)}, and answers otherwise: export it as merged for that.")
    base = start.model.get_base_model()
    whole = (getattr(open_config(base.name_or_path), "architectures", None) or [""])[0]
    if whole.endswith("ForConditionalGeneration") and whole != type(base).__name__:
        told = f"vLLM opens the whole base ({whole}), finds no layer of the adapter's names in it"
        notes.append(f"{told}, and answers as the base: export it as merged for that.")
    return tuple(notes)


def _exported(
    start: _Start,
    folder: Path,
    dtype: str,
    kept: tuple[Kept | None, Kept, Kept | None],
    lora_rank: int | None,
    notes: Iterable[str],
) -> Exported:
    saved = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    ends = {
        str(start.tokenizer.convert_ids_to_tokens(end)): end for end in (saved if isinstance(saved, list) else [saved])
    }
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    files = tuple(sorted(path.as_posix() for path in paths if not path.name.startswith(".")))
    merged, again, served = kept
    has_base = start.base is not None
    return Exported(files, dtype, merged, again, served, has_base, lora_rank, ends, tuple(notes))
