"""The adapter that is trained: a fresh one, held to what it was meant to reach, or the parent's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, PeftModel, PeftType, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from midspec.core.errors import CheckpointError, ConfigError, note
from midspec.models import quiet, refuse_second_adapter
from midspec.train._job import LoraRecipe

ALL_LINEAR = "all-linear"
# Of the weights in a model's layers, how many "all of them" (the default names, or all-linear) must reach. Small
# projections beside the layers' own (Gemma 4 has some) may stay as they are; a fused qkv_proj or the experts may not.
_LEAST_SHARE = 0.9
_WHERE = "recipe.lora.target_modules"


class Matrix(NamedTuple):
    """A matrix of a layer: its number of entries, and whether it is a linear layer or a bare parameter (experts)."""

    n_entries: int
    is_linear: bool


def add_fresh_adapter(model: Any, lora: LoraRecipe, base: str) -> PeftModel:
    """Put a fresh adapter over `model`, on the layers of its language model alone.

    Args:
        model: without an adapter.
        lora: the recipe.
        base: what the adapter is to name as its base.

    Raises:
        CheckpointError: there is an adapter over it already.
        ConfigError: a name matches nothing, or the adapter leaves out layers that were meant.
    """
    refuse_second_adapter(model, base)
    weights, layers = layer_weights(model), _layers(model)
    config = _lora_config(model, lora, base)
    try:
        with quiet():
            adapted = get_peft_model(model, config)
    except (ValueError, TypeError, RuntimeError, NotImplementedError, re.error) as error:
        reason = " ".join(str(error).split())[:200]
        barred = re.search(r"Incompatible modules: \{([^}]*)\}", " ".join(str(error).split()))
        kept = {
            name: matrix
            for name, matrix in weights.items()
            if not barred or f"'{name.rpartition('.')[2]}'" not in barred[1]
        }
        hint = _offer(kept).removesuffix(f", or {ALL_LINEAR}") if barred else _offer(kept)
        raise ConfigError(f"no such adapter can be added ({reason})", where=_WHERE, hint=hint) from error
    _refuse_what_is_missed(adapted, lora, weights, layers)
    return adapted


def layer_weights(model: Any) -> dict[str, Matrix]:
    """List the matrices in the layers of the language model, by its name as PEFT names it.

    They are the linear layers (and GPT-2's Conv1D), and the experts of a mixture, which are parameters of three
    dimensions. The output head, embeddings and the towers of other senses are none of them.
    """
    decoder, head = _language_part(model), model.get_output_embeddings()
    prefix = _name_of(model, decoder)
    found: dict[str, Matrix] = {}
    for name, module in decoder.named_modules(prefix=prefix):
        if isinstance(module, torch.nn.Linear | Conv1D):
            if module is not head:
                found[name] = Matrix(module.weight.numel(), is_linear=True)
        elif not isinstance(module, torch.nn.modules.conv._ConvNd):  # noqa: SLF001  # the one class of all of them
            for part, weight in module.named_parameters(recurse=False):
                if weight.ndim == 3:
                    found[f"{name}.{part}"] = Matrix(weight.numel(), is_linear=False)
    return found


def targeted(adapted: PeftModel) -> set[str]:
    """Return the names of the layers and parameters of the base that an adapter changes."""
    tuner = adapted.base_model
    return {*tuner.targeted_module_names, *getattr(tuner, "targeted_parameter_names", ())}


def check_parent_adapter(model: PeftModel, lora: LoraRecipe, where: str) -> PeftModel:
    """Return the parent's adapter, if the recipe does not ask for another; what the recipe leaves out is the parent's.

    Args:
        model: with the parent's adapter.
        lora: the recipe.
        where: names the parent in the error.

    Raises:
        CheckpointError: the parent's is no LoRA adapter.
        ConfigError: a setting that the recipe gives is not the parent's.
    """
    config = model.active_peft_config
    if config.peft_type != PeftType.LORA:
        raise CheckpointError(
            f"the parent's adapter is of kind {config.peft_type.value}, and only LoRA is trained further",
            where=where,
            hint="Merge it into its base (midspec export-model --format merged), and train on from that",
        )
    given = lora.model_fields_set
    found = {"r": config.r, "alpha": config.lora_alpha, "dropout": config.lora_dropout}
    differing = [name for name, value in found.items() if name in given and value != getattr(lora, name)]
    if given & {"target_modules", "target_parameters"} and not _reaches_the_same(model, lora):
        differing.append("target_modules")
    if differing:
        raise ConfigError(
            f"recipe.lora differs from the parent adapter in {', '.join(differing)}",
            where=where,
            hint="Training on continues the same adapter: leave recipe.lora out, or give the same settings",
        )
    return model


def _reaches_the_same(model: PeftModel, lora: LoraRecipe) -> bool:
    """Return whether an adapter of the recipe would be over the same weights as the parent's is.

    An adapter's own configuration can name them otherwise (full names, a pattern, PEFT's names of fused experts), so
    a second one is put over the model's skeleton, without weights, and compared.
    """
    config = model.active_peft_config
    names = config.target_modules
    if not isinstance(names, str) and not isinstance(lora.target_modules, str):
        parameters = set(config.target_parameters or ())
        if (set(names or ()), parameters) == (set(lora.target_modules), set(lora.target_parameters)):
            return True
    with quiet(), torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(model.get_base_model().config)
        try:
            return targeted(get_peft_model(skeleton, _lora_config(skeleton, lora, ""))) == targeted(model)
        except (ValueError, TypeError, RuntimeError, NotImplementedError, re.error):
            return False  # the recipe's names match nothing


def _lora_config(model: Any, lora: LoraRecipe, base: str) -> LoraConfig:
    names = lora.target_modules
    more: dict[str, Any] = {}
    if towers := _towers(model):
        more["exclude_modules"] = rf"(.*\.)?({'|'.join(towers)})(\..*)?"
    if lora.target_parameters:
        more["target_parameters"] = list(lora.target_parameters)
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=names if isinstance(names, str) else list(names),
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
        **more,
    )


def _towers(model: Any) -> list[str]:
    """Name what stands beside the language model and has linear layers: towers for images and sound, projectors.

    Text never passes through them, so an adapter there learns nothing, and servers refuse it.
    """
    prefix = _name_of(model, _language_part(model))
    above = f"{prefix.rpartition('.')[0]}." if "." in prefix else ""
    head = model.get_output_embeddings()
    beside = {
        name.removeprefix(above).partition(".")[0]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head and not f"{name}.".startswith(f"{prefix}.")
    }
    return sorted(map(re.escape, beside)) if prefix else []


def _language_part(model: Any) -> Any:
    """Return the module that holds the language model's layers; ModernBERT's decoder is its output head."""
    decoder = model.get_decoder()
    return model.base_model if decoder is model.get_output_embeddings() else decoder


def _name_of(model: Any, part: Any) -> str:
    return str(next(name for name, module in model.named_modules() if module is part))


def _layers(model: Any) -> set[str]:
    """Return the names of all modules that an adapter could be put on: no tower's."""
    excluded = re.compile(rf"(.*\.)?({'|'.join(_towers(model)) or '(?!)'})(\..*)?")
    return {name for name, _ in model.named_modules() if not excluded.fullmatch(name)}


