"""A GGUF file as a checkpoint of transformers: weights, configuration, tokenizer and chat template.

The weights go into a fresh model of the family that the file names (transformers' own `gguf_file=` gives a model
that can be neither trained nor saved), and the tokenizer is built with the split that `tokenizer.ggml.pre` asks for
(transformers knows none for `smollm`). What the file says and this can't carry over is refused by its name.
The format is described at https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast

from midspec.core.errors import CheckpointError, ConfigError
from midspec.models._quiet import quiet

_HINT = "Use the model's own checkpoint instead of its GGUF file"

# Metadata of an architecture, and the setting of transformers' configuration that it gives.
_SETTINGS = {
    "context_length": "max_position_embeddings",
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.key_length": "head_dim",
    "vocab_size": "vocab_size",
}
_NEEDED = ("block_count", "embedding_length", "feed_forward_length", "attention.head_count")
# Read otherwise: each must agree with the settings above.
_AGREE = {"attention.value_length": "head_dim", "rope.dimension_count": "head_dim"}
_ROPE_THETA, _ROPE_SCALING = "rope.freq_base", "rope.scaling.type"
_FAMILIES = ("llama", "qwen2", "qwen3")

_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_ROPE_FACTORS = "rope_freqs.weight"

# How text is split before byte pairs are merged, as in the tokenizers that these names were given for.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_GPT2_NAMES = {"gpt-2", "gpt2", "olmo"}
_DIGITS_NAMES = {"smollm"}
_LLAMA3_NAMES = {"llama-bpe", "llama3", "llama-v3"}
_QWEN2_NAMES = {"qwen2", "deepseek-r1-qwen"}
_CONTROL, _USER_DEFINED = 3, 4


class GgufFile(NamedTuple):
    """What a GGUF file holds: metadata by key, and tensors by name (packed, with their kind)."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> GgufFile:
        """Read a file; its tensors stay on the disk.

        Raises:
            ConfigError: the package `gguf` is not installed.
            CheckpointError: it is no whole GGUF file.
        """
        try:
            from gguf import GGUFReader
        except ImportError as error:
            raise ConfigError(
                "reading GGUF files needs the package gguf", where=str(path), hint="pip install gguf"
            ) from error
        try:
            reader = GGUFReader(path)
            tensors = {tensor.name: tensor for tensor in reader.tensors}
            return cls(path, {key: field.contents() for key, field in reader.fields.items()}, tensors)
        except (ValueError, KeyError, IndexError, OSError, OverflowError) as error:
            reason = " ".join(str(error).split())[:120]
            raise CheckpointError(f"is no whole GGUF file ({reason})", where=str(path), hint="Get it again") from error

    def get(self, key: str) -> Any:
        """Return the value of a key, or `None`."""
        return self.metadata.get(key)

    def refusal(self, what: str) -> CheckpointError:
        """Make the error for what can't be carried over."""
        return CheckpointError(what, where=str(self.path), hint=_HINT)


