"""How much memory a training needs: a forecast before it, and what it used afterwards.

The sizes of weights, gradients and optimizer state are exact. Activations are counted for a decoder layer as
transformers writes it, and were held against measured peaks (LOG.md).
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from pydantic import JsonValue
from transformers import AutoConfig, AutoModelForCausalLM

from midspec.core.errors import PreflightError
from midspec.core.machine import usable_memory
from midspec.models import (
    OPENING_ERRORS,
    ModelShape,
    find_checkpoint,
    load_tokenizer,
    open_config,
    pick_device,
    quiet,
    shape_of_config,
)
from midspec.train._job import DIVIDED_STAGES, TrainJob
from midspec.train._loss import chunk_logits
from midspec.train._probe import has_chunks, most_part_tokens, rows_at_once, training_dtype
from midspec.train._ranks import ranks_of_environment

# What Python, torch, transformers and their working buffers take on a CPU whatever the model (LOG.md).
_PROCESS = 750_000_000
_GB = 1e9
# A float32 logit, its exponential's share, and the gradients of both; compiled, a short logit, its gradient, a copy.
_BYTES_PER_LOGIT, _GPU_BYTES_PER_LOGIT = 16, 6


class Sizes(NamedTuple):
    """What of a model decides its memory: numbers of weights, and sizes of a layer.

    Attributes:
        frozen: weights that are not trained.
        trained: weights that are.
        gathered: weights outside the layers and of one layer: where a model is divided, each process has them whole.
        shape: the sizes of its layers.
    """

    frozen: int
    trained: int
    gathered: int
    shape: ModelShape


class Forecast(NamedTuple):
    """Bytes that a process of a training needs at its peak, by what they are for, and how many there are.

    `sampling` is what replies are written with, where the stage does so; it is given back before they are learnt from.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    process: int
    available: int
    device: str
    sampling: int = 0

    @property
    def lasting(self) -> int:
        """Return the bytes that are needed whatever a batch holds."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """Return all bytes at the peak."""
        learning = self.gradients + self.activations + self.logits
        return self.weights + self.optimizer + max(learning, self.sampling) + self.process

    @property
    def is_sampled(self) -> bool:
        """Return whether the peak is where replies are written."""
        return self.sampling > self.gradients + self.activations + self.logits

    def line(self) -> str:
        """Show it for a person to read."""
        learning = ("gradients", "optimizer", "activations", "logits")
        parts = ", ".join(
            f"{name} {getattr(self, name) / _GB:.2g}"
            for name in ("weights", *(("optimizer", "sampling") if self.is_sampled else learning))
            if getattr(self, name) >= 0.05 * self.total
        )
        of_these = f" ({parts})" if parts else ""
        text = (
            f"memory: about {self.total / _GB:.2g} GB of {self.available / _GB:.3g} GB on the {self.device}{of_these}"
        )
        return f"{text}; it may not fit: {self.remedy}" if self.total > self.available else text

    @property
    def remedy(self) -> str:
        """Return what would need less."""
        if self.is_sampled and self.sampling > self.lasting:
            return "lower recipe.rows_per_update or grpo.max_new_tokens"
        if self.activations + self.logits > self.lasting:
            return "lower recipe.micro_batch, or set execution.gradient_checkpointing"
        return "use recipe.method lora, or more execution.processes"


def sizes_of(model: Any) -> Sizes:
    """Read the sizes of a model, which may be on the meta device."""
    config = model.config.get_text_config()
    n_rows, hidden = model.get_input_embeddings().weight.shape
    usual = {"n_layer": 1, "n_embd": hidden, "n_head": 1, "vocab_size": n_rows}
    # Layers of Gemma 4 differ in sizes, which its configuration then gives by layer alone.
    layers = list(config.per_layer_config) if getattr(config, "is_heterogeneous", False) else [config]

    def size(name: str) -> Any:
        values: list[Any] = [getattr(layer, name, usual.get(name)) for layer in layers]
        return sum(values) // len(values) if type(values[0]) is int else values[0]

    shape = shape_of_config(size)
    assert shape is not None, "the usual sizes stand for those that a configuration does not name"
    weights = list(model.named_parameters())
    trained = sum(weight.numel() for _, weight in weights if weight.requires_grad)
    total = sum(weight.numel() for _, weight in weights)
    inside = sum(weight.numel() for name, weight in weights if ".layers." in name or ".h." in name)
    return Sizes(total - trained, trained, total - inside + inside // shape.n_layers, shape)


def memory_before(job: TrainJob, row_width: int, device: str = "auto", longest: int | None = None) -> Forecast | None:
    """Forecast the memory of a job without its model's weights; `None` where its parent has no configuration yet.

    Args:
        job: what is to be trained.
        row_width: tokens of a row, from the preflight.
        device: auto, cpu, cuda, cuda:N or mps.
        longest: tokens of the longest document; a whole row where not given.
    """
    place = pick_device(device)
    try:
        with torch.device("meta"), quiet():
            model = AutoModelForCausalLM.from_config(_config(job), dtype=torch.float32)
            if job.recipe.method == "lora":
                lora = job.recipe.lora
                names = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
                model = get_peft_model(model, LoraConfig(r=lora.r, target_modules=names))
    except OPENING_ERRORS:
        # What does not open or fit is refused, with its reason, by what opens it.
        return None
    dtype, n = training_dtype(job, place), job.execution.processes or ranks_of_environment().n
    return forecast_memory(sizes_of(model), job, n, row_width=row_width, longest=longest, dtype=dtype, device=place)


def _config(job: TrainJob) -> Any:
    if job.architecture is not None:
        given = dict(job.architecture)
        vocabulary = len(load_tokenizer(str(job.tokenizer)))
        return AutoConfig.for_model(str(given.pop("model_type")), **{"vocab_size": vocabulary, **given})
    name = find_checkpoint(str(job.parent)).model
    return open_config(name)


def forecast_memory(
    sizes: Sizes,
    job: TrainJob,
    n: int,
    *,
    row_width: int,
    dtype: torch.dtype,
    device: torch.device,
    longest: int | None = None,
) -> Forecast:
    """Forecast the peak of a process that trains.

    Args:
        sizes: of the model.
        job: what is trained.
        n: over how many processes.
        row_width: tokens of a row.
        dtype: that is computed in.
        device: where.
        longest: tokens of the longest document; a whole row where not given.
    """
    recipe = job.recipe
    share = -(-recipe.rows_per_update // n)
    rows, n_references = min(rows_at_once(job, row_width, device), share), 0
    if job.stage not in DIVIDED_STAGES:
        # TRL has all rows of an update at once where nothing else is asked for, and both replies of a pair.
        is_pair = job.stage == "dpo"
        rows = share = (recipe.micro_batch or recipe.rows_per_update) * (1 + is_pair)
        n_references = int(not sizes.frozen and (is_pair or (recipe.grpo is not None and recipe.grpo.beta > 0)))
    short = 2 if dtype == torch.bfloat16 else 4
    frozen = sizes.frozen * short
    trained = 4 * sizes.trained
    # Under autocast a second copy of each trained weight is kept for the backward pass.
    cast = 2 * sizes.trained if short == 2 else 0
    whole = 0 if n == 1 else sizes.gathered * (short if sizes.frozen else 4)
    tokens = rows * row_width
    has_parts = n == 1 and device.type == "cpu" and job.stage in DIVIDED_STAGES
    if has_parts and has_chunks(row_width, device, sizes.shape.hidden):
        tokens = min(tokens, max(most_part_tokens(dtype), longest or row_width))
    n_logits = tokens * sizes.shape.vocabulary
    if job.stage in DIVIDED_STAGES and has_chunks(row_width, device, sizes.shape.hidden):
        n_logits = min(n_logits, chunk_logits(device, dtype))
    # A gradient grows as activations are given back, unless more rows follow for the same update.
    on_gpu = device.type == "cuda"
    per_token = _bytes_per_token(sizes.shape, short, is_saving=job.execution.gradient_checkpointing, on_gpu=on_gpu)
    activations = tokens * per_token
    gradients = trained // n if tokens < share * row_width else max(0, trained // n - activations)
    return Forecast(
        weights=(frozen + trained * (1 + n_references)) // n + cast + whole,
        gradients=gradients,
        optimizer=2 * trained // n,
        activations=activations,
        logits=n_logits * (_GPU_BYTES_PER_LOGIT if on_gpu else _BYTES_PER_LOGIT),
        process=_PROCESS if device.type == "cpu" else 0,
        available=available_bytes(device),
        device="GPU" if on_gpu else "CPU",
        sampling=_sampling_bytes(sizes.shape, job, row_width, short) if job.stage == "grpo" else 0,
    )


def _sampling_bytes(shape: ModelShape, job: TrainJob, row_width: int, short: int) -> int:
    """Return the bytes with which all replies of an update are written at once: keys and values, logits, one layer."""
    grpo = job.recipe.grpo
    assert grpo is not None
    n_replies = job.recipe.rows_per_update
    n_cached = n_replies * row_width
    cache = n_cached * 2 * shape.keys * short * (shape.n_layers + 1)  # a layer's is copied when a token is added
    layer = n_replies * max(1, row_width - grpo.max_new_tokens) * short * (3 * shape.hidden + 2 * shape.inner)
    # A row of logits in the model's type, and in float32: as they are, by temperature, as logarithms, as shares.
    return cache + layer + n_replies * shape.vocabulary * (short + 4 * 4)


def _bytes_per_token(shape: ModelShape, short: int, *, is_saving: bool, on_gpu: bool) -> int:
    """Return the bytes that a token's backward pass is kept for in all layers, and that one layer's needs beside."""
    # Norms compute in float32 and keep what they got and what they made; projections keep their input, attention its
    # queries, keys, values and output, the feed-forward part its gate, the gate's activation, and two products.
    layer = 4 * 4 * shape.hidden
    layer += short * (2 * shape.hidden + 5 * shape.queries + 2 * shape.keys + 4 * shape.inner)
    if on_gpu:
        # Fused norms keep what they got; compiled gates and rotary embeddings nothing that was made on the way.
        layer = short * (4 * shape.hidden + 4 * shape.queries + 3 * shape.keys + 3 * shape.inner)
    if is_saving:
        # The input of each layer, and all of the one that is computed again.
        return shape.n_layers * short * shape.hidden + 2 * layer
    return (shape.n_layers + 1) * layer


def available_bytes(device: torch.device) -> int:
    """Return the memory of a GPU, or what a process may use of the machine's."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return usable_memory() or sys.maxsize


def refuse_too_large(forecast: Forecast) -> None:
    """Refuse a training whose weights, gradients and optimizer state alone are more than the memory.

    Raises:
        PreflightError: see above.
    """
    if forecast.lasting > forecast.available:
        raise PreflightError(
            f"weights, gradients and optimizer state need {forecast.lasting / _GB:,.1f} GB in each process, and the "
            f"{forecast.device} has {forecast.available / _GB:,.1f} GB",
            where="memory",
            hint=forecast.remedy[0].upper() + forecast.remedy[1:],
        )


class Usage:
    """Measures the peak of this process from now on: of the GPU's allocated memory, or of the resident set."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            # Sets Linux' high-water mark back to what is resident now; elsewhere it is of the whole process.
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def peak(self) -> int | None:
        """Return the bytes at the peak; `None` where the system does not tell."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        with suppress(OSError):
            for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
                if line.startswith("VmHWM:"):
                    return 1024 * int(line.split()[1])
        return None

    def describe(self, forecast: Forecast) -> dict[str, JsonValue]:
        """Return forecast and peak for a record."""
        peak = self.peak()
        return {
            "memory_gb_forecast": round(forecast.total / _GB, 3),
            "memory_gb_peak": None if peak is None else round(peak / _GB, 3),
        }
