#!/usr/bin/env bash
# A byte-pair tokenizer trained on one's own text drops every character that this text does not have.
#
# Versions: tokenizers 0.23.3
#
# Guess from memory: with the ByteLevel pre-tokenizer no text is unknown; without it an unknown character is an
#   unknown token, or an error where none is named.
# Behaviour: BPE without unk_token leaves out what is not in the vocabulary, and the vocabulary has the characters (or
#   the byte symbols of ByteLevel) of the training text alone. Text is then shorter than it was, in training, in the
#   prompts of an evaluation and in what a perplexity is divided by: "not 7" is "not ", a price has no digits.
#   WordLevel, WordPiece and Unigram raise in the same place. No warning.
# Fix: BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet()), or unk_token among the special tokens; and
#   compare decode(encode(text)) with the text.
#
# Output seen:
#   BPE                           'the zebra sat, not 7' -> 'the e a sat not'
#   BPE, ByteLevel                'the zebra sat, not 7' -> 'the ea sat not '
#   BPE, ByteLevel, its alphabet  'the zebra sat, not 7' -> 'the zebra sat, not 7'
#   BPE with unk_token            'the zebra sat, not 7' -> 'the <unk> e <unk> <unk> a sat <unk> not <unk>'
#   WordLevel                     'the zebra sat, not 7' -> WordLevel error: Missing [UNK] token from the vocabulary
#   WordPiece                     'the zebra sat, not 7' -> WordPiece error: Missing [UNK] token from the vocabulary
#   Unigram                       'the zebra sat, not 7' -> Encountered an unknown token but `unk_id` is missing
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tokenizers==0.23.3
cd "$work"

cat > show.py <<'EOF'
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CORPUS = ["the cat sat on the mat", "a dog is not a cat"] * 20
TEXT = "the zebra sat, not 7"
byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
alphabet = pre_tokenizers.ByteLevel.alphabet()
WAYS = {
    "BPE": (models.BPE(), trainers.BpeTrainer, {}),
    "BPE, ByteLevel": (models.BPE(), trainers.BpeTrainer, {}),
    "BPE, ByteLevel, its alphabet": (models.BPE(), trainers.BpeTrainer, {"initial_alphabet": alphabet}),
    "BPE with unk_token": (models.BPE(unk_token="<unk>"), trainers.BpeTrainer, {"special_tokens": ["<unk>"]}),
    "WordLevel": (models.WordLevel(), trainers.WordLevelTrainer, {}),
    "WordPiece": (models.WordPiece(), trainers.WordPieceTrainer, {}),
    "Unigram": (models.Unigram(), trainers.UnigramTrainer, {}),
}
seen = {}
for title, (model, trainer, options) in WAYS.items():
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = byte_level if "ByteLevel" in title else pre_tokenizers.Whitespace()
    if "ByteLevel" in title:
        tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainer(vocab_size=300, show_progress=False, **options))
    try:
        encoded = tokenizer.encode(TEXT)
        seen[title] = repr(tokenizer.decode(encoded.ids, skip_special_tokens=False))
    except Exception as error:  # the Rust library raises no class of its own
        seen[title] = str(error)
    print(f"{title:<29} {TEXT!r} -> {seen[title]}")

raised = [title for title, result in seen.items() if not result.startswith("'")]
silent = [title for title in seen if title not in raised and "z" not in seen[title] and "<unk>" not in seen[title]]
if silent != ["BPE", "BPE, ByteLevel"] or raised != ["WordLevel", "WordPiece", "Unigram"]:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
