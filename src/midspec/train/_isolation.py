"""A test, on the model that is about to be trained, that two documents in one row do not see each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from midspec.core.errors import CheckpointError
from midspec.train._pack import Piece, collate

_TOKENS = 6


def refuse_leaks(model: Any, device: torch.device, where: str) -> None:
    """Change the first of two packed documents, and refuse the model if the second one's logits move.

    How documents are kept apart is decided in transformers and differs between families (a recurrent layer, say, has
    no mask to keep them apart with), so it is measured.

    Args:
        model: on `device`.
        device: where to compute.
        where: names the model in the error.

    Raises:
        CheckpointError: the second document saw the first.
    """
    one, other = _second_logits(model, device, 1), _second_logits(model, device, 2)
    moved = float((one - other).abs().max())
    noise = 1e-5 if model.dtype == torch.float32 else 1e-2
    if moved > noise * float(one.abs().max()):
        raise CheckpointError(
            f"packed documents see each other in this kind of model (logits move by {moved:.2g})",
            where=where,
            hint="Train a model whose attention keeps packed documents apart (Llama, Qwen, Gemma, Mistral)",
        )


def _second_logits(model: Any, device: torch.device, token: int) -> torch.Tensor:
    """Compute the second document's logits, (tokens, vocabulary), in a row whose first document repeats `token`."""
    unseen = np.zeros(_TOKENS, dtype=np.bool_)
    first = Piece(np.full(_TOKENS, token, dtype=np.int32), unseen)
    second = Piece(np.arange(_TOKENS, dtype=np.int32) % 4, unseen)
    batch = collate([[first, second]], width=2 * _TOKENS + 2, pad_id=0)
    training = model.training
    model.eval()
    with torch.inference_mode():
        inputs = {key: batch[key].to(device) for key in ("input_ids", "position_ids")}
        logits: torch.Tensor = model(**inputs, use_cache=False).logits[0, _TOKENS : 2 * _TOKENS].float()
    model.train(training)
    return logits
