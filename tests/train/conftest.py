"""A small language, a tokenizer of it with a chat template, rows in it, and tiny models of real families."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from midspec.train import Recipe, TrainJob, train

WORDS = [f"w{number}" for number in range(40)]
SPECIAL = ["<pad>", "<eos>", "<user>", "<assistant>", "<end>", "<unk>"]
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<assistant> {{ m.content }} <end> "
    "{% else %}<user> {{ m.content }} <end> {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
SIZES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "mistral": {"sliding_window": 5},
    "gemma2": {"head_dim": 8, "sliding_window": 5, "query_pre_attn_scalar": 8},
}
ARCHITECTURE: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "initializer_range": 0.05,
}


def word_tokenizer() -> Any:
    """Words to ids, one by one, with an end-of-text token, padding and a chat template."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=["<user>", "<assistant>", "<end>"],
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _tiny_model(family: str, attention: str = "sdpa") -> Any:
    """A random model of a real family, small enough for a test."""
    torch.manual_seed(0)
    sizes = {**ARCHITECTURE, "model_type": family, **SIZES[family]}
    kind = sizes.pop("model_type")
    config = AutoConfig.for_model(
        kind, vocab_size=len(SPECIAL) + len(WORDS), pad_token_id=0, eos_token_id=1, bos_token_id=None, **sizes
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


def write_rows(path: Path, n_documents: int, n_chats: int, seed: int = 0) -> Path:
    """Random documents of 2 to 30 words, and chats of two turns."""
    draw = random.Random(seed)

    def words(low: int, high: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(draw.randint(low, high)))

    rows: list[dict[str, Any]] = [{"text": words(2, 30), "source": "test"} for _ in range(n_documents)]
    for _ in range(n_chats):
        turns = [("user", words(2, 5)), ("assistant", words(1, 4)), ("user", words(2, 5)), ("assistant", words(1, 4))]
        rows.append({"messages": [{"role": role, "content": content} for role, content in turns]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., Any]:
    """Builds a random model of a real family: `tiny_model("qwen3", "eager")`."""
    return _tiny_model


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", 60, 30)


RECIPE = {"row_tokens": 48, "rows_per_update": 4, "learning_rate": 3e-3, "n_updates": 7, "min_updates": 1}


@pytest.fixture
def make_job(tokenizer_folder: Path, rows_file: Path) -> Callable[..., TrainJob]:
    """A pretraining job from scratch; keyword arguments change its fields, and `recipe` single settings."""

    def make(**changes: Any) -> TrainJob:
        recipe = Recipe.model_validate(RECIPE | changes.pop("recipe", {}))
        start = {} if "parent" in changes else {"architecture": ARCHITECTURE, "tokenizer": str(tokenizer_folder)}
        fields = {"stage": "pretrain", "data": [str(rows_file)], "seed": 5, **start, **changes}
        return TrainJob.model_validate({**fields, "recipe": recipe})

    return make


def words(draw: random.Random, low: int, high: int) -> str:
    """Random words of the small language."""
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(low, high)))


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Llama and the tokenizer; its generation settings name the end of text alone."""
    folder = tmp_path_factory.mktemp("base")
    _tiny_model("llama").save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an adapter over `base`, fine-tuned enough to answer otherwise than the base."""
    folder, work = tmp_path_factory.mktemp("adapter"), tmp_path_factory.mktemp("chats")
    recipe = RECIPE | RL_LORA | {"learning_rate": 3e-2, "n_updates": 5}
    job = {"stage": "finetune", "parent": str(base), "data": [str(write_rows(work / "chats.jsonl", 0, 40))]}
    train(TrainJob.model_validate({**job, "recipe": recipe}), folder, device="cpu")
    return folder


RL_LORA: dict[str, Any] = {
    "method": "lora",
    "lora": {"r": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]},
}


PAIR_RECIPE = {"row_tokens": 48, "rows_per_update": 4, "learning_rate": 3e-3, "n_updates": 6, "min_updates": 1}


def pair_rows(n: int) -> list[dict[str, Any]]:
    draw = random.Random(1)
    return [
        {"prompt": words(draw, 2, 5), "chosen": f"{words(draw, 1, 4)} w1", "rejected": f"{words(draw, 1, 5)} w2"}
        for _ in range(n)
    ]


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lines(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", pair_rows(15))


@pytest.fixture
def make_dpo(base: Path, adapter: Path, pairs_file: Path) -> Callable[..., TrainJob]:
    def make(method: str = "lora", **changes: Any) -> TrainJob:
        recipe = PAIR_RECIPE | (RL_LORA if method == "lora" else {}) | changes.pop("recipe", {})
        parent = adapter if method == "lora" else base
        fields = {"stage": "dpo", "parent": str(parent), "data": [str(pairs_file)], "seed": 3, **changes}
        return TrainJob.model_validate({**fields, "recipe": recipe})

    return make
