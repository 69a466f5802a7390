"""Loading what a `Checkpoint` names: tokenizer, weights, adapter; and the device to compute on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import PickleError
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from midspec.core.errors import CheckpointError, ConfigError, note, one_line
from midspec.core.records import Checkpoint
from midspec.models._adapter_files import (
    add_embedding_rows,
    refuse_other_wrapper,
    refuse_settings,
    refuse_turned_experts,
    saved_names,
)
from midspec.models._find import check_device, only_here
from midspec.models._gguf import opened_name
from midspec.models._left_out import INDEX, QUANTISED, WHOLE, is_saved_twice, left_out, take_as_plain
from midspec.models._quiet import quiet

_HINT = "Check the name, and that its files are whole; a hub name needs the network once"
_MOST_THREADS = 100_000
_STARTS_BESIDE = ("gaussian", "orthogonal", "eva", "mica")  # ways to begin a LoRA that leave the base's weights alone
_CHANGE_BASE = ("kasa_config", "layer_replication")
_NO_TEXT_MODEL = re.compile(r"Unrecognized configuration class <class '[\w.]*?(\w+)Config'> for this kind of AutoModel")
_NO_DTYPE = re.compile(r"module 'torch' has no attribute '([^']+)'")
# Words of transformers (5.23) on what is not installed or not supported; a folder may have such a name too.
_NO_ATTENTION = re.compile(
    r'(?<=attn_implementation=")[^"]+(?=")|FlashAttention\d?(?= has been toggled on)'
    r"|(?<=not support )Flash Attention \d|(?<=Requested )Flash Attention \d"
)
OPENING_ERRORS = (
    *(OSError, EOFError, PickleError, SafetensorError, ImportError, RuntimeError, re.error),
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, StrictDataclassError),
)
"""What transformers and its kin raise of files that are damaged, or whose values don't fit each other."""

_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|_ALLOC_FAILED")


def lacks_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory is too small: torch has a type for some of a GPU's alone."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None)


def use_threads(n: int | None = None) -> int:
    """Set how many CPU threads this process computes with; returns that number.

    Args:
        n: the number; else the environment variable MIDSPEC_THREADS; else 1, so that runs side by side don't
            compete for cores, and so that sums are made in one order.

    Raises:
        ConfigError: MIDSPEC_THREADS is no number of threads.
    """
    given = os.environ.get("MIDSPEC_THREADS", "").strip() or "1"
    if n is None and not (given.isdecimal() and 0 < int(given) <= _MOST_THREADS):
        raise ConfigError(
            f"{given!r} is no number of threads", where="MIDSPEC_THREADS", hint="Set a whole number, as 1"
        )
    count = n if n is not None else int(given)
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
    return count


def pick_device(device: str = "auto") -> torch.device:
    """Return the device of that name; of "auto" the GPU if there is one, else the CPU.

    Of several processes that torchrun or `midspec train` started, each gets the GPU of its number.

    Raises:
        ConfigError: there is no device of that name, or not on this machine.
    """
    check_device(device)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        device = f"cuda:{int(os.environ['LOCAL_RANK'])}"
    chosen = torch.device(device)
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}.get(chosen.type, True)
    if not there:
        raise ConfigError("there is no GPU that torch can use", where=f"device {device}", hint="Use auto or cpu")
    if chosen.type == "cuda" and chosen.index is not None and chosen.index >= (count := torch.cuda.device_count()):
        raise ConfigError(
            f"torch sees {count} GPUs, and counts them from 0", where=f"device {device}", hint="Use a lower number"
        )
    return chosen


def load_tokenizer(name: str) -> Any:
    """Load the tokenizer saved in a folder or under a hub name.

    Raises:
        CheckpointError: there is none, or it is no fast tokenizer (training needs character offsets).
    """
    opened = opened_name(name)
    with quiet():
        local = only_here(opened)
        try:
            tokenizer = AutoTokenizer.from_pretrained(opened, local_files_only=local, trust_remote_code=False)
        except Exception as error:
            # tokenizers raises a bare `Exception` of a tokenizer.json that is JSON and no tokenizer.
            if type(error) is not Exception and not isinstance(error, OPENING_ERRORS):
                raise
            raise _refusal("tokenizer", error, name) from error
    if not tokenizer.is_fast:
        raise CheckpointError("is not a fast tokenizer", where=name, hint="Save it with a tokenizer.json")
    # Set in some checkpoints: the control tokens of a template would be tokenized as the text that they are.
    tokenizer.split_special_tokens = False
    tokenizer.init_kwargs.pop("auto_map", None)  # code that lies beside its files, and is not run
    # Without any file of a tokenizer transformers makes up one of the family's special tokens, which turns every text
    # into nothing (5.23; of Qwen 2, GPT-2 and Gemma).
    if len(tokenizer) <= len(tokenizer.added_tokens_decoder):
        raise _no_tokenizer(name)
    return tokenizer


