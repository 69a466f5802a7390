"""A check that training took effect: the trained weights moved, and so did the logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import JsonValue

from midspec.core.errors import CheckpointError
from midspec.train._pack import Piece, collate

_PROBE_TOKENS = 256
_SAMPLE = 1_000_000


class Proof:
    """Remembers weights and logits from before training, and measures how far they moved.

    Args:
        model: before its first update.
        row: a packed row; its first piece is the probe.
        device: where the model is.
    """

    def __init__(self, model: Any, row: Sequence[Piece], device: torch.device) -> None:
        piece = Piece(row[0].ids[:_PROBE_TOKENS], row[0].supervised[:_PROBE_TOKENS])
        batch = collate([[piece]], width=len(piece.ids), pad_id=0)
        self._probe = {key: batch[key].to(device) for key in ("input_ids", "position_ids")}
        self._before = self._logits(model)
        self._weights = {name: _sample(weight) for name, weight in _trained(model)}

    def after(self, model: Any) -> dict[str, JsonValue]:
        """Measure how far weights (Euclidean; of very large ones a sample) and logits (at most) have moved since.

        Raises:
            CheckpointError: nothing moved: what was trained is not what answers.
        """
        squares = [
            float((_sample(weight) - self._weights[name]).double().square().sum()) for name, weight in _trained(model)
        ]
        moved = sum(squares) ** 0.5
        shift = float((self._logits(model) - self._before).abs().max())
        if moved == 0 or shift == 0:
            raise CheckpointError("training changed nothing", hint="Raise recipe.learning_rate")
        n_trained = sum(weight.numel() for _, weight in _trained(model))
        return {
            "n_params": sum(weight.numel() for weight in model.parameters()),
            "n_params_trained": n_trained,
            "weights_moved": moved,
            "logits_moved": shift,
        }

    def _logits(self, model: Any) -> torch.Tensor:
        training = model.training
        model.eval()
        with torch.inference_mode():
            logits: torch.Tensor = model(**self._probe, use_cache=False).logits.float().cpu()
        model.train(training)
        return logits


def _sample(weight: torch.Tensor) -> torch.Tensor:
    """A copy of the weight's entries, evenly thinned where there are more than `_SAMPLE`."""
    return weight.detach().flatten()[:: max(1, weight.numel() // _SAMPLE)].to("cpu", copy=True)


def _trained(model: Any) -> list[tuple[str, torch.Tensor]]:
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
