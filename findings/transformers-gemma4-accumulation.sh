#!/usr/bin/env bash
# A Gemma 4 model loaded as a causal language model makes the Trainer's loss depend on gradient accumulation.
#
# Versions: torch 2.13.0, transformers 5.23.0, accelerate 1.15.0
#
# Guess from memory: the Trainer divides by the number of labels of the whole step, so 1 x 2 rows and 2 x 1 row train
#   alike; and AutoModelForCausalLM gives the text model of a checkpoint.
# Behaviour: for a saved Gemma4ForConditionalGeneration, AutoModelForCausalLM gives that same class, and it declares
#   accepts_loss_kwargs = False. The Trainer then takes the mean of the means of the micro-batches: a row with one
#   label weighs as much as a row with forty. Gemma4ForCausalLM, with the same weights, does not do that. No warning.
# Fix: where rows differ in their number of labels, keep accumulation at 1. Gemma4ForCausalLM.from_pretrained on the
#   same folder is no way out: its logits are others than those of the model that was saved.
#
# Output seen:
#   AutoModelForCausalLM gives Gemma4ForConditionalGeneration
#   mean over the 41 labels 5.9735, mean of the two rows' means 4.0230
#   Gemma4ForConditionalGeneration  accumulation 1 x 2 rows: loss 5.9735
#   Gemma4ForConditionalGeneration  accumulation 2 x 1 rows: loss 4.0230
#   Gemma4ForCausalLM               accumulation 1 x 2 rows: loss 5.9735
#   Gemma4ForCausalLM               accumulation 2 x 1 rows: loss 5.9735
#   Gemma4ForCausalLM.from_pretrained on the same folder: logits differ by up to 8.82
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 accelerate==1.15.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" CUDA_VISIBLE_DEVICES="" TOKENIZERS_PARALLELISM=false

cat > show.py <<'EOF'
import copy
import sys

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma4Config,
    Gemma4ForCausalLM,
    Gemma4ForConditionalGeneration,
    Gemma4TextConfig,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback

TEXT = dict(
    vocab_size=64, vocab_size_per_layer_input=64, hidden_size=32, hidden_size_per_layer_input=8,
    intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
    global_head_dim=16, layer_types=["sliding_attention", "full_attention"], max_position_embeddings=64,
    initializer_range=0.3, tie_word_embeddings=True,
)
torch.manual_seed(1)
Gemma4ForConditionalGeneration(Gemma4Config(text_config=TEXT)).save_pretrained("saved")
loaded = AutoModelForCausalLM.from_pretrained("saved")
print(f"AutoModelForCausalLM gives {type(loaded).__name__}")
text = Gemma4ForCausalLM(Gemma4TextConfig(**TEXT))
text.model.load_state_dict(loaded.model.language_model.state_dict())
text.tie_weights()

tokens = torch.randint(3, 64, (2, 41))
labels = tokens.clone()
labels[0, :-1] = -100  # one row with 1 label, one with 40 (the first token is no target)
rows = [{"input_ids": t, "labels": l} for t, l in zip(tokens, labels, strict=True)]
with torch.no_grad():
    one, forty = (
        loaded(input_ids=r["input_ids"][None], labels=r["labels"][None]).loss.item() for r in rows
    )
by_label, by_batch = (one + 40 * forty) / 41, (one + forty) / 2
print(f"mean over the 41 labels {by_label:.4f}, mean of the two rows' means {by_batch:.4f}")
assert abs(by_label - by_batch) > 0.05


def first_loss(model, batch, accumulation):
    arguments = TrainingArguments(
        output_dir="out", per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation, max_steps=1,
        learning_rate=1e-9, use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True,
    )
    trainer = Trainer(model=copy.deepcopy(model), args=arguments, train_dataset=rows)
    trainer.remove_callback(PrinterCallback)
    return trainer.train().training_loss


seen = {}
for model in (loaded, text):
    for batch, accumulation in ((2, 1), (1, 2)):
        loss = first_loss(model, batch, accumulation)
        seen[type(model).__name__, accumulation] = min(
            ("labels", "rows"), key=lambda name: abs(loss - {"labels": by_label, "rows": by_batch}[name])
        )
        print(f"{type(model).__name__:<31} accumulation {accumulation} x {batch} rows: loss {loss:.4f}")

with torch.no_grad():
    by_class = Gemma4ForCausalLM.from_pretrained("saved")(tokens).logits
    others = (by_class - loaded(tokens).logits).abs().max().item()
print(f"Gemma4ForCausalLM.from_pretrained on the same folder: logits differ by up to {others:.2f}")

expected = {
    ("Gemma4ForConditionalGeneration", 1): "labels", ("Gemma4ForConditionalGeneration", 2): "rows",
    ("Gemma4ForCausalLM", 1): "labels", ("Gemma4ForCausalLM", 2): "labels",
}
if seen != expected or others < 0.1:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