def open_config(name: str) -> Any:
    """Open the configuration of a model; code that it may bring is never run, nor asked about on the terminal.

    Raises:
        CheckpointError: the hub can't be asked, or has no such model.
        OPENING_ERRORS: it does not open.
    """
    opened = opened_name(name)
    with quiet():
        return AutoConfig.from_pretrained(opened, local_files_only=only_here(opened), trust_remote_code=False)


def tokenizer_of(checkpoint: Checkpoint) -> Any:
    """Load the adapter's own tokenizer if it has one, else its base model's."""
    if checkpoint.adapter is not None and (Path(checkpoint.adapter) / "tokenizer_config.json").is_file():
        return load_tokenizer(checkpoint.adapter)
    return load_tokenizer(checkpoint.model)


def base_apart(checkpoint: Checkpoint) -> Checkpoint | None:
    """Return the base of an adapter that can't be had by switching the adapter off; `None` where it can.

    PiSSA, OLoRA, KaSA and the like take a part of each weight out of the base and into the adapter, and others repeat
    its layers (PEFT 0.21.2): what is left without the adapter is a model that nobody trained.
    """
    if checkpoint.adapter is None:
        return None
    settings = json.loads((Path(checkpoint.adapter) / "adapter_config.json").read_text(encoding="utf-8"))
    start = settings.get("init_lora_weights")
    keeps_base = not isinstance(start, str) or start.lower() in _STARTS_BESIDE
    keeps_base = keeps_base and not any(settings.get(name) for name in _CHANGE_BASE)
    return None if keeps_base else Checkpoint(model=checkpoint.model)


def load_model(checkpoint: Checkpoint, *, dtype: torch.dtype | str, trainable: bool = False) -> Any:
    """Load the weights of a checkpoint on the CPU, with its adapter over them if it has one.

    Args:
        checkpoint: what to open.
        dtype: of the base's weights; "auto" for the one they are saved in.
        trainable: leave the adapter's weights trainable.

    Raises:
        CheckpointError: it does not open; one line that says why.
    """
    opened = opened_name(checkpoint.model)
    chosen = {"dtype": dtype, "local_files_only": only_here(opened), "trust_remote_code": False}
    with quiet():
        try:
            model, loading = AutoModelForCausalLM.from_pretrained(opened, output_loading_info=True, **chosen)
        except OPENING_ERRORS as error:
            raise _refusal("model", error, checkpoint.model) from error
    _refuse_missing(loading["missing_keys"], checkpoint.model)
    if is_saved_twice(Path(opened)):
        note(f"holds {WHOLE}, which is read here, and shards by {INDEX}, which servers read (vLLM)", opened)
    if unused := loading["unexpected_keys"]:
        note(f"{len(unused)} of its weights are no part of the model and are left out ({min(unused)}, say)", opened)
    if parts := left_out(model, opened):
        told = f"{len(parts)} of its weights are left out, as text is computed without them ({min(parts)}, say)"
        note(f"{told}: what is trained or exported from it lacks them", opened)
    # Set by others to train a mixture's router: then every pass computes that loss, and fails behind a cache.
    model.router_logits_as_read = _set_router_logits(model)
    for part in (model.config, model.config.get_text_config()):
        if hasattr(part, "auto_map"):  # names code that lies beside the files, and that nothing here needs
            del part.auto_map
    if not getattr(model, "is_quantized", False) and getattr(open_config(opened), "quantization_config", None):
        # transformers 5.23 dequantises FP8 where there is no GPU for it, and leaves the other weights as saved.
        take_as_plain(model, unused, checkpoint.model)
        model = cast_weights(model, dtype if isinstance(dtype, torch.dtype) else model.dtype)
    if not torch.cuda.is_available():
        refuse_uncomputed(model, checkpoint.model)
    return model if checkpoint.adapter is None else add_adapter(model, checkpoint.adapter, trainable=trainable)


