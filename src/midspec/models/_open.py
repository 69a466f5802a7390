"""Loading what a `Checkpoint` names: tokenizer, weights, adapter; and the device to compute on."""

from __future__ import annotations

import logging as standard
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from midspec.core.errors import CheckpointError, ConfigError
from midspec.core.records import Checkpoint
from midspec.models._find import check_device, only_here


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back transformers', PEFT's and the hub's log lines, warnings and progress bars, and restore them."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub = standard.getLogger("huggingface_hub")
    hub_level = hub.level
    hub.setLevel(standard.ERROR)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        hub.setLevel(hub_level)
        if bars:
            logging.enable_progress_bar()


_HINT = "Check the name, and that its files are whole; a hub name needs the network once"
_OPENING = (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError)


def use_threads(n: int | None = None) -> int:
    """Set how many CPU threads this process computes with; returns that number.

    Args:
        n: the number; else the environment variable MIDSPEC_THREADS; else 1, so that runs side by side don't
            compete for cores, and so that sums are made in one order.
    """
    count = n if n is not None else int(os.environ.get("MIDSPEC_THREADS", "1"))
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
    with quiet():
        local = only_here(name)
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local)
        except _OPENING as error:
            raise CheckpointError(f"no tokenizer opens ({_first_line(error)})", where=name, hint=_HINT) from error
    if not tokenizer.is_fast:
        raise CheckpointError("is not a fast tokenizer", where=name, hint="Save it with a tokenizer.json")
    return tokenizer


def tokenizer_of(checkpoint: Checkpoint) -> Any:
    """Load the adapter's own tokenizer if it has one, else its base model's."""
    if checkpoint.adapter is not None and (Path(checkpoint.adapter) / "tokenizer_config.json").is_file():
        return load_tokenizer(checkpoint.adapter)
    return load_tokenizer(checkpoint.model)


def load_model(
    checkpoint: Checkpoint, *, dtype: torch.dtype | str, trainable: bool = False, attention: str | None = None
) -> Any:
    """Load the weights of a checkpoint on the CPU, with its adapter over them if it has one.

    Args:
        checkpoint: what to open.
        dtype: of the base's weights; "auto" for the one they are saved in.
        trainable: leave the adapter's weights trainable.
        attention: "eager" or "sdpa"; the library's own choice when not given.

    Raises:
        CheckpointError: it does not open; one line that says why.
    """
    chosen = {} if attention is None else {"attn_implementation": attention}
    with quiet():
        local = only_here(checkpoint.model)
        try:
            model, loading = AutoModelForCausalLM.from_pretrained(
                checkpoint.model, dtype=dtype, output_loading_info=True, local_files_only=local, **chosen
            )
        except _OPENING as error:
            raise CheckpointError(
                f"no model opens ({_first_line(error)})", where=checkpoint.model, hint=_HINT
            ) from error
    _refuse_missing(loading["missing_keys"], checkpoint.model)
    return model if checkpoint.adapter is None else add_adapter(model, checkpoint.adapter, trainable=trainable)


def add_adapter(model: Any, adapter: str, *, trainable: bool = False) -> Any:
    """Put the adapter of a folder over `model`.

    Raises:
        CheckpointError: there is an adapter over it already, or the folder's does not fit.
    """
    refuse_second_adapter(model, adapter)
    with quiet():
        try:
            adapted = PeftModel.from_pretrained(model, adapter, is_trainable=trainable)
        except _OPENING as error:
            raise CheckpointError(
                f"the adapter does not open ({_first_line(error)})", where=adapter, hint=_HINT
            ) from error
        weights = Path(adapter) / "adapter_model.safetensors"
        if weights.is_file():
            with safe_open(weights, framework="pt") as file:
                _refuse_missing(set(get_peft_model_state_dict(adapted)) ^ set(file.keys()), adapter)
    return adapted


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


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(". ") if lines else type(error).__name__
