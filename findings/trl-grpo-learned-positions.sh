#!/usr/bin/env bash
# GRPOTrainer scores a short prompt of a mixed batch at shifted positions, if the model has learned positions.
#
# Versions: torch 2.13.0, transformers 5.23.0, trl 1.16.0, accelerate 1.15.0, datasets 5.2.0
#
# Guess from memory: padding is masked, so the log-probabilities of a row don't depend on what is beside it.
# Behaviour: the trainer pads prompts on the left and calls the model with input_ids and attention_mask alone.
#   GPT-2 counts positions from the first column, padding included, so each token of a short prompt is read at
#   a later position than it has. Rotary models see distances only and don't mind. generate() does derive positions
#   from the mask, so that a row is sampled at one set of positions and scored at another. No warning.
# Fix: give such a model position_ids that are derived from the attention mask.
#
# Output seen:
#   largest change of a completion token's log-probability against the same row alone, without padding
#     GPT-2 (learned positions)  long   prompt, in the batch       0.00000
#     GPT-2 (learned positions)  long   prompt, with position_ids  0.00000
#     GPT-2 (learned positions)  short  prompt, in the batch       1.69706
#     GPT-2 (learned positions)  short  prompt, with position_ids  0.00000
#     Llama (rotary positions)   long   prompt, in the batch       0.00000
#     Llama (rotary positions)   long   prompt, with position_ids  0.00000
#     Llama (rotary positions)   short  prompt, in the batch       0.00000
#     Llama (rotary positions)   short  prompt, with position_ids  0.00000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 trl==1.16.0 accelerate==1.15.0 datasets==5.2.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" CUDA_VISIBLE_DEVICES="" TOKENIZERS_PARALLELISM=false

cat > show.py <<'EOF'
import sys

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.trainer_callback import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

WORDS = ["<pad>", "<eos>", *(f"w{i}" for i in range(62))]
SHORT, LONG = "w1 w2 w3", " ".join(f"w{i}" for i in range(20, 36))


def tokenizer():
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<eos>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", padding_side="left")


def largest_change(model):
    """Train one step on a mixed batch; give the change of a short row's log-probabilities, unpadded, alone."""
    config = GRPOConfig(
        output_dir="out", per_device_train_batch_size=4, num_generations=2, max_completion_length=4, max_steps=1,
        learning_rate=1e-9, bf16=False, use_cpu=True, gradient_checkpointing=False, report_to="none",
        save_strategy="no", disable_tqdm=True, seed=0,
    )
    trainer = GRPOTrainer(
        model=model, args=config, processing_class=tokenizer(),
        reward_funcs=lambda completions, **_: [float(len(text)) for text in completions],
        train_dataset=Dataset.from_dict({"prompt": [SHORT, LONG]}),
    )
    scorer = trainer._get_per_token_logps_and_entropies
    found = {}

    def watched(model, input_ids, attention_mask, logits_to_keep, **rest):
        result = scorer(model, input_ids, attention_mask, logits_to_keep, **rest)
        for row in range(len(input_ids)):
            start = int(attention_mask[row].argmax())
            ids, mask = input_ids[row : row + 1, start:], attention_mask[row : row + 1, start:]
            with torch.no_grad():
                alone = scorer(model, ids, mask, logits_to_keep)[0][0]
                positions = (attention_mask[row : row + 1].cumsum(-1) - 1).clamp(min=0)
                logits = model(
                    input_ids=input_ids[row : row + 1], attention_mask=attention_mask[row : row + 1],
                    position_ids=positions,
                ).logits[0, -logits_to_keep - 1 : -1]
            placed = logits.log_softmax(-1).gather(-1, input_ids[row, -logits_to_keep:, None])[:, 0]
            kept = mask[0, -logits_to_keep:].bool()
            for name, value in {"in the batch": result[0][row].detach(), "with position_ids": placed}.items():
                change = (value - alone)[kept].abs().max().item()
                key = ("short" if start else "long", name)
                found[key] = max(change, found.get(key, 0.0))
        return result

    trainer._get_per_token_logps_and_entropies = watched
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return found


torch.manual_seed(0)
MODELS = {
    "GPT-2 (learned positions)": GPT2LMHeadModel(GPT2Config(
        vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=2, initializer_range=0.2, bos_token_id=1,
        eos_token_id=1, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )),
    "Llama (rotary positions)": LlamaForCausalLM(LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2, bos_token_id=1, eos_token_id=1,
    )),
}
seen = {title: largest_change(model) for title, model in MODELS.items()}
print("largest change of a completion token's log-probability against the same row alone, without padding")
for title, found in seen.items():
    for (length, name), change in sorted(found.items()):
        print(f"  {title:<26} {length:<6} prompt, {name:<18} {change:.5f}")

gpt2, llama = seen.values()
expected = gpt2["short", "in the batch"] > 0.05
quiet = [gpt2["long", "in the batch"], gpt2["short", "with position_ids"], *llama.values()]
if not expected or max(quiet) > 1e-3:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