def _set_router_logits(model: Any, values: Sequence[Any] = (False, False)) -> list[Any]:
    """Set `output_router_logits` of a model's configurations where they have it; returns what it was."""
    parts = (model.config, model.config.get_text_config())  # one and the same for most
    before = [getattr(part, "output_router_logits", None) for part in parts]
    for part, old, new in zip(parts, before, values, strict=True):
        if old is not None:
            part.output_router_logits = new
    return before


@contextmanager
def router_logits_as_read(model: Any) -> Iterator[None]:
    """Have the configuration of a model from `load_model` say of router logits what its parent's did, to be saved."""
    before = getattr(model, "router_logits_as_read", None)  # a model that was built has none
    set_now = None if before is None else _set_router_logits(model, before)
    try:
        yield
    finally:
        if set_now is not None:
            _set_router_logits(model, set_now)


def cast_weights(model: Any, dtype: torch.dtype) -> Any:
    """Turn a model's weights into `dtype`, but for those that transformers has in float32 whatever the others are.

    Such is the bias by which DeepSeek-V3 chooses experts: rounded to bfloat16, it chooses others.

    Args:
        model: without an adapter; changed in place.
        dtype: of the other weights.
    """
    names = {*(getattr(model, "_keep_in_fp32_modules_strict", None) or ())}
    if dtype == torch.float16:
        names |= {*(getattr(model, "_keep_in_fp32_modules", None) or ())}
    parts = (re.escape(name).replace(r"\*", ".*") for name in sorted(names))
    exact = re.compile("|".join(rf"(?:^|\.){part}(?:$|\.)" for part in parts) or "(?!)")
    saved = model.state_dict().keys()
    for name, weight in (*model.named_parameters(), *model.named_buffers()):
        if weight.is_floating_point() and name in saved:
            weight.data = weight.data.to(torch.float32 if exact.search(name) else dtype)
    return model


def refuse_uncomputed(model: Any, where: str) -> None:
    """Refuse a model that can't be computed where it is: quantised weights, odd configurations, misplaced adapters.

    Some sizes meet in the layers alone (a DeepSeek's groups of experts), and transformers opens whatever they are.

    Raises:
        CheckpointError: a pass over one token fails.
    """
    device, training = model.get_input_embeddings().weight.device, model.training
    model.eval()  # so that no random number is drawn
    try:
        with torch.no_grad():  # what a layer keeps of it may be used in training
            model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=device), use_cache=False)
    except (*OPENING_ERRORS, MemoryError, NotImplementedError, NameError) as error:
        if lacks_memory(error):
            raise
        reason = one_line(error, 120)
        what = "the model that config.json describes can't be computed"
        hint = f"Check its values against transformers' configuration of {model.config.model_type}"
        if isinstance(model, PeftModel):
            what = "the model can't be computed with this adapter"
            hint = "Leave out target_modules that are no plain linear layers, or train all weights"
        elif (quantizer := getattr(model, "hf_quantizer", None)) is not None:
            method = quantizer.quantization_config.quant_method
            what = (
                f"its weights are quantised ({getattr(method, 'value', method)}), and are not computed on {device.type}"
            )
            hint = "Use the model's checkpoint in bfloat16, or save a dequantised copy of this one"
        raise CheckpointError(f"{what} ({reason})", where=where, hint=hint) from error
    finally:
        model.train(training)


def add_adapter(model: Any, adapter: str, *, trainable: bool = False) -> Any:
    """Put the adapter of a folder over `model`.

    Raises:
        CheckpointError: there is an adapter over it already, or the folder's does not fit.
    """
    refuse_second_adapter(model, adapter)
    refuse_settings(Path(adapter))
    if not any((Path(adapter) / name).is_file() for name in ("adapter_model.safetensors", "adapter_model.bin")):
        raise CheckpointError("the adapter has no weights (adapter_model.safetensors)", where=adapter, hint=_HINT)
    refuse_turned_experts(model, Path(adapter))
    refuse_other_wrapper(model, Path(adapter))
    with quiet():
        try:
            add_embedding_rows(model, Path(adapter))
            adapted = PeftModel.from_pretrained(model, adapter, is_trainable=trainable)
            saved = saved_names(Path(adapter), adapted)
        except OPENING_ERRORS as error:
            raise _refusal("adapter", error, adapter) from error
        weights = get_peft_model_state_dict(adapted)
        if set(weights) != saved:  # whole embeddings may be saved beside; PEFT decides by a base that it may not find
            whole = get_peft_model_state_dict(adapted, save_embedding_layers=True)
            weights = whole if set(whole) == saved else weights
    _refuse_missing(set(weights) ^ saved, adapter)
    second = [weight for name, weight in weights.items() if "lora_B" in name]
    if second and all("lora_A" in name or "lora_B" in name for name in weights) and not any(map(torch.any, second)):
        note("the adapter changes nothing: all of its lora_B weights are zero. Was it saved before training?", adapter)
    return adapted