def _refuse_what_is_missed(
    adapted: PeftModel, lora: LoraRecipe, weights: Mapping[str, Matrix], layers: Iterable[str]
) -> None:
    """Refuse names that match nothing, and "all of them" that is not; tell of names that only some layers have."""
    reached = targeted(adapted)
    n_reached = sum(matrix.n_entries for name, matrix in weights.items() if name in reached)
    share = n_reached / max(1, sum(matrix.n_entries for matrix in weights.values()))
    names = () if isinstance(lora.target_modules, str) else lora.target_modules
    # PEFT takes names of a mixture's experts out of the list, and puts the fused parameters in their place.
    left = set(adapted.active_peft_config.target_modules or ()) if names else set()
    unmatched = [name for name in names if name in left and not any(f".{each}".endswith(f".{name}") for each in layers)]
    is_default = lora.target_modules == LoraRecipe().target_modules
    meant_all = is_default or lora.target_modules == ALL_LINEAR
    if (unmatched and not is_default) or (meant_all and share < _LEAST_SHARE):
        seen = f": no {', '.join(unmatched)}" if unmatched else ""
        raise ConfigError(
            f"the adapter would reach {share:.0%} of the weights in the model's layers{seen}",
            where=_WHERE,
            hint=_offer(weights),
        )
    if names and (partial := _partial(names, reached)):
        note(f"{partial}; the others have no adapter", _WHERE)


def _partial(names: Iterable[str], reached: Iterable[str]) -> str:
    """Say which names only some of the layers have, if there are such."""
    found = {name: {_block(each) for each in reached if f".{each}".endswith(f".{name}")} for name in names}
    most = set().union(*found.values())
    few = [name for name, blocks in found.items() if 0 < len(blocks) < len(most)]
    return f"of {len(most)} layers, {', '.join(few)} are in {len(found[few[0]])}" if few else ""


def _block(name: str) -> str:
    """Return the name up to the number of the layer."""
    found = re.match(r".*?\.\d+(?=\.|$)", name)
    return found.group() if found else name


def _offer(weights: Mapping[str, Matrix]) -> str:
    """Name what this architecture has."""
    linear = dict.fromkeys(name.rpartition(".")[2] for name, matrix in weights.items() if matrix.is_linear)
    bare = dict.fromkeys(".".join(name.split(".")[-2:]) for name, matrix in weights.items() if not matrix.is_linear)
    more = f"; in target_parameters: {', '.join(bare)}" if bare else ""
    return f"Name what there is, {', '.join(linear)}, or {ALL_LINEAR}{more}"
