"""How a model is computed in training: attention and loss, chosen by measuring on the very model.

The fast ways of `_attention.py` and `_loss.py`, and for short rows of small models that of `_decoder.py`, are taken
where they give the loss and gradients of transformers' own on a small packed batch, else transformers' own are kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from peft import PeftModel
from peft.helpers import disable_input_dtype_casting
from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
from torch.backends.cpu import get_cpu_capability

from midspec.models import find_checkpoint, hidden_size_of, pick_dtype, quiet
from midspec.train._attention import DOCUMENT_ATTENTION, register
from midspec.train._compiled import compiled_parts
from midspec.train._decoder import Decoder, find_decoder
from midspec.train._job import TrainJob
from midspec.train._lora import in_place_adapters
from midspec.train._loss import Head, as_one_row, find_head, token_loss
from midspec.train._norm import fused_norms
from midspec.train._pack import Piece, collate
from midspec.train._ranks import Ranks

# On a CPU rows up to this length, of small models (hidden sizes under 512) up to twice as much, gain little by other
# attention and chunks of logits; the small ones gain by `_decoder.py`.
SHORT_ROW = 256
_SMALL_HIDDEN = 512
_PROBE_LENGTHS, _PROBE_TAIL = (40, 7, 40, 24), 5
# Rounding alone moves gradients by this share of their size; a mask or a scale that is wrong moves them further.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 6e-2}
_PROBED_WEIGHTS = 6
# The longest pattern of layers in transformers' families has six (Gemma 3).
_PROBED_LAYERS = 6
_FLASH = "flash_attention_2"
_GPU_ATTENTION = (_FLASH, DOCUMENT_ATTENTION, "flex_attention")


def training_dtype(job: TrainJob, device: torch.device) -> torch.dtype:
    """Return the numbers to compute a job with: those its recipe names, or of "auto" the faster on this machine."""
    if job.recipe.precision != "auto":
        return torch.bfloat16 if job.recipe.precision == "bfloat16" else torch.float32
    if job.parent is not None:
        return pick_dtype(device, hidden_size_of(find_checkpoint(job.parent)))
    size = (job.architecture or {}).get("hidden_size", 0)
    return pick_dtype(device, size if isinstance(size, int) else 0)


@contextmanager
def first_layers(model: Any, ranks: Ranks, device: torch.device) -> Iterator[Any]:
    """Give the model with its first layers alone, on the device, to be probed; where there is one process, all of it.

    What is chosen by probing is a matter of the family's code, and a pattern of layers repeats within the first ones.
    """
    if ranks.n == 1:
        model.to(device)
        yield model
        return
    kinds = set(getattr(model, "_no_split_modules", None) or ())
    named = {name: module for name, module in model.named_modules() if type(module).__name__ in kinds}
    place = min(named, default="", key=len).rpartition(".")[0]
    parent, _, leaf = place.rpartition(".")
    layers = model.get_submodule(place)
    setattr(model.get_submodule(parent), leaf, layers[:_PROBED_LAYERS])
    try:
        yield model.to(device)
    finally:
        model.to("cpu")
        setattr(model.get_submodule(parent), leaf, layers)


class Computation(NamedTuple):
    """How a model is computed.

    Attributes:
        dtype: float32, or bfloat16 under autocast.
        attention: the name that transformers knows it by.
        head: makes logits in chunks; `None` where the model makes them whole.
        adapters_in_place: whether LoRA layers are computed by `_lora.py`.
        fused_norms: whether RMS norms are computed by `_norm.py`.
        compiled_parts: whether pointwise parts are computed by `_compiled.py`.
        decoder: the model's parts, where gradients of packed rows are computed by `_decoder.py`.
    """

    dtype: torch.dtype
    attention: str
    head: Head | None
    adapters_in_place: bool = False
    fused_norms: bool = False
    compiled_parts: bool = False
    decoder: Decoder | None = None

    def loss(self, model: Any, inputs: Mapping[str, torch.Tensor], n_supervised: torch.Tensor | int) -> torch.Tensor:
        """Compute the loss of a micro-batch; see `token_loss`."""
        rows = as_one_row(inputs) if self.attention == _FLASH else inputs
        return token_loss(model, rows, n_supervised, self.head)

    @contextmanager
    def with_attention(self, model: Any) -> Iterator[None]:
        """Give `model` the attention that was chosen within it."""
        own = attention_of(model)
        set_attention(model, self.attention)
        try:
            yield
        finally:
            set_attention(model, own)

    @contextmanager
    def installed(self, model: Any) -> Iterator[None]:
        """Have attention and layers of `model` compute as was chosen within it, under autocast where it is low."""
        with ExitStack() as stack:
            stack.enter_context(self.with_attention(model))
            if self.adapters_in_place:
                stack.enter_context(in_place_adapters(model))
            if self.fused_norms:
                stack.enter_context(fused_norms(model))
            if self.compiled_parts:
                stack.enter_context(compiled_parts(model))
            if isinstance(model, PeftModel) and self.dtype != torch.float32:
                # Else PEFT copies what adapters are given to float32; autocast casts their weights instead.
                for layer in model.modules():
                    if isinstance(layer, TrainableTokensLayer):  # PEFT 0.21 asks for what these do not have
                        layer.cast_input_dtype_enabled = True
                stack.enter_context(disable_input_dtype_casting(model))
            yield

    def describe(self) -> dict[str, str]:
        """Return what to record of it."""
        return {
            # Other instruction sets round otherwise: the same seed gives other weights there.
            "cpu": get_cpu_capability(),
            "precision": str(self.dtype).removeprefix("torch."),
            "attention": self.attention,
            "loss": _ways_of_loss(self.head),
            **({"adapters": "in place"} if self.adapters_in_place else {}),
            **({"norms": "fused"} if self.fused_norms else {}),
            **({"gates": "compiled"} if self.compiled_parts else {}),
            **({} if self.decoder is None else {"layers": "by hand"}),
        }


def _ways_of_loss(head: Head | None) -> str:
    if head is None:
        return "whole logits"
    return "chunked logits, compiled" if head.is_compiled else "chunked logits"


# More tokens at once make no update faster, and need memory in proportion; short rows are of models that need little.
_SHORT_ROWS_TOKENS, _CPU_TOKENS, _GPU_TOKENS = 8192, 2048, 16384


def rows_at_once(job: TrainJob, row_width: int, device: torch.device, *, packed: bool = True) -> int:
    """Return how many rows go through the model at once: the recipe's micro_batch, else what divides an update.

    Args:
        job: what is trained.
        row_width: tokens of a row.
        device: a GPU takes more at once.
        packed: whether documents share rows.
    """
    rows_per_update = job.recipe.rows_per_update
    if job.recipe.micro_batch is not None:
        return job.recipe.micro_batch
    if not packed:
        # Groups of documents of one length make one batch each: together they would be padded to the longest of all.
        return 1
    at_once = _CPU_TOKENS if row_width > SHORT_ROW else _SHORT_ROWS_TOKENS
    most = (at_once if device.type == "cpu" else _GPU_TOKENS) // row_width
    return max((n for n in range(1, most + 1) if rows_per_update % n == 0), default=1)


# Products of float32 take as long in parts as whole. Those of bfloat16 are so fast that reading the weights once for
# each part shows: with 512 tokens an update of SmolLM2-135M took a sixth longer than with 1,024, with 1,536 as long.
# What is kept of each of its tokens for the backward pass is 1.6 MB in bfloat16.
_PART_TOKENS = {torch.bfloat16: 1024, torch.float32: 512}


def part_tokens(row_width: int, device: torch.device, computation: Computation, *, packed: bool) -> int | None:
    """Return how many tokens of a micro-batch are computed at once; `None` for all of them.

    Args:
        row_width: tokens of a row.
        device: a GPU has all of a micro-batch computed at once.
        computation: where it is transformers' own, as for short rows of small models, so is this.
        packed: whether documents share rows.
    """
    is_own = computation.head is None and computation.attention != DOCUMENT_ATTENTION
    most = most_part_tokens(computation.dtype)
    return None if is_own or not packed or device.type != "cpu" or row_width <= most else most


def most_part_tokens(dtype: torch.dtype) -> int:
    """Return how many tokens of packed rows are computed at once on a CPU; a longer document is, too."""
    return _PART_TOKENS[dtype]


class _Measured(NamedTuple):
    loss: float
    gradients: list[torch.Tensor]


def has_chunks(row_width: int, device: torch.device, hidden_size: int) -> bool:
    """Return whether other ways than transformers' own are tried for rows of this width."""
    short = SHORT_ROW if hidden_size >= _SMALL_HIDDEN else 2 * SHORT_ROW
    return device.type != "cpu" or row_width > short


