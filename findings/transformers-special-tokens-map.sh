#!/usr/bin/env bash
# special_tokens_map.json overrules tokenizer_config.json, or is not read at all: `added_tokens_decoder` decides it.
#
# Versions: transformers 5.23.0, tokenizers 0.23.3
#
# Guess from memory: the file, which transformers 5 no longer writes, is a copy of what tokenizer_config.json says.
# Behaviour: where tokenizer_config.json has no `added_tokens_decoder` (saved by transformers 5, or before 4.34) the tokens
#   of special_tokens_map.json win; where it has one, as 4.34 to 4.57 wrote it, the file is passed over. So `eos_token`
#   mended in one of the two does nothing, in the one or the other according to a key that has to do with neither; and
#   a file left in a folder that transformers 5 saves into comes back to life. No warning.
# Fix: remove the file after writing its tokens into tokenizer_config.json.
#
# Output seen (tokenizer_config.json says <a>, special_tokens_map.json <b>):
#   saved by transformers 5, without the file    <a>
#   saved by transformers 5, with the file       <b>
#   with added_tokens_decoder and the file       <a>
#   that saved again over the same folder        <b>
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

WORDS = ["one", "<a>", "<b>", "<unk>"]
words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
made = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<a>", unk_token="<unk>")
made.add_special_tokens({"additional_special_tokens": ["<b>"]})
folder = pathlib.Path("folder")
made.save_pretrained(folder)


def eos():
    return AutoTokenizer.from_pretrained(str(folder)).eos_token


seen = {"saved by transformers 5, without the file": eos()}
(folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": "<b>"}))
seen["saved by transformers 5, with the file"] = eos()
path = folder / "tokenizer_config.json"
settings = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
older = {str(number): {"content": WORDS[number], **settings} for number in (1, 2, 3)}
config = json.loads(path.read_text()) | {"added_tokens_decoder": older, "tokenizer_class": "PreTrainedTokenizerFast"}
path.write_text(json.dumps(config))
seen["with added_tokens_decoder and the file"] = eos()
AutoTokenizer.from_pretrained(str(folder)).save_pretrained(folder)
seen["that saved again over the same folder"] = eos()
for name, token in seen.items():
    print(f"{name:<43}  {token}")
if list(seen.values()) != ["<a>", "<b>", "<a>", "<b>"]:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