def _no_tokenizer(where: str) -> CheckpointError:
    return CheckpointError(
        "there is no tokenizer", where=where, hint="Put the model's tokenizer.json and tokenizer_config.json beside it"
    )


def _refusal(kind: str, error: BaseException, where: str) -> CheckpointError:
    """Make the error for a model, a tokenizer or an adapter that does not open."""
    if "backend tokenizer" in str(error):  # of most families, where there is no file of one
        return _no_tokenizer(where)
    if "custom code" in str(error) or "trust_remote_code" in str(error):
        return CheckpointError(
            f"the {kind} needs code of its own, which is not run",
            where=where,
            hint="Use a checkpoint of a kind that transformers knows by itself",
        )
    reason = one_line(error)
    if "ignore_mismatched_sizes" in reason:  # transformers shows which, in a table for a terminal
        reason = "its saved weights have other sizes than its configuration gives"
    elif isinstance(error, KeyError):
        key = str(error.args[0]) if error.args else reason
        reason = key[:200] if " " in key else f"{key!r} is missing or unknown"
    if found := _NO_TEXT_MODEL.search(reason):
        return CheckpointError(
            f"a {found[1]} is no model of text alone that transformers opens (AutoModelForCausalLM)",
            where=where,
            hint=_way_to_text(where),
        )
    if found := _NO_DTYPE.search(reason):
        name = found[1].removeprefix("torch.")
        return CheckpointError(
            f"config.json names a dtype that torch does not have ({found[1]})",
            where=where,
            hint=f"Write {json.dumps(name)} there" if hasattr(torch, name) else "Take dtype and torch_dtype out of it",
        )
    if found := _NO_ATTENTION.search(reason):
        return CheckpointError(
            f"config.json asks for {found[0]}, which this machine does not have",
            where=where,
            hint="Take _attn_implementation and attn_implementation out of it",
        )
    if isinstance(error, PickleError | EOFError):
        reason = "its .bin file is damaged, or holds more than weights"
    what, hint = f"the adapter does not open ({reason})" if kind == "adapter" else f"no {kind} opens ({reason})", _HINT
    is_file = isinstance(error, OSError | EOFError | PickleError | SafetensorError)  # missing or damaged
    with suppress(*OPENING_ERRORS):
        if kind == "model" and not is_file and getattr(open_config(where), "quantization_config", None):
            what, hint = f"its weights are quantised, and do not open ({reason})", QUANTISED
    return CheckpointError(what, where=where, hint=hint)


def _way_to_text(name: str) -> str:
    """Return what to do about a model of more than text: many have a language model within that opens by itself."""
    kind = ""
    with suppress(*OPENING_ERRORS):
        config = open_config(name)
        inner = config.get_text_config()
        kind = "" if inner is config else inner.model_type
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return f"Use a model of text, or save its language model (its text_config, a {kind}) as a checkpoint of its own"
    return "Use a model of text, of the same family, say"


def _refuse_missing(names: set[str], where: str) -> None:
    """Refuse weights that the file lacks: they would silently stay as they were initialized."""
    if names:
        raise CheckpointError(
            f"the saved weights don't fit the model: {len(names)} are missing or too many ({min(names)}, say)",
            where=where,
            hint="Check that the weights belong to this configuration and base",
        )


def refuse_second_adapter(model: Any, where: str) -> None:
    """Raise `CheckpointError` if `model` carries an adapter already: a second would train or score something else."""
    if isinstance(model, PeftModel) or getattr(model, "peft_config", None):
        raise CheckpointError(
            "there is an adapter over this model already", where=where, hint="Open the base, or train that adapter on"
        )
