#!/usr/bin/env bash
# A reply that begins with a space takes itself and all later replies out of the loss; one that ends with a space
# takes the user's turns in.
#
# Versions: transformers 5.23.0, tokenizers 0.23.3, Jinja2 3.1.6
#
# Guess from memory: return_assistant_tokens_mask (SFTTrainer's assistant_only_loss stands on it) marks the tokens of
#   what is written between {% generation %} and {% endgeneration %}, whatever the reply is.
# Behaviour: it asks the tokenizer which token holds the first character, and which the last. A byte-level tokenizer
#   with the post-processor processors.ByteLevel(), whose default is to trim offsets, says of a space at a token's edge
#   that none does. No token for the first character is taken for a chat that was cut off, so marking stops: neither
#   this reply nor any later one is trained. No token for the last one is taken for the end of the chat, so everything
#   from there on is trained, the user's turns, too. No warning.
# Fix: processors.ByteLevel(trim_offsets=False), or strip the replies. Decode the marked tokens of some rows.
#
# Output seen:
#   trim_offsets=False
#     first reply 'Sure.'  marked: 'Sure.Welcome.Bye.'
#     first reply ' Sure.' marked: ' Sure.Welcome.Bye.'
#     first reply 'Sure. ' marked: 'Sure. Welcome.Bye.'
#   trim_offsets=True
#     first reply 'Sure.'  marked: 'Sure.Welcome.Bye.'
#     first reply ' Sure.' marked: ''
#     first reply 'Sure. ' marked: 'Sure. </a><u>Thanks.</u><a>Welcome.</a><u>Bye.</u><a>Bye.</a>'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.23.0 tokenizers==0.23.3 Jinja2==3.1.6
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" TRANSFORMERS_VERBOSITY=error

cat > show.py <<'EOF'
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<a>' }}{% generation %}{{ m.content }}{% endgeneration %}{{ '</a>' }}"
    "{% else %}{{ '<u>' + m.content + '</u>' }}{% endif %}{% endfor %}"
)
made = Tokenizer(models.BPE())
made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
made.decoder = decoders.ByteLevel()
made.train_from_iterator(["Ask. Sure. Thanks. Welcome. Bye. "] * 20, trainers.BpeTrainer(
    vocab_size=320, special_tokens=["<u>", "</u>", "<a>", "</a>"], show_progress=False,
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
))


def marked(first_reply):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</a>")
    turns = ["Ask.", first_reply, "Thanks.", "Welcome.", "Bye.", "Bye."]
    out = tokenizer.apply_chat_template(
        [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)],
        chat_template=TEMPLATE, return_dict=True, return_assistant_tokens_mask=True,
    )
    pairs = zip(out["input_ids"], out["assistant_masks"], strict=True)
    return tokenizer.decode([token for token, is_marked in pairs if is_marked])


seen = {}
for trim_offsets, post_processor in ((False, processors.ByteLevel(trim_offsets=False)), (True, processors.ByteLevel())):
    made.post_processor = post_processor
    print(f"trim_offsets={trim_offsets}")
    for reply in ("Sure.", " Sure.", "Sure. "):
        seen[trim_offsets, reply] = text = marked(reply)
        print(f"  first reply {reply!r:<8} marked: {text!r}")
right = all(seen[False, reply] == reply + "Welcome.Bye." for reply in ("Sure.", " Sure.", "Sure. "))
to_the_end = "Sure. </a><u>Thanks.</u><a>Welcome.</a><u>Bye.</u><a>Bye.</a>"
if not right or (seen[True, " Sure."], seen[True, "Sure. "]) != ("", to_the_end):
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
