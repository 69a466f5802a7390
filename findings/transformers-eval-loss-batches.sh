#!/usr/bin/env bash
# Trainer's eval_loss depends on the evaluation's batch size, while its training loss does not depend on batches.
#
# Versions: torch 2.13.0, transformers 5.23.0, accelerate 1.15.0
#
# Guess from memory: as in training, where the loss is divided by the number of labels of the whole step however it is
#   cut into batches, eval_loss is the mean over all labels of the set.
# Behaviour: within a batch it is the mean over labels, and then the mean over batches. With rows of unlike numbers of
#   labels (chats with short and long answers, only answers having labels) the same model gets another eval_loss on
#   the same rows for each batch size: with one row a batch an answer of one token weighs as much as one of thirty.
#   Models that were evaluated with different batch sizes differ by that alone. No warning.
# Fix: one batch size and one order of rows for all models that are compared, or a sum over labels of one's own.
#
# Output seen:
#   mean over the 91 labels: 4.7860
#   batches of 1: training loss 4.7860, eval_loss 4.5650
#   batches of 2: training loss 4.7860, eval_loss 4.6055
#   batches of 4: training loss 4.7860, eval_loss 4.7356
#   batches of 8: training loss 4.7860, eval_loss 4.7860
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 accelerate==1.15.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1 TRANSFORMERS_VERBOSITY=error

cat > show.py <<'EOF'
import copy
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

torch.manual_seed(0)
MODEL = LlamaForCausalLM(LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=64, initializer_range=0.2,
))
N_TOKENS, N_LABELS = 32, (1, 1, 30, 2, 25, 1, 3, 28)  # of the answers of eight chats
ids = torch.randint(2, 64, (len(N_LABELS), N_TOKENS))
ROWS = [
    {"input_ids": row.tolist(), "labels": [-100] * (N_TOKENS - n) + row[N_TOKENS - n:].tolist()}
    for row, n in zip(ids, N_LABELS, strict=True)
]


def trainer(**settings):
    common = dict(output_dir="out", use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True, max_steps=1,
                  logging_steps=1, learning_rate=0.0)
    made = Trainer(copy.deepcopy(MODEL), TrainingArguments(**common, **settings), train_dataset=ROWS, eval_dataset=ROWS)
    made.log = lambda logs, *_: made.state.log_history.append(logs)
    return made


with torch.no_grad():
    logs = MODEL(input_ids=ids).logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
by_label = -sum(row[N_TOKENS - 1 - n:].sum() for row, n in zip(logs, N_LABELS, strict=True)).item() / sum(N_LABELS)
print(f"mean over the {sum(N_LABELS)} labels: {by_label:.4f}")

train, evaluate = {}, {}
for size in (1, 2, 4, 8):
    training = trainer(per_device_train_batch_size=size, gradient_accumulation_steps=8 // size)
    training.train()
    train[size] = training.state.log_history[0]["loss"]
    evaluate[size] = trainer(per_device_eval_batch_size=size).evaluate()["eval_loss"]
    print(f"batches of {size}: training loss {train[size]:.4f}, eval_loss {evaluate[size]:.4f}")

same = all(abs(loss - by_label) < 1e-3 for loss in (*train.values(), evaluate[8]))
if not same or not all(abs(evaluate[size] - by_label) > 0.05 for size in (1, 2, 4)):
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
