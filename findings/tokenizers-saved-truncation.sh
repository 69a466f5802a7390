#!/usr/bin/env bash
# A tokenizer that is saved after a call with truncation cuts every text of whoever reads tokenizer.json later.
#
# Versions: transformers 5.23.0, tokenizers 0.23.3
#
# Guess from memory: truncation=True and padding=True are settings of one call; what save_pretrained writes does not
#   depend on what was tokenized before.
# Behaviour: both are set in the Rust tokenizer and stay there until the next call, and tokenizer.json holds them. A
#   trainer that cuts its rows and then saves a checkpoint so writes a tokenizer that cuts at its row length.
#   AutoTokenizer sets both anew with each call, so it never shows. Tokenizer.from_file and all who read the file
#   without transformers (servers, other languages, counters of tokens) cut, without a warning.
# Fix: before saving, tokenizer.backend_tokenizer.no_truncation() and .no_padding(); or save before tokenizing.
#
# Output seen:
#   saved before any call                  Tokenizer 600, in a batch with 'a' [600, 1]; AutoTokenizer 600
#   after truncation=True, max_length=8    Tokenizer   8, in a batch with 'a' [8, 1]; AutoTokenizer 600
#   after padding=True, too                Tokenizer   8, in a batch with 'a' [8, 8]; AutoTokenizer 600
#   after no_truncation() and no_padding() Tokenizer 600, in a batch with 'a' [600, 1]; AutoTokenizer 600
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" TRANSFORMERS_VERBOSITY=error

cat > show.py <<'EOF'
import sys

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

made = Tokenizer(models.WordLevel({"<pad>": 0, "a": 1, "b": 2}, unk_token="<pad>"))
made.pre_tokenizer = pre_tokenizers.Whitespace()
PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>").save_pretrained("base")
LONG, SHORT = "a b " * 300, "a"
seen = {}


def show(title):
    read = Tokenizer.from_file("saved/tokenizer.json")
    seen[title] = [len(read.encode(LONG).ids)] + [len(one.ids) for one in read.encode_batch([LONG, SHORT])]
    auto = len(AutoTokenizer.from_pretrained("saved")(LONG)["input_ids"])
    print(f"{title:<38} Tokenizer {seen[title][0]:>3}, in a batch with 'a' {seen[title][1:]}; AutoTokenizer {auto}")


tokenizer = AutoTokenizer.from_pretrained("base")
tokenizer.save_pretrained("saved")
show("saved before any call")
tokenizer([LONG, SHORT], truncation=True, max_length=8)
tokenizer.save_pretrained("saved")
show("after truncation=True, max_length=8")
tokenizer([LONG, SHORT], truncation=True, max_length=8, padding=True)
tokenizer.save_pretrained("saved")
show("after padding=True, too")
tokenizer.backend_tokenizer.no_truncation()
tokenizer.backend_tokenizer.no_padding()
tokenizer.save_pretrained("saved")
show("after no_truncation() and no_padding()")
if list(seen.values()) != [[600, 600, 1], [8, 8, 1], [8, 8, 8], [600, 600, 1]]:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
