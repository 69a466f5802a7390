"""How long a model computes: its sizes from its configuration, operations for a token, and rates of GPUs.

Nothing is opened and nothing is downloaded: sizes are read from a configuration that is here, or from a table.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from midspec.core.errors import CheckpointError
from midspec.models._find import find_checkpoint

# Dense bfloat16 with float32 sums, in 1e12 operations a second, as on the makers' data sheets (without sparsity).
PEAK_TFLOPS = {
    "h100": 989.0,  # SXM
    "h200": 989.0,
    "b200": 2250.0,
    "a100": 312.0,
    "l40s": 362.0,
    "a6000": 154.8,
    "rtx4090": 165.2,
    "mi300x": 1307.4,
}


class Hardware(NamedTuple):
    """What training is assumed to run on.

    Attributes:
        gpu: its name.
        tflops: its published rate, in 1e12 operations a second.
        utilization: the share of it that training reaches.
    """

    gpu: str = "h100"
    tflops: float = PEAK_TFLOPS["h100"]
    utilization: float = 0.35

    @classmethod
    def of(cls, gpu: str, utilization: float) -> Hardware:
        """Create it for one of `PEAK_TFLOPS`."""
        return cls(gpu, PEAK_TFLOPS[gpu], utilization)

    def hours(self, operations: float) -> float:
        """Return the GPU-hours of so many operations."""
        return operations / (self.tflops * 1e12 * self.utilization) / 3600

    @property
    def words(self) -> str:
        """Return the assumptions and the formula as a sentence."""
        rate = f"{self.utilization:g} of {self.tflops:g} TFLOP/s (bfloat16, {self.gpu.upper()})"
        return (
            f"assumed of training: {rate}; a token costs 4 operations a weight with LoRA and 6 in full training, dpo 2 "
            "more, and causal attention over a whole row. What is computed twice to save memory is not counted"
        )


class ModelShape(NamedTuple):
    """The sizes of a decoder that decide how much it computes.

    Attributes:
        n_layers: decoder layers.
        hidden: the size of the residual stream.
        inner: inside the gated feed-forward part, of all experts that a token goes through.
        queries: heads times their size.
        keys: heads of keys times their size.
        vocabulary: rows of the embedding.
        is_tied: the embedding is also the last layer.
    """

    n_layers: int
    hidden: int
    inner: int
    queries: int
    keys: int
    vocabulary: int
    is_tied: bool = False

    @property
    def n_computing(self) -> int:
        """Return the weights that every token is multiplied with: all but the table that it is looked up in."""
        attention = self.hidden * (2 * self.queries + 2 * self.keys)
        return self.n_layers * (attention + 3 * self.hidden * self.inner) + self.vocabulary * self.hidden

    @property
    def n_parameters(self) -> int:
        """Return the weights of a dense model, without norms and biases (under 0.1% of any)."""
        return self.n_computing + (0 if self.is_tied else self.vocabulary * self.hidden)

    def training_operations(self, n_tokens: int, row_tokens: int, *, is_lora: bool, passes: float = 0.0) -> float:
        """Return the operations of training on so many tokens.

        A forward pass is 2 operations a weight, and a backward pass 2 for the gradient of what came in and 2 for that
        of the weights, which an adapter under 2% of the weights spares. Attention over a row of S tokens is 2 S times
        `queries` a layer and pass, as half of all pairs are masked.

        Args:
            n_tokens: positions run over.
            row_tokens: of a row.
            is_lora: only an adapter is trained.
            passes: further forward passes, as of a reference model.
        """
        attention = 2 * row_tokens * self.queries * self.n_layers
        weights = (4 if is_lora else 6) + 2 * passes
        return n_tokens * (weights * self.n_computing + (3 + passes) * attention)


# From the models' own configurations on the hub; their published numbers of parameters are in the tests.
KNOWN_SHAPES = {
    "meta-llama/Llama-3.1-8B": ModelShape(32, 4096, 14336, 4096, 1024, 128256),
    "Qwen/Qwen2.5-14B-Instruct": ModelShape(48, 5120, 13824, 5120, 1024, 152064),
    "Qwen/Qwen2.5-32B-Instruct": ModelShape(64, 5120, 27648, 5120, 1024, 152064),
    "Qwen/Qwen3-8B": ModelShape(36, 4096, 12288, 4096, 1024, 151936),
    "Qwen/Qwen3-14B": ModelShape(40, 5120, 17408, 5120, 1024, 151936),
    "Qwen/Qwen3-32B": ModelShape(64, 5120, 25600, 8192, 1024, 151936),
}
KNOWN_SHAPES["meta-llama/Llama-3.1-8B-Instruct"] = KNOWN_SHAPES["meta-llama/Llama-3.1-8B"]


def shape_of(name: str) -> ModelShape | None:
    """Return the sizes of a checkpoint: a folder, or a hub name whose configuration is here or in `KNOWN_SHAPES`.

    Returns `None` where neither is.
    """
    if name in KNOWN_SHAPES:
        return KNOWN_SHAPES[name]
    try:
        place = find_checkpoint(name).model
    except CheckpointError:
        return None  # refused, with its reason, by what opens it
    if place in KNOWN_SHAPES:
        return KNOWN_SHAPES[place]
    path = Path(place) / "config.json"
    if not path.is_file():
        from huggingface_hub import try_to_load_from_cache

        with suppress(ValueError):  # no hub name
            cached = try_to_load_from_cache(place, "config.json")
            path = Path(cached) if isinstance(cached, str) else path
    if not path.is_file():
        return None
    config = json.loads(path.read_text(encoding="utf-8"))
    inside = config.get("text_config", config)
    return shape_of_config(inside.get) if isinstance(inside, dict) else None


def shape_of_config(get: Callable[[str], object]) -> ModelShape | None:
    """Return the sizes that a configuration names, by whatever its family calls them; `None` where some are missing."""

    def read(*names: str) -> int | None:
        return next((value for name in names if isinstance(value := get(name), int)), None)

    n_layers, hidden = read("num_hidden_layers", "n_layer"), read("hidden_size", "n_embd")
    heads, vocabulary = read("num_attention_heads", "n_head"), read("vocab_size")
    if not (n_layers and hidden and heads and vocabulary):
        return None
    size = read("head_dim") or hidden // heads
    inner = read("intermediate_size", "n_inner", "ffn_dim") or 4 * hidden
    if (experts := read("num_experts_per_tok", "top_k_experts", "moe_k", "moe_topk")) is not None:
        each = read("moe_intermediate_size") or inner
        n_shared = read("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert") or 0
        beside = inner if read("top_k_experts") else 0  # Gemma 4 has a layer for all tokens beside its experts
        inner = experts * each + (read("shared_expert_intermediate_size") or n_shared * each) + beside
    keys = (read("num_key_value_heads") or heads) * size
    return ModelShape(n_layers, hidden, inner, heads * size, keys, vocabulary, get("tie_word_embeddings") is True)
