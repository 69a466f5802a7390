#!/usr/bin/env bash
# A checkpoint saved by transformers 5 has another rope base when transformers 4 reads it: 10,000 for a million.
#
# Versions: transformers 5.23.0 writes, transformers 4.57.6 reads
#
# Guess from memory: config.json is the stable part of a checkpoint. What another version doesn't know is an error, or
#   makes no difference.
# Behaviour: version 5 writes rope_parameters, and no rope_theta, rope_scaling or partial_rotary_factor any more.
#   Version 4 keeps the unknown key beside the defaults of its config class, without a warning: a Qwen loses its base of
#   a million, a Llama 3 its scaling as well, a Phi the share of each head that is rotated. The weights load and the
#   model talks, with every distance between tokens read wrongly. A server, a quantizer or an evaluation that is pinned
#   to version 4 so runs another model than the one that was trained.
# Fix: write the old keys into config.json beside the new one; both versions then read the same.
#
# Output seen:
#   transformers 5.23.0 reads
#     qwen3        base 1,000,000  scaling default
#     llama3       base   500,000  scaling llama3
#     phi          base    10,000  scaling default   rotated share 0.4
#     qwen3-fixed  base 1,000,000  scaling default
#   transformers 4.57.6 reads
#     qwen3        base    10,000  scaling default
#     llama3       base    10,000  scaling default
#     phi          base    10,000  scaling default   rotated share 0.5
#     qwen3-fixed  base 1,000,000  scaling default
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for version in 5.23.0 4.57.6; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install --quiet "transformers==$version"
done
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"

cat > write.py <<'EOF'
import json
import pathlib

from transformers import LlamaConfig, PhiConfig, Qwen3Config

QWEN = Qwen3Config(rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0})
QWEN.save_pretrained("qwen3")
LlamaConfig(rope_parameters={
    "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}).save_pretrained("llama3")
PhiConfig(
    rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.4}
).save_pretrained("phi")
QWEN.save_pretrained("qwen3-fixed")
path = pathlib.Path("qwen3-fixed/config.json")
path.write_text(json.dumps(json.loads(path.read_text()) | {"rope_theta": 1_000_000.0}))
EOF
cat > read.py <<'EOF'
import sys

import transformers
from transformers import AutoConfig

IS_NEW = transformers.__version__.startswith("5")


def rope(name):
    config = AutoConfig.from_pretrained(name)
    if IS_NEW:
        known = config.rope_parameters
        return known["rope_theta"], known["rope_type"], known.get("partial_rotary_factor")
    scaling = config.rope_scaling or {"rope_type": "default"}
    return config.rope_theta, scaling["rope_type"], getattr(config, "partial_rotary_factor", None)


seen = {name: rope(name) for name in ("qwen3", "llama3", "phi", "qwen3-fixed")}
print(f"transformers {transformers.__version__} reads")
for name, (base, scaling, share) in seen.items():
    print(f"  {name:<12} base {base:>9,.0f}  scaling {scaling}" + (f"   rotated share {share}" if share else ""))
written = {
    "qwen3": (1e6, "default", None), "llama3": (5e5, "llama3", None), "phi": (1e4, "default", 0.4),
    "qwen3-fixed": (1e6, "default", None),
}
read_by_4 = written | {"qwen3": (1e4, "default", None), "llama3": (1e4, "default", None), "phi": (1e4, "default", 0.5)}
if seen != (written if IS_NEW else read_by_4):
    sys.exit(f"the behaviour changed: {seen}")
EOF
5.23.0/bin/python write.py
5.23.0/bin/python read.py
4.57.6/bin/python read.py