def dequantise(file: Path, folder: Path) -> None:
    """Write the checkpoint in a GGUF file into `folder`: weights, configuration, tokenizer and chat template.

    The weights are saved in bfloat16 or float16 where that holds every value, else in float32.

    Raises:
        ConfigError: the package `gguf` is not installed.
        CheckpointError: it is no whole GGUF file, or of a kind that can't be carried over.
    """
    parts = GgufFile.open(file)
    config = read_config(parts)
    tokenizer = build_tokenizer(parts)
    weights = _smallest(read_weights(parts, config))
    with quiet(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=next(iter(weights.values())).dtype)
    _fill(model, weights, parts)
    ends = [parts.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
    known = list(dict.fromkeys(int(end) for end in ends if end is not None))
    model.generation_config = GenerationConfig(
        eos_token_id=known[0] if len(known) == 1 else known or None,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for path in folder.iterdir():
        # safetensors makes its files readable by their owner alone.
        shutil.copymode(folder / "config.json", path)


def read_config(parts: GgufFile) -> Any:
    """Make transformers' configuration of the file's metadata.

    Raises:
        CheckpointError: no whole model, another family, or a key of the architecture that is not carried over.
    """
    kind, family = parts.get("general.type") or "model", str(parts.get("general.architecture"))
    if kind != "model":
        raise parts.refusal(f"it holds no model (general.type is {kind})")
    if family not in _FAMILIES:
        raise parts.refusal(f"models of the architecture {family} are not read; known are {', '.join(_FAMILIES)}")
    given = {
        key.removeprefix(f"{family}."): value for key, value in parts.metadata.items() if key.startswith(f"{family}.")
    }
    lacking = [f"{family}.{key}" for key in _NEEDED if key not in given]
    if lacking or "token_embd.weight" not in parts.tensors:
        raise parts.refusal(f"it holds no whole model: it lacks {', '.join(lacking) or 'token_embd.weight'}")
    theta, scaling = float(given.pop(_ROPE_THETA, 10_000.0)), given.pop(_ROPE_SCALING, "none")
    values = {setting: given.pop(key) for key, setting in _SETTINGS.items() if key in given}
    values.setdefault(
        "head_dim", given.get("rope.dimension_count", values["hidden_size"] // values["num_attention_heads"])
    )
    for key, setting in _AGREE.items():
        if (value := given.pop(key, values[setting])) != values[setting]:
            raise parts.refusal(f"{family}.{key} is {value} and {setting} {values[setting]}")
    if given or scaling != "none":
        others = ", ".join(f"{family}.{key}" for key in [*given, *([_ROPE_SCALING] if scaling != "none" else [])])
        raise parts.refusal(f"it sets {others}, which are not carried over")
    values["vocab_size"] = parts.tensors["token_embd.weight"].shape[1]
    rope = {"rope_type": "default", "rope_theta": theta}
    if _ROPE_FACTORS in parts.tensors:
        rope = _llama3_rope(parts, theta, values["head_dim"])
    return AutoConfig.for_model(
        family,
        **{name: float(value) if isinstance(value, float) else int(value) for name, value in values.items()},
        rope_parameters=rope,
        tie_word_embeddings="output.weight" not in parts.tensors,
        **({"attention_bias": "blk.0.attn_q.bias" in parts.tensors} if family == "llama" else {}),
        **{f"{name}_token_id": parts.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")},
    )


def _llama3_rope(parts: GgufFile, theta: float, head_dim: int) -> dict[str, Any]:
    """Find the settings behind the factors by which Llama 3.1 and later stretch their positions.

    A GGUF file holds the factors alone. Their largest is the setting `factor`; the other settings are those of all
    Llama 3 models, and the factors that follow from them must be the file's.
    """
    factors = np.array(parts.tensors[_ROPE_FACTORS].data, dtype=np.float64).ravel()
    low, high, trained = 1.0, 4.0, 8192
    largest = float(factors.max())
    lengths = 2 * math.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
    share = (trained / lengths - low) / (high - low)
    smooth = 1 / ((1 - share) / largest + share)
    expected = np.where(lengths < trained / high, 1.0, np.where(lengths > trained / low, largest, smooth))
    if factors.shape != expected.shape or not np.allclose(factors, expected, rtol=1e-4):
        raise parts.refusal(f"{_ROPE_FACTORS} stretches positions in a way that is not known")
    shape = {"low_freq_factor": low, "high_freq_factor": high, "original_max_position_embeddings": trained}
    return {"rope_type": "llama3", "rope_theta": theta, "factor": largest, **shape}


def read_weights(parts: GgufFile, config: Any) -> dict[str, torch.Tensor]:
    """Dequantise all tensors to float32, under transformers' names.

    Raises:
        CheckpointError: a tensor has no known name, or is packed in a way that `gguf` does not know.
    """
    from gguf import dequantize

    found = {}
    for name, tensor in parts.tensors.items():
        if name == _ROPE_FACTORS:
            continue
        try:
            values = dequantize(tensor.data, tensor.tensor_type)
        except (NotImplementedError, KeyError, ValueError) as error:
            raise parts.refusal(f"{name} is packed as {tensor.tensor_type.name}, which is not read") from error
        weight = torch.from_numpy(np.array(values, dtype=np.float32)).reshape(*map(int, tensor.shape[::-1]))
        if config.model_type == "llama":
            weight = _unpermuted(name, weight, config)
        found[_hf_name(name, parts)] = weight
    return found


def _hf_name(name: str, parts: GgufFile) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in _NAMES:
        return f"{_NAMES[stem]}.{kind}"
    block, _, rest = stem.removeprefix("blk.").partition(".")
    if stem.startswith("blk.") and rest in _LAYER_NAMES:
        return f"model.layers.{block}.{_LAYER_NAMES[rest]}.{kind}"
    raise parts.refusal(f"it has a tensor {name}, which is not carried over")


def _unpermuted(name: str, weight: torch.Tensor, config: Any) -> torch.Tensor:
    """Undo llama.cpp's order of the rows of queries and keys: pairs beside each other instead of halves."""
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(name.split(".")[-2])
    if heads is None:
        return weight
    rest = weight.shape[1:]
    return weight.reshape(heads, -1, 2, *rest).transpose(1, 2).reshape(weight.shape).contiguous()


def _smallest(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights in the smallest type that holds all their values."""
    for dtype in (torch.bfloat16, torch.float16):
        if all(torch.equal(weight.to(dtype).float(), weight) for weight in weights.values()):
            return {name: weight.to(dtype) for name, weight in weights.items()}
    return weights


def _fill(model: Any, weights: Mapping[str, torch.Tensor], parts: GgufFile) -> None:
    """Put the weights into a model without any; names and shapes must be the model's."""
    wanted = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    for name, weight in weights.items():
        if tuple(weight.shape) != wanted.get(name):
            raise parts.refusal(f"{name} is {tuple(weight.shape)}, and {wanted.get(name)} by the file's metadata")
    if lacking := wanted.keys() - weights.keys():
        raise parts.refusal(f"{len(lacking)} tensors are missing ({min(lacking)}, say)")
    model.load_state_dict(dict(weights), strict=False, assign=True)
    model.tie_weights()


def build_tokenizer(parts: GgufFile) -> Any:
    """Build the byte-pair tokenizer that the metadata describes, with its special tokens and chat template.

    Raises:
        CheckpointError: another kind of tokenizer, or a way to split text that is not known.
    """
    kind, pre = parts.get("tokenizer.ggml.model"), str(parts.get("tokenizer.ggml.pre"))
    if kind != "gpt2":
        raise parts.refusal(f"tokenizers of the kind {kind} are not read; known is gpt2 (byte-level BPE)")
    tokens = cast("list[str]", parts.get("tokenizer.ggml.tokens") or [])
    if not tokens:
        raise parts.refusal("it holds no tokenizer (tokenizer.ggml.tokens)")
    merges = [tuple(merge.split(" ", 1)) for merge in parts.get("tokenizer.ggml.merges") or ()]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    whole_words = pre in _LLAMA3_NAMES  # Llama 3 takes a word that is a token as it is, whatever its merges say
    core = Tokenizer(models.BPE(vocabulary, merges, fuse_unk=False, ignore_merges=whole_words))
    core.pre_tokenizer = _split(pre, parts)
    core.decoder = decoders.ByteLevel()
    if pre in _QWEN2_NAMES:
        core.normalizer = normalizers.NFC()
    types = parts.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    of_type = {
        wanted: [
            AddedToken(token, normalized=False) for token, each in zip(tokens, types, strict=True) if each == wanted
        ]
        for wanted in (_CONTROL, _USER_DEFINED)
    }
    core.add_special_tokens(of_type[_CONTROL])
    core.add_tokens(of_type[_USER_DEFINED])
    named = {
        f"{ours}_token": tokens[number]
        for ours, theirs in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown"))
        if (number := parts.get(f"tokenizer.ggml.{theirs}_token_id")) is not None
    }
    begins = parts.get("tokenizer.ggml.add_bos_token")
    if (whole_words if begins is None else begins) and "bos_token" in named:
        bos = named["bos_token"]
        core.post_processor = processors.TemplateProcessing(
            single=f"{bos}:0 $A:0", pair=f"{bos}:0 $A:0 {bos}:1 $B:1", special_tokens=[(bos, vocabulary[bos])]
        )
    if core.get_vocab() != vocabulary:
        raise parts.refusal("the tokenizer does not come out with the file's tokens")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, clean_up_tokenization_spaces=False, **named)
    tokenizer.chat_template = parts.get("tokenizer.chat_template")
    return tokenizer


def _split(pre: str, parts: GgufFile) -> Any:
    """Return how text is split before merging, by the name that the file gives it."""
    if pre in _GPT2_NAMES:
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if pre in _DIGITS_NAMES:
        by_digit = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([by_digit, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    pattern = _LLAMA3 if pre in _LLAMA3_NAMES else _QWEN2 if pre in _QWEN2_NAMES else None
    if pattern is None:
        known = ", ".join(sorted(_GPT2_NAMES | _DIGITS_NAMES | _LLAMA3_NAMES | _QWEN2_NAMES))
        raise parts.refusal(f"text is split as {pre} asks, which is not known; known are {known}")
    by_pattern = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([by_pattern, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
