#!/usr/bin/env bash
# The log-probabilities of a reply that Inspect's hf provider gives are not those of the reply's tokens.
#
# Versions: torch 2.13.0, transformers 5.23.0, accelerate 1.15.0, inspect_ai 0.3.285
#
# Guess from memory: logprobs=True gives the sampled tokens with the log-probability of each, as hosted APIs do, and
#   their sum is the log-probability of the reply.
# Behaviour: each entry is the likeliest token of its position and that one's log-probability, whichever was sampled.
#   The provider samples unless it is told not to. The tokens then spell another text than the completion, and the sum
#   is that of no reply, and too high: here by 12 nats in eight tokens. No warning.
# Fix: do_sample=False among the model's arguments where log-probabilities are read, or score replies with the model
#   itself.
#
# Output seen:
#   sampled:
#     completion       w31 w25 w29 w15 w9 w14 w9 w19
#     logprobs.token   w1 w25 w30 w24 w19 w24 user: w31
#     log-probability  of the completion -23.57, sum of logprobs -11.47
#   do_sample=False:
#     completion       w1 w16 w7 w7 w4 w29 w0 w29
#     logprobs.token   w1 w16 w7 w7 w4 w29 w0 w29
#     log-probability  of the completion -10.40, sum of logprobs -10.40
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 accelerate==1.15.0 inspect_ai==0.3.285
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1 TRANSFORMERS_VERBOSITY=error

cat > show.py <<'EOF'
import asyncio
import sys

import torch
from inspect_ai.model import GenerateConfig, get_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

vocab = {word: i for i, word in enumerate(["</s>", "user:", *(f"w{i}" for i in range(32))])}
words = Tokenizer(models.WordLevel(vocab))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>")
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=len(vocab), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=64, bos_token_id=None, eos_token_id=0, initializer_range=0.3,
)).eval()
model.save_pretrained("model")
tokenizer.save_pretrained("model")


@torch.no_grad()
def log_probability(prompt, reply):
    ids = torch.tensor([[vocab[word] for word in (prompt + reply)]])
    logs = model(input_ids=ids).logits[0].log_softmax(-1)
    return sum(logs[i - 1, ids[0, i]].item() for i in range(len(prompt), ids.shape[1]))


async def ask(**model_args):
    hf = get_model("hf/local", model_path="model", **model_args)
    config = GenerateConfig(max_tokens=8, seed=3, logprobs=True, top_logprobs=1)
    return await hf.generate("w1 w2 w3", config=config)


seen = {}
for title, model_args in {"sampled": {}, "do_sample=False": {"do_sample": False}}.items():
    choice = asyncio.run(ask(**model_args)).choices[0]
    reply = choice.message.text.split()
    tokens = [entry.token for entry in choice.logprobs.content]
    true = log_probability(["user:", "w1", "w2", "w3"], reply)
    told = sum(entry.logprob for entry in choice.logprobs.content)
    print(f"{title}:")
    print(f"  completion       {' '.join(reply)}")
    print(f"  logprobs.token   {' '.join(tokens)}")
    print(f"  log-probability  of the completion {true:.2f}, sum of logprobs {told:.2f}")
    assert len(reply) == len(tokens) == 8
    seen[title] = (reply == tokens, abs(told - true) < 0.01)

expected = {"sampled": (False, False), "do_sample=False": (True, True)}
if seen != expected:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
