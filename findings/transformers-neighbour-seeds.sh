#!/usr/bin/env bash
# Trainer runs of neighbouring seeds share their data order: the second epoch of seed 1 is the first one of seed 2.
#
# Versions: torch 2.13.0, transformers 5.23.0, accelerate 1.15.0
#
# Guess from memory: runs with seeds 1, 2, 3 are independent draws, in their initial weights as in the order of their rows.
# Behaviour: the sampler of accelerate is seeded anew for each epoch, with seed + epoch. Of three epochs by seeds 1 and
#   2 two are the same order, moved by one; the last epochs of one run are what the next run begins with. What the order
#   does to a model is so correlated between seeds, and a spread over seeds 1 to 5 is not one over independent orders.
#   torch's DistributedSampler adds seed and epoch, too. No warning.
# Fix: seeds that are further apart than there are epochs (100, 200, ...), or data_seed= with such numbers.
#
# Output seen (order of eight rows):
#   seed   1  epoch 1 54267310  epoch 2 04726513  epoch 3 24351067
#   seed   2  epoch 1 04726513  epoch 2 24351067  epoch 3 27365140
#   seed   3  epoch 1 24351067  epoch 2 27365140  epoch 3 36021457
#   epochs shared by seeds 1 and 2: 2; by 100 and 200: 0; by 1 and 2 with data_seed 100 and 200: 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 accelerate==1.15.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"

cat > show.py <<'EOF'
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, Trainer, TrainingArguments

ROWS = [{"input_ids": torch.full((3,), n), "labels": torch.full((3,), n)} for n in range(8)]


def orders(seed, **options):
    seen = []

    class Recorder(Trainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            seen.extend(inputs["input_ids"][:, 0].tolist())
            return super().compute_loss(model, inputs, *args, **kwargs)

    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2))
    trainer = Recorder(model=model, train_dataset=ROWS, args=TrainingArguments(
        output_dir="out", seed=seed, num_train_epochs=3, per_device_train_batch_size=4, use_cpu=True, report_to=[],
        save_strategy="no", logging_strategy="no", disable_tqdm=True, **options))
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return ["".join(map(str, seen[start : start + 8])) for start in (0, 8, 16)]


by_seed = {seed: orders(seed) for seed in (1, 2, 3, 100, 200)}
for seed in (1, 2, 3):
    print(f"seed {seed:3d}  " + "  ".join(f"epoch {n} {order}" for n, order in enumerate(by_seed[seed], start=1)))
shared = [
    len(set(first) & set(second))
    for first, second in (
        (by_seed[1], by_seed[2]),
        (by_seed[100], by_seed[200]),
        (orders(1, data_seed=100), orders(2, data_seed=200)),
    )
]
print("epochs shared by seeds 1 and 2: {}; by 100 and 200: {}; by 1 and 2 with data_seed 100 and 200: {}".format(*shared))
if shared != [2, 0, 0] or by_seed[1][1:] != by_seed[2][:2] or by_seed[2][1:] != by_seed[3][:2]:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
