#!/usr/bin/env bash
# TRL's `disable_dropout` leaves attention's dropout on, so that a policy that equals its reference has a loss of its own.
#
# Versions: torch 2.13.0, transformers 5.23.0, trl 1.16.0, accelerate 1.15.0, datasets 5.2.0
#
# Guess from memory: `disable_dropout=True`, DPO's default, turns all dropout of a model off. Before the first update the
#   policy is the reference, and the loss is the logarithm of 2.
# Behaviour: only modules of class `torch.nn.Dropout` get a probability of 0. Layers that hand a share to a function
#   (`attention_dropout` of Llama, Qwen3 and most others, OPT's own dropout) drop on as long as the model trains, while
#   the reference does not: the rewards of the first step are those of two different models. No warning. It matters for
#   checkpoints whose configuration has such a share above 0.
# Fix: set these shares to 0 in the configuration before the model is made, or on its layers.
#
# Output seen (policy and reference have the same weights; the learning rate is 0):
#   attention_dropout 0.0  first loss 0.6931
#   attention_dropout 0.5  first loss 0.0190
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 trl==1.16.0 accelerate==1.15.0 datasets==5.2.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"

cat > show.py <<'EOF'
import sys

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

vocabulary = "<pad> <s> </s> <unk> a b c d e f".split()
words = Tokenizer(models.WordLevel({word: at for at, word in enumerate(vocabulary)}, "<unk>"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
pairs = Dataset.from_list([{"prompt": "a b c d", "chosen": " e f a b", "rejected": " f e d c"}] * 4)


def first_loss(share):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=10, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                         initializer_range=0.5, pad_token_id=0, bos_token_id=1, eos_token_id=2, attention_dropout=share)
    model, reference = LlamaForCausalLM(config), LlamaForCausalLM(config)
    reference.load_state_dict(model.state_dict())
    settings = DPOConfig(output_dir="out", max_steps=1, logging_steps=1, per_device_train_batch_size=4, learning_rate=0.0,
                         use_cpu=True, bf16=False, report_to=[], save_strategy="no", disable_tqdm=True, beta=1.0,
                         gradient_checkpointing=False)
    assert settings.disable_dropout
    trainer = DPOTrainer(model, ref_model=reference, args=settings, train_dataset=pairs, processing_class=tokenizer)
    trainer.train()
    return next(row["loss"] for row in trainer.state.log_history if "loss" in row)


plain, dropping = first_loss(0.0), first_loss(0.5)
print(f"attention_dropout 0.0  first loss {plain:.4f}")
print(f"attention_dropout 0.5  first loss {dropping:.4f}")
if abs(plain - 0.6931) > 1e-3 or abs(dropping - 0.6931) < 0.01:
    sys.exit("the behaviour changed")
EOF
TQDM_DISABLE=1 "$work/venv/bin/python" show.py | grep attention_dropout
