"""Whether this machine rounds as the one did that made the fixtures: a little training, without midspec."""

from __future__ import annotations

import hashlib

import torch
from transformers import LlamaConfig, LlamaForCausalLM

__all__ = ["arithmetic"]


def arithmetic() -> str:
    """A hash of the weights and scores of a small model after some updates; another kind of CPU gives another."""
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(7)
        config = LlamaConfig(
            vocab_size=300,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=1024,
        )
        model = LlamaForCausalLM(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        for _ in range(20):
            tokens = torch.randint(0, 300, (1, 192))
            loss = model(input_ids=tokens, labels=tokens).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        digest = hashlib.sha256()
        with torch.no_grad():
            digest.update(model(input_ids=torch.arange(100)[None]).logits.numpy().tobytes())
        for weights in model.parameters():
            digest.update(weights.detach().numpy().tobytes())
        return digest.hexdigest()
    finally:
        torch.set_rng_state(before)
        torch.set_num_threads(threads)