def choose_computation(model: Any, row_width: int, device: torch.device, dtype: torch.dtype) -> Computation:
    """Choose attention and loss for a model, and leave it as it is.

    Args:
        model: on `device`, with the weights that are trained asking for gradients.
        row_width: tokens of a row.
        device: where it is computed.
        dtype: of the computation: float32, or bfloat16 under autocast.
    """
    own = attention_of(model)
    hidden_size = int(getattr(model.config.get_text_config(), "hidden_size", 0))
    if not has_chunks(row_width, device, hidden_size):
        return _by_hand(model, row_width, Computation(dtype, own, None), small=hidden_size < _SMALL_HIDDEN)
    register()
    with quiet(), _fixed(model):
        batch = _probe_batch(model, device)
        plain = Computation(dtype, own, None)
        expected = _measure(model, batch, plain)
        candidates = (DOCUMENT_ATTENTION,) if device.type == "cpu" else _GPU_ATTENTION
        attention = next(
            (name for name in candidates if _fits(model, plain._replace(attention=name), batch, expected)), own
        )
        heads = _heads(model, device)
        with_attention = plain._replace(attention=attention)
        head = next(
            (head for head in heads if _is_right(model, with_attention._replace(head=head), batch, expected)), None
        )
        found = with_attention._replace(head=head)

        def fits(installed: Callable[[Any], AbstractContextManager[int]]) -> bool:
            with installed(model) as n_parts:
                return n_parts > 0 and _is_right(model, found, batch, expected)

        kept = found._replace(
            adapters_in_place=fits(in_place_adapters),
            fused_norms=fits(fused_norms),
            compiled_parts=device.type == "cuda" and fits(compiled_parts),
        )
        set_attention(model, own)
    return kept


