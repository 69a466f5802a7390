"""How much of a bare PyTorch loop's speed is left in `midspec train`, on a model of the nano world's size.

    python benchmarks/training.py [--updates 150] [--rounds 3]

Both train the same Llama (2 layers, width 128, 200 tokens) on the same packed rows, 16 of 64 tokens an update, one
thread. They take turns, and CPU seconds are counted, so that a busy machine disturbs the ratio little.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from midspec.core.artifact import CHECKPOINTS
from midspec.models import quiet, use_threads
from midspec.train import Recipe, TrainJob
from midspec.train._checkpoint import open_start
from midspec.train._loop import run_updates
from midspec.train._pack import collate
from midspec.train._plan import Plan, plan_training

CPU = torch.device("cpu")
ARCHITECTURE = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "tie_word_embeddings": True,
    "initializer_range": 0.05,
}


def tokenizer() -> Any:
    """200 words."""
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<eos>", *(f"w{n}" for n in range(198))])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", pad_token="<pad>")


def job(folder: Path, n_updates: int) -> TrainJob:
    """Random documents of 20 to 60 words, enough for the updates."""
    draw = random.Random(0)
    lengths = [draw.randint(20, 60) for _ in range(n_updates * 24)]
    texts = [" ".join(f"w{draw.randrange(198)}" for _ in range(length)) for length in lengths]
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    recipe = Recipe(row_tokens=64, rows_per_update=16, learning_rate=1e-3, n_updates=n_updates, min_updates=1)
    return TrainJob(
        stage="pretrain",
        architecture=dict(ARCHITECTURE),
        tokenizer=str(folder),
        data=(str(folder / "rows.jsonl"),),
        recipe=recipe,
    )


def bare(model: Any, plan: Plan) -> None:
    """The least that trains: no records, no saving, no schedule."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    model.train()
    for rows in plan.updates:
        batch = collate(rows, width=plan.preflight.row_width, pad_id=0)
        model(**batch, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def main() -> None:
    """Take turns, and print updates a CPU second of each and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    use_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder, words = Path(name), tokenizer()
        words.save_pretrained(folder)
        asked = job(folder, options.updates)
        plan = plan_training(asked, words)
        seconds: dict[str, list[float]] = {"bare loop": [], "midspec train": []}
        for number in range(options.rounds + 1):
            for kind, spent in seconds.items():
                model = open_start(asked, words, dtype=torch.float32)
                shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # else the run before is gone on with
                start = time.process_time()
                with quiet():
                    if kind == "bare loop":
                        bare(model, plan)
                    else:
                        run_updates(model, asked, plan, folder, device=CPU, tokenizer=words)
                if number > 0:  # the first round warms up
                    spent.append(time.process_time() - start)
    speeds = {kind: options.updates / min(spent) for kind, spent in seconds.items()}
    for kind, speed in speeds.items():
        print(f"{kind:14} {speed:6.1f} updates a CPU second, {speed * 1024:8,.0f} tokens")
    print(f"ratio          {speeds['midspec train'] / speeds['bare loop']:.2f}")


if __name__ == "__main__":
    main()
