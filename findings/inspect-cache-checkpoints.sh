#!/usr/bin/env bash
# With cache=True a second checkpoint under one model name is scored on the first one's replies.
#
# Versions: torch 2.13.0, transformers 5.23.0, accelerate 1.15.0, inspect_ai 0.3.285
#
# Guess from memory: the cache of replies tells two checkpoints apart, since model_path is an argument of the model
#   and stands in the log.
# Behaviour: the key is made of the model's name, base_url, generate config, messages, tools, and epoch. Arguments of
#   the model are not in it. Local checkpoints are asked as hf/local with model_path, so they share a name, and the
#   second one is given the replies of the first: equal scores, no warning, and a log that names the second. A folder
#   that was trained on and is asked again under its own name gets its old replies likewise.
# Fix: no cache for local models, or CachePolicy(scopes={"checkpoint": a digest of the weights}).
#
# Output seen:
#   without a cache: base 'w1 w16 w7 w7 w4 w29', tuned 'w28 w28 w29'; model_path in the second log: tuned
#   cache=True:      base 'w1 w16 w7 w7 w4 w29', tuned 'w1 w16 w7 w7 w4 w29'; model_path in the second log: tuned
#   with scopes:     base 'w1 w16 w7 w7 w4 w29', tuned 'w28 w28 w29'; model_path in the second log: tuned
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 accelerate==1.15.0 inspect_ai==0.3.285
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1 TRANSFORMERS_VERBOSITY=error
export INSPECT_CACHE_DIR="$work/cache"

cat > show.py <<'EOF'
import sys

import torch
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import CachePolicy, get_model
from inspect_ai.scorer import match
from inspect_ai.solver import generate
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

vocab = {word: i for i, word in enumerate(["</s>", "user:", *(f"w{i}" for i in range(32))])}
words = Tokenizer(models.WordLevel(vocab))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>")
for seed, name in enumerate(["base", "tuned"]):
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(vocab), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=64, bos_token_id=None, eos_token_id=0, initializer_range=0.3,
    ))
    model.save_pretrained(name)
    tokenizer.save_pretrained(name)


def reply(name, cache):
    task = Task(dataset=[Sample(input="w1 w2 w3", target="w4")], solver=generate(cache=cache), scorer=match())
    hf = get_model("hf/local", model_path=name, do_sample=False, memoize=False)
    (log,) = eval(task, model=hf, max_tokens=6, display="none", log_dir="logs")
    return log.samples[0].output.completion, log.eval.model_args["model_path"]


seen = {}
for title, cache_of in {
    "without a cache": lambda name: False,
    "cache=True": lambda name: True,
    "with scopes": lambda name: CachePolicy(scopes={"checkpoint": name}),
}.items():
    (base, _), (tuned, named) = (reply(name, cache_of(name)) for name in ("base", "tuned"))
    print(f"{title + ':':<16} base {base!r}, tuned {tuned!r}; model_path in the second log: {named}")
    seen[title] = (base == tuned, named)

expected = {"without a cache": (False, "tuned"), "cache=True": (True, "tuned"), "with scopes": (False, "tuned")}
if seen != expected:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
