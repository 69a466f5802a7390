#!/usr/bin/env bash
# A .zst shard of text that was cut short loads as a shorter data set, where a .gz shard raises.
#
# Versions: datasets 5.2.0, zstandard 0.25.0 (with the fsspec and pandas that datasets brings)
#
# Guess from memory: a compressed file without its end (an unfinished download or copy) cannot be read to its end,
#   whatever compressed it: datasets raises, as it does for gzip, bzip2 and xz.
# Behaviour: zstandard's reader takes the end of the file for the end of the stream. Every whole block before the cut
#   is given, and nothing is said, streaming or not, by datasets as by pandas. A text corpus, in which each line is a
#   document, is simply smaller; its last document may be cut as well. JSON lines are saved by the broken last line
#   alone.
# Fix: `zstd --test` on every shard first, or compare the number of rows with the one that was published.
#
# Output seen:
#   zst  whole       load_dataset 50000   streaming 50000   pandas 50000
#   zst  cut to 60%  load_dataset 31719   streaming 31719   pandas 31719
#   gz   whole       load_dataset 50000   streaming 50000   pandas 50000
#   gz   cut to 60%  load_dataset DatasetGenerationError   streaming EOFError   pandas EOFError
#   bz2  whole       load_dataset 50000   streaming 50000   pandas 50000
#   bz2  cut to 60%  load_dataset DatasetGenerationError   streaming EOFError   pandas EOFError
#   xz   whole       load_dataset 50000   streaming 50000   pandas 50000
#   xz   cut to 60%  load_dataset DatasetGenerationError   streaming EOFError   pandas EOFError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet datasets==5.2.0 zstandard==0.25.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" HF_DATASETS_DISABLE_PROGRESS_BARS=1

cat > show.py <<'EOF'
import bz2
import gzip
import logging
import lzma
import sys
from pathlib import Path

import pandas as pd
import zstandard
from datasets import load_dataset

logging.disable()
N_DOCUMENTS = 50_000
corpus = "".join(f"document {i} gives reason {i * i}\n" for i in range(N_DOCUMENTS)).encode()
COMPRESS = {
    "zst": zstandard.ZstdCompressor().compress, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress,
}
READ = {
    "load_dataset": lambda path: len(load_dataset("text", data_files=path, split="train")),
    "streaming": lambda path: sum(1 for _ in load_dataset("text", data_files=path, split="train", streaming=True)),
    "pandas": lambda path: len(pd.read_csv(path, header=None)),
}


def outcome(read, path):
    try:
        return read(path)
    except Exception as error:  # that it raises, is the question
        return type(error).__name__


seen = {}
for suffix, compress in COMPRESS.items():
    for title, share in {"whole": 1, "cut to 60%": 0.6}.items():
        packed = compress(corpus)
        path = Path(f"{title[:3]}.txt.{suffix}")
        path.write_bytes(packed[: int(len(packed) * share)])
        rows = {name: outcome(read, str(path)) for name, read in READ.items()}
        print(f"{suffix:<4} {title:<11} " + "   ".join(f"{name} {n}" for name, n in rows.items()))
        seen[suffix, title] = list(rows.values())

whole = all(seen[suffix, "whole"] == [N_DOCUMENTS] * 3 for suffix in COMPRESS)
silent = all(isinstance(n, int) and 0 < n < N_DOCUMENTS for n in seen["zst", "cut to 60%"])
raised = all(isinstance(n, str) for suffix in ("gz", "bz2", "xz") for n in seen[suffix, "cut to 60%"])
if not (whole and silent and raised):
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
