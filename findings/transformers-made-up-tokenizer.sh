#!/usr/bin/env bash
# AutoTokenizer opens a folder that has no tokenizer, if the model is a Qwen, GPT-2, GPT-NeoX, OPT or Gemma; all text is lost.
#
# Versions: transformers 5.23.0, tokenizers 0.23.3
#
# Guess from memory: a checkpoint without the files of a tokenizer (Trainer without processing_class, a merge, a copy of
#   weights and config) raises when its tokenizer is asked for.
# Behaviour: Llama, Mistral and Phi-3 raise ValueError. Of the others config.json is enough: the class named there is
#   made without a vocabulary, and has the family's special tokens alone. Every text is then no token at all (Gemma: one
#   <unk>), so that prompts are empty, all rows of a data set are alike, and a model answers the same to everything.
# Fix: refuse a tokenizer with len(tokenizer) <= len(tokenizer.added_tokens_decoder), or save it with each checkpoint.
#
# Output seen:
#   qwen2    Qwen2Tokenizer    1 tokens, 'The cat sat.' is []
#   qwen3    Qwen2Tokenizer    1 tokens, 'The cat sat.' is []
#   gpt2     GPT2Tokenizer     1 tokens, 'The cat sat.' is []
#   gpt_neox GPTNeoXTokenizer  2 tokens, 'The cat sat.' is []
#   opt      GPT2Tokenizer     1 tokens, 'The cat sat.' is []
#   gemma2   GemmaTokenizer    5 tokens, 'The cat sat.' is ['<unk>']
#   llama    ValueError
#   mistral  ValueError
#   phi3     ValueError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"

cat > show.py <<'EOF'
import json
import pathlib
import sys

from transformers import AutoTokenizer

EXPECTED = {"qwen2": [], "qwen3": [], "gpt2": [], "gpt_neox": [], "opt": [], "gemma2": ["<unk>"],
            "llama": None, "mistral": None, "phi3": None}
for model_type, expected in EXPECTED.items():
    folder = pathlib.Path(model_type)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except ValueError:
        seen = None
        print(f"{model_type:<8} ValueError")
    else:
        seen = tokenizer.convert_ids_to_tokens(tokenizer("The cat sat.")["input_ids"])
        print(f"{model_type:<8} {type(tokenizer).__name__:<17} {len(tokenizer)} tokens, 'The cat sat.' is {seen}")
    if seen != expected:
        sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
