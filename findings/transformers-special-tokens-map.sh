#!/usr/bin/env bash
# special_tokens_map.json, which transformers 5 no longer writes, still overrules tokenizer_config.json.
#
# Versions: transformers 5.23.0, tokenizers 0.23.3
#
# Guess from memory: since transformers 4.3x tokenizer_config.json says it all, and the small file beside it is a copy.
# Behaviour: where the file lies in a folder (checkpoints of transformers 4, and all that were downloaded then), its
#   tokens win. Whoever mends `eos_token` in tokenizer_config.json, as advised for models that do not end, changes
#   nothing; a digest or a diff of tokenizer_config.json and tokenizer.json does not see which token ends a text. A
#   copy saved by transformers 5 has the file's tokens in tokenizer_config.json and no such file. No warning.
# Fix: remove the file after writing its tokens into tokenizer_config.json, or open and save the tokenizer once.
#
# Output seen (tokenizer_config.json says <a>, special_tokens_map.json <b>):
#   eos without the file  <a>
#   eos with the file     <b>
#   after saving again    <b>, in tokenizer_config.json <b>, with the file: False
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

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

words = Tokenizer(models.WordLevel({"one": 0, "<a>": 1, "<b>": 2, "<unk>": 3}, unk_token="<unk>"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
made = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<a>", unk_token="<unk>")
made.add_special_tokens({"additional_special_tokens": ["<b>"]})
folder, again = pathlib.Path("folder"), pathlib.Path("again")
made.save_pretrained(folder)


def eos(path):
    return AutoTokenizer.from_pretrained(str(path)).eos_token


seen = [eos(folder)]
(folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": "<b>"}))
seen.append(eos(folder))
AutoTokenizer.from_pretrained(str(folder)).save_pretrained(again)
seen += [eos(again), json.loads((again / "tokenizer_config.json").read_text())["eos_token"],
         (again / "special_tokens_map.json").exists()]
print(f"eos without the file  {seen[0]}")
print(f"eos with the file     {seen[1]}")
print(f"after saving again    {seen[2]}, in tokenizer_config.json {seen[3]}, with the file: {seen[4]}")
if seen != ["<a>", "<b>", "<b>", "<b>", False]:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