def _heads(model: Any, device: torch.device) -> list[Head]:
    """Return the ways to make a model's logits in chunks, from fast to slow."""
    head = find_head(model)
    if head is None:
        return []
    return [head._replace(is_compiled=True), head] if device.type == "cuda" else [head]


def _by_hand(model: Any, row_width: int, plain: Computation, *, small: bool) -> Computation:
    """Return the computation with the model's parts, where it gives the plain one's loss and all its gradients."""
    width = max(row_width, sum(_PROBE_LENGTHS) + _PROBE_TAIL)
    decoder = find_decoder(model, width) if small and plain.dtype == torch.float32 else None
    if decoder is None:
        return plain
    with quiet(), _fixed(model):
        batch = _probe_batch(model, torch.device("cpu"))
        n_supervised = int((batch["labels"][:, 1:] >= 0).sum())
        own = plain.loss(model, batch, n_supervised)
        expected = _Measured(own.item(), list(torch.autograd.grad(own, decoder.weights)))
        try:
            loss, gradients = decoder.gradients(batch, n_supervised)
        except (RuntimeError, IndexError):
            return plain
    agrees = _agrees(expected, _Measured(loss.item(), gradients), plain.dtype)
    return plain._replace(decoder=decoder) if agrees else plain


def attention_of(model: Any) -> str:
    """Return the name of the attention that a model computes with."""
    return str(model.config.get_text_config()._attn_implementation)  # noqa: SLF001  # it has no other name


