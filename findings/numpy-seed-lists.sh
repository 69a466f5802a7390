#!/usr/bin/env bash
# default_rng([7, 0]) draws the very numbers of default_rng(7): fold 0 of a seed repeats the seed's own stream.
#
# Versions: numpy 2.4.6
#
# Guess from memory: a list is hashed with its length, so [seed, fold] gives every fold a stream of its own, and none
#   of them is the one of the seed alone.
# Behaviour: the numbers are cut into words of 32 bits, and the pool of four words is filled up with zeros. Zeros at
#   the end therefore count for nothing up to there: [7, 0] and [7, 0, 0, 0] are 7. A list is no list of separate
#   numbers, either: [7, 1] is 7 + 2**32. A split by default_rng(seed) and a bootstrap of fold 0 by default_rng([seed,
#   0]) so use one stream, and what was drawn by the one decides what the other draws. No warning.
# Fix: SeedSequence(seed).spawn(n), whose children are told apart also from the parent; or begin the list with another
#   number for each purpose (numbers above 0 at the end).
#
# Output seen:
#   7 and [7, 0]             the same stream
#   7 and [7, 0, 0, 0]       the same stream
#   7 and [7, 0, 0, 0, 0]    different
#   7 and [7, 1]             different
#   7 + 2**32 and [7, 1]     the same stream
#   7 and its first child    different
#   share of rows in a bootstrap by [7, 0] that a draw by 7 had taken: 100%
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6
cd "$work"

cat > show.py <<'EOF'
import sys

import numpy as np

PAIRS = {
    "7 and [7, 0]": (7, [7, 0]),
    "7 and [7, 0, 0, 0]": (7, [7, 0, 0, 0]),
    "7 and [7, 0, 0, 0, 0]": (7, [7, 0, 0, 0, 0]),
    "7 and [7, 1]": (7, [7, 1]),
    "7 + 2**32 and [7, 1]": (7 + 2**32, [7, 1]),
    "7 and its first child": (7, np.random.SeedSequence(7).spawn(1)[0]),
}
seen = {}
for title, seeds in PAIRS.items():
    first, second = (np.random.default_rng(seed).random(100) for seed in seeds)
    seen[title] = np.array_equal(first, second)
    print(f"{title:<24} {'the same stream' if seen[title] else 'different'}")

split = np.random.default_rng(7).integers(1000, size=500)
bootstrap = np.random.default_rng([7, 0]).integers(1000, size=500)
share = np.isin(bootstrap, split).mean()
print(f"share of rows in a bootstrap by [7, 0] that a draw by 7 had taken: {share:.0%}")
if list(seen.values()) != [True, True, False, False, True, False] or share != 1:
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
