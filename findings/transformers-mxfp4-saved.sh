#!/usr/bin/env bash
# gpt-oss opened with its MXFP4 weights turned into bfloat16, then saved, is another model when it is opened again.
#
# Versions: transformers 5.23.0 (torch 2.13.0)
#
# Guess from memory: `from_pretrained(gpt_oss, quantization_config=Mxfp4Config(dequantize=True))`, which is how gpt-oss is
#   fine-tuned, gives a plain bfloat16 model (it is also what a machine without a GPU gets); `save_pretrained` writes it,
#   and `from_pretrained` reads it again.
# Behaviour: saving turns back the renaming of loading and not its numbers: bfloat16 experts stand in the file as
#   `down_proj_blocks` and `gate_up_proj_blocks`, without scales, and config.json has no `quantization_config`. Opened
#   again, all experts are drawn at random, with a table of MISSING and UNEXPECTED in the log and no error.
#   (A mixture in FP8, Qwen3-MoE say, can't be saved at all: "Undefined Operation encountered!".)
# Fix: before saving, `from transformers.conversion_mapping import get_model_conversion_mapping` and
#   `model._weight_conversions = get_model_conversion_mapping(model, add_legacy=False)`; load what was saved, and compare.
#
# Output seen:
#   saved as         down_proj_blocks gate_up_proj_blocks, bfloat16
#   opened again     experts are other ones
#   with the fix     experts are the same
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 transformers==5.23.0 accelerate==1.15.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"

cat > show.py <<'PY'
import json
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GptOssConfig, GptOssForCausalLM, Mxfp4Config, logging
from transformers.conversion_mapping import get_model_conversion_mapping

logging.set_verbosity_error()
logging.disable_progress_bar()
torch.manual_seed(0)
GptOssForCausalLM(GptOssConfig(
    vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16, num_local_experts=2, num_experts_per_tok=1, layer_types=["full_attention"],
    pad_token_id=0, eos_token_id=1, bos_token_id=None,
)).to(torch.bfloat16).save_pretrained("mxfp4")
found = load_file("mxfp4/model.safetensors")
for name in [name for name in found if name.endswith("experts.gate_up_proj") or name.endswith("experts.down_proj")]:
    n, inner, outer = found.pop(name).shape
    found[name + "_blocks"] = torch.randint(0, 256, (n, outer, inner // 32, 16), dtype=torch.uint8)
    found[name + "_scales"] = torch.full((n, outer, inner // 32), 121, dtype=torch.uint8)
save_file(found, "mxfp4/model.safetensors", metadata={"format": "pt"})
with open("mxfp4/config.json") as file:
    config = json.load(file)
config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
with open("mxfp4/config.json", "w") as file:
    json.dump(config, file)


def opened(folder, **more):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, **more)


def same(folder):
    one, other = (each.model.layers[0].mlp.experts.down_proj for each in (model, opened(folder)))
    return torch.equal(one, other)


model = opened("mxfp4", quantization_config=Mxfp4Config(dequantize=True))
model.save_pretrained("saved")
saved = {name.rpartition(".")[2]: one for name, one in load_file("saved/model.safetensors").items() if "proj_" in name}
names = sorted(name for name in saved if not name.endswith("bias"))
kinds = {str(one.dtype).removeprefix("torch.") for one in saved.values()}
print(f"  saved as         {' '.join(names)}, {', '.join(kinds)}")
wrong = same("saved")
print("  opened again     experts are", "the same" if wrong else "other ones")
model._weight_conversions = get_model_conversion_mapping(model, add_legacy=False)
model.save_pretrained("mended")
right = same("mended")
print("  with the fix     experts are", "the same" if right else "other ones")
sys.exit(0 if right and not wrong else "the behaviour changed")
PY
"$work/venv/bin/python" show.py
