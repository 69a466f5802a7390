#!/usr/bin/env bash
# A resumed Trainer run keeps the old learning rate and weight decay, and takes the new length: one step is made at rate 0.
#
# Versions: torch 2.13.0, transformers 5.23.0, accelerate 1.15.0
#
# Guess from memory: train(resume_from_checkpoint=...) goes on from the saved weights and moments with the arguments given
#   now; or with the ones of then, all of them.
# Behaviour: learning_rate, weight_decay and the rest of the optimizer's groups are read from the checkpoint, whatever the
#   new arguments say. The form of the schedule (max_steps, epochs, warm-up, kind) is not saved, so that is the new one.
#   A run of 2 linear steps that is prolonged to 6 makes its next step at the saved rate, which was the end of the
#   old schedule, 0, and then jumps onto the new one. No warning.
# Fix: to change a rate, start a new run from the checkpoint as a model. To train longer, choose the length before.
#
# Output seen (saved: 2 steps at 1e-3, weight decay 0.1; then resumed with 1e-5 and 0.5):
#   constant, to 4 steps  rates 0.001 0.001 | 0.001 0.001  weight decay 0.1
#   linear, to 6 steps    rates 0.001 0.0005 | 0 0.0005 0.000333 0.000167  weight decay 0.1
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 accelerate==1.15.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"

cat > show.py <<'EOF'
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

ROWS = [{"input_ids": torch.full((3,), n), "labels": torch.full((3,), n)} for n in range(24)]


def train(kind, n_steps, learning_rate, weight_decay, checkpoint=None):
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=24, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2))
    rates = []

    class Recorder(Trainer):
        def training_step(self, *args, **kwargs):
            rates.append(float(f"{self.optimizer.param_groups[0]['lr']:.3g}"))
            return super().training_step(*args, **kwargs)

    trainer = Recorder(model=model, train_dataset=ROWS, args=TrainingArguments(
        output_dir=kind, seed=1, max_steps=n_steps, lr_scheduler_type=kind, learning_rate=learning_rate,
        weight_decay=weight_decay, per_device_train_batch_size=4, use_cpu=True, report_to=[], save_steps=2,
        logging_strategy="no", disable_tqdm=True))
    trainer.train(resume_from_checkpoint=checkpoint)
    return rates, max(group["weight_decay"] for group in trainer.optimizer.param_groups)


EXPECTED = {
    ("constant", 4): [0.001, 0.001, 0.001, 0.001],
    ("linear", 6): [0.001, 0.0005, 0, 0.0005, 0.000333, 0.000167],
}
for (kind, n_steps), expected in EXPECTED.items():
    before, _ = train(kind, 2, 1e-3, 0.1)
    after, weight_decay = train(kind, n_steps, 1e-5, 0.5, f"{kind}/checkpoint-2")
    shown = [" ".join(f"{rate:g}" for rate in rates) for rates in (before, after)]
    print(f"{f'{kind}, to {n_steps} steps':<21} rates {shown[0]} | {shown[1]}  weight decay {weight_decay}")
    if before + after != expected or weight_decay != 0.1:
        sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