def set_attention(model: Any, name: str) -> None:
    """Set the attention of a model, under an adapter too."""
    with quiet():
        getattr(model, "get_base_model", lambda: model)().set_attn_implementation(name)


def _fits(model: Any, computation: Computation, batch: dict[str, torch.Tensor], expected: _Measured) -> bool:
    """Set the attention if it gives what is expected; else leave the model's own."""
    own = attention_of(model)
    try:
        set_attention(model, computation.attention)
    except (ImportError, ValueError, KeyError, RuntimeError, OSError):
        return False
    is_set = attention_of(model) == computation.attention
    if is_set and _is_right(model, computation, batch, expected):
        return True
    set_attention(model, own)
    return False


def _is_right(model: Any, computation: Computation, batch: dict[str, torch.Tensor], expected: _Measured) -> bool:
    return _agrees(expected, _try_measure(model, batch, computation), computation.dtype)


def _try_measure(model: Any, batch: dict[str, torch.Tensor], computation: Computation) -> _Measured | None:
    try:
        return _measure(model, batch, computation)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # noqa: BLE001  # whatever a family's code raises when a part of it was replaced
        return None


def _measure(model: Any, batch: dict[str, torch.Tensor], computation: Computation) -> _Measured:
    trained = [weight for weight in model.parameters() if weight.requires_grad and weight.ndim >= 2]
    step = max(1, len(trained) // _PROBED_WEIGHTS)
    probed = [*trained[::step], *trained[-1:]]
    labels, dtype = batch["labels"], computation.dtype
    with torch.enable_grad(), torch.autocast(labels.device.type, dtype, enabled=dtype != torch.float32):
        loss = computation.loss(model, batch, int((labels[:, 1:] >= 0).sum()))
    gradients = torch.autograd.grad(loss, probed, allow_unused=True)
    return _Measured(loss.item(), [gradient.float() for gradient in gradients if gradient is not None])


def _agrees(expected: _Measured, found: _Measured | None, dtype: torch.dtype) -> bool:
    if found is None or len(expected.gradients) != len(found.gradients):
        return False
    tolerance = _TOLERANCE[dtype]
    largest = max(float(gradient.norm()) for gradient in expected.gradients)
    moved = [float((a - b).norm()) for a, b in zip(expected.gradients, found.gradients, strict=True)]
    sizes = [max(float(gradient.norm()), tolerance * largest) for gradient in expected.gradients]
    same_loss = abs(expected.loss - found.loss) <= tolerance / 10 * abs(expected.loss)
    return same_loss and all(a <= tolerance * b for a, b in zip(moved, sizes, strict=True))


def _probe_batch(model: Any, device: torch.device) -> dict[str, torch.Tensor]:
    """Return two rows of several documents, with padding; ids that every vocabulary has."""
    n_ids = int(model.get_input_embeddings().weight.shape[0])
    draw = np.random.default_rng(0)

    def piece(length: int) -> Piece:
        supervised = draw.random(length) < 0.7
        supervised[0] = False
        return Piece(draw.integers(0, n_ids, length).astype(np.int32), supervised)

    rows: Sequence[list[Piece]] = [
        [piece(length) for length in order] for order in (_PROBE_LENGTHS, _PROBE_LENGTHS[2:])
    ]
    batch = collate(rows, width=sum(_PROBE_LENGTHS) + _PROBE_TAIL, pad_id=0)
    return {name: value.to(device) for name, value in batch.items()}


@contextmanager
def _fixed(model: Any) -> Iterator[None]:
    """Turn dropout off, draw no random number and hold warnings back within it."""
    training = model.training
    model.eval()
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            yield
    finally:
        model.train(training)
