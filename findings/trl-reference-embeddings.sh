#!/usr/bin/env bash
# TRL's reference of an adapter on embeddings is another model: the first loss of DPO is not the logarithm of 2.
#
# Versions: torch 2.13.0, transformers 5.23.0, peft 0.21.2, trl 1.16.0, accelerate 1.15.0, datasets 5.2.0
#
# Guess from memory: DPO that goes on with a fine-tuned adapter keeps a frozen copy of it as the reference, so that before
#   the first update both are the same.
# Behaviour: TRL adds an adapter "ref" of the same configuration and copies the weights whose names have ".default." in
#   them. Those of embeddings are called lora_embedding_A.default and lora_embedding_B.default, with nothing behind, and
#   stay as a fresh adapter begins. The reference is so the fine-tuned model without what its embeddings learnt: rewards
#   and the KL term are against a model that nobody trained, from the first step on. GRPO copies likewise. No warning.
# Fix: copy what is called so too once the trainer is made, or merge the adapter into its base before.
#
# Output seen (the learning rate is 0, beta 1):
#   adapter on q_proj                first loss 0.6931
#   adapter on q_proj, embed_tokens  first loss 0.0051
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 peft==0.21.2 trl==1.16.0 accelerate==1.15.0 datasets==5.2.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"

cat > show.py <<'EOF'
import sys

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

vocabulary = "<pad> <s> </s> <unk> a b c d e f".split()
words = Tokenizer(models.WordLevel({word: at for at, word in enumerate(vocabulary)}, "<unk>"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
pairs = Dataset.from_list([{"prompt": "a b c d", "chosen": " e f a b", "rejected": " f e d c"}] * 4)


def first_loss(names):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=10, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                         initializer_range=0.5, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    model = get_peft_model(LlamaForCausalLM(config), LoraConfig(r=4, target_modules=names, task_type="CAUSAL_LM"))
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, 0, 0.3)  # as if it had been fine-tuned
    settings = DPOConfig(output_dir="out", max_steps=1, logging_steps=1, per_device_train_batch_size=4, learning_rate=0.0,
                         use_cpu=True, bf16=False, report_to=[], save_strategy="no", disable_tqdm=True, beta=1.0,
                         gradient_checkpointing=False)
    trainer = DPOTrainer(model, args=settings, train_dataset=pairs, processing_class=tokenizer)
    trainer.train()
    return next(row["loss"] for row in trainer.state.log_history if "loss" in row)


plain, embedded = first_loss(["q_proj"]), first_loss(["q_proj", "embed_tokens"])
print(f"adapter on q_proj                first loss {plain:.4f}")
print(f"adapter on q_proj, embed_tokens  first loss {embedded:.4f}")
if abs(plain - 0.6931) > 1e-3 or abs(embedded - 0.6931) < 0.01:
    sys.exit("the behaviour changed")
EOF
TQDM_DISABLE=1 "$work/venv/bin/python" show.py | grep "adapter on"
