#!/usr/bin/env bash
# Two WordPiece tokenizers trained on the same text with the same settings have different vocabularies.
#
# Versions: tokenizers 0.23.3
#
# Guess from memory: training draws nothing at random, so equal text gives an equal tokenizer, as byte-level BPE does.
# Behaviour: WordPiece comes out otherwise each time, in one process, too: other ids for the same pieces, and where
#   counts are equal other pieces. There is no seed. Unigram has the same pieces with the same splits, in another
#   order, so other ids. A checkpoint belongs to the tokenizer file of its own run: one that was trained again from
#   the same text loads without an error and reads every token as another one. BPE and WordLevel give the same each
#   time.
# Fix: train once, keep the file, and identify it by its content and not by its recipe.
#
# Output seen (of eight trainings; the numbers of WordPiece and Unigram vary):
#   WordLevel  1 different tokenizers, 1 sets of pieces
#   BPE        1 different tokenizers, 1 sets of pieces
#   WordPiece  8 different tokenizers, 6 sets of pieces
#   Unigram    6 different tokenizers, 1 sets of pieces
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tokenizers==0.23.3
cd "$work"

cat > show.py <<'EOF'
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

CORPUS = [
    "the cat sat on the mat and the dog",
    "a dog is not a cat but a good companion",
    "people value honesty and kindness in models",
] * 20


def vocabulary(model, trainer):
    tokenizer = Tokenizer(model())
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(CORPUS, trainer(vocab_size=90, show_progress=False))
    return tokenizer.get_vocab()


n_different = {}
for name, trainer in {
    "WordLevel": trainers.WordLevelTrainer, "BPE": trainers.BpeTrainer,
    "WordPiece": trainers.WordPieceTrainer, "Unigram": trainers.UnigramTrainer,
}.items():
    trained = [vocabulary(getattr(models, name), trainer) for _ in range(8)]
    n_different[name] = len({tuple(sorted(vocab.items())) for vocab in trained})
    n_sets = len({tuple(sorted(vocab)) for vocab in trained})
    print(f"{name:<10} {n_different[name]} different tokenizers, {n_sets} sets of pieces")
steady = [name for name, n in n_different.items() if n == 1]
if steady != ["WordLevel", "BPE"]:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
