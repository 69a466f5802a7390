#!/usr/bin/env bash
# Whether documents of a packed row see each other depends on the model type, on use_cache, and on a mask of ones.
#
# Versions: torch 2.13.0, transformers 5.23.0
#
# Guess from memory: a row of two documents whose position_ids start anew at the second is taken as packed, and sdpa
#   and eager attention keep the documents apart, in training and in evaluation, in any decoder.
# Behaviour: they do so only if no cache is made and no attention mask is given. use_cache is on unless one says
#   otherwise (Trainer does), so the same row leaks when a loaded model scores it by model(input_ids,
#   position_ids=...), and with an attention_mask of ones, too. OPT, Falcon, gpt-oss and Granite's hybrid never look
#   at position_ids when they make the mask, and recurrent and convolutional layers (Mamba, Qwen3-Next, LFM2; in
#   torch, without CUDA kernels) carry on over the boundary: in all of these the second document sees the first one
#   whatever one sets, in training as well. No warning.
# Fix: use_cache=False and no mask where packed rows are scored; for types that leak, one document a row. To test a
#   model: replace the first document, and see whether logits of the second move.
#
# Output seen (largest change of a logit of the second document when the first one is replaced):
#                        use_cache=False      nothing said      mask of ones
#   llama                         0.0000            6.1207            6.1207
#   qwen3                         0.0000            4.7454            4.7454
#   gemma3_text                   0.0000            4.7964            4.7964
#   gpt_neox                      0.0000            2.8286            2.8286
#   opt                           2.3393            2.3393            2.3393
#   falcon                        1.6312            1.6312            1.6312
#   gpt_oss                       5.8035            5.8035            5.8035
#   granitemoehybrid              3.9529            3.9529            3.9529
#   lfm2                          4.5639            3.9493            3.9493
#   qwen3_next                    5.9644            5.7517            5.7517
#   mamba                         2.0115            2.0115            2.0115
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1 TRANSFORMERS_VERBOSITY=error

cat > show.py <<'EOF'
import sys

import torch
from transformers import (
    AutoModelForCausalLM, FalconConfig, Gemma3TextConfig, GPTNeoXConfig, GptOssConfig, GraniteMoeHybridConfig, Lfm2Config,
    LlamaConfig, MambaConfig, OPTConfig, Qwen3Config, Qwen3NextConfig,
)

SIZE = dict(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, initializer_range=0.2)
SHAPE = dict(SIZE, num_key_value_heads=2, intermediate_size=64, max_position_embeddings=64)
MOE = dict(SHAPE, head_dim=8, num_experts_per_tok=2)
ROPE = dict(rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
CONFIGS = [
    LlamaConfig(**SHAPE),
    Qwen3Config(**SHAPE, head_dim=8),
    Gemma3TextConfig(**SHAPE, head_dim=8),
    GPTNeoXConfig(**SIZE, intermediate_size=64, max_position_embeddings=64),
    OPTConfig(**SIZE, ffn_dim=64, word_embed_proj_dim=32, max_position_embeddings=64, init_std=0.2),
    FalconConfig(**SIZE, max_position_embeddings=64),
    GptOssConfig(**MOE, **ROPE, num_local_experts=4),
    GraniteMoeHybridConfig(
        **SHAPE, layer_types=["attention", "attention"], num_local_experts=2, num_experts_per_tok=1,
        shared_intermediate_size=32, mamba_n_heads=8, mamba_d_head=8, mamba_d_state=8,
    ),
    Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"]),
    Qwen3NextConfig(
        **MOE, num_experts=4, moe_intermediate_size=32, shared_expert_intermediate_size=32, linear_num_value_heads=4,
        linear_num_key_heads=2, linear_key_head_dim=8, linear_value_head_dim=8,
        layer_types=["linear_attention", "full_attention"],
    ),
    MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=8, eos_token_id=0, initializer_range=0.2),
]
ONES = torch.ones(1, 16).long()
WAYS = {
    "use_cache=False": {"use_cache": False}, "nothing said": {},
    "mask of ones": {"use_cache": False, "attention_mask": ONES},
}
POSITIONS = torch.arange(8).repeat(2)[None]


@torch.no_grad()
def leak(model, **way):
    """Give the largest change in the second document's logits when the first document is another."""
    torch.manual_seed(1)
    first, other, second = torch.randint(2, 64, (3, 1, 8))
    logits = [
        model(input_ids=torch.cat([document, second], 1), position_ids=POSITIONS, **way).logits[:, 8:]
        for document in (first, other)
    ]
    return (logits[0] - logits[1]).abs().max().item()


seen = {}
print(f"{'':<18}{''.join(f'{way:>18}' for way in WAYS)}")
for config in CONFIGS:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    changes = [leak(model, **way) for way in WAYS.values()]
    print(f"{config.model_type:<18}{''.join(f'{change:18.4f}' for change in changes)}")
    seen[config.model_type] = [change > 1e-4 for change in changes]

apart = {"llama", "qwen3", "gemma3_text", "gpt_neox"}
expected = {name: [name not in apart, True, True] for name in seen}
if seen != expected:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
