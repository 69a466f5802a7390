"""Tests of the model that is trained: it opens again, packed documents are apart, and weights and logits move."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from peft import PeftModel
from pydantic import JsonValue
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

from midspec.core.errors import CheckpointError
from midspec.models import lacks_memory
from midspec.train._pack import Piece, collate
from midspec.train._ranks import ALONE, Ranks, local_part, reshard

_TOKENS = 6


def leak(model: Any, device: torch.device) -> float:
    """Change the first of two packed documents; returns by how much the second one's logits move, 0 for noise.

    How documents are kept apart is decided in transformers and differs between families (a recurrent layer, say, has
    no mask to keep them apart with), so it is measured.
    """
    one, other = _second_logits(model, device, 1), _second_logits(model, device, 2)
    moved = float((one - other).abs().max())
    noise = 1e-5 if model.dtype == torch.float32 else 1e-2
    return moved if moved > noise * float(one.abs().max()) else 0.0


def refuse_leaks(model: Any, device: torch.device, where: str) -> None:
    """Refuse a model in which one packed document sees another.

    Args:
        model: on `device`.
        device: where to compute.
        where: names the model in the error.

    Raises:
        CheckpointError: the second document saw the first.
    """
    if moved := leak(model, device):
        raise CheckpointError(
            f"packed documents see each other in this kind of model (logits move by {moved:.2g})",
            where=where,
            hint="Set recipe.pack to auto or never: one document a row",
        )


def takes_row(model: Any, device: torch.device, width: int) -> bool:
    """Tell whether rows of `width` tokens can be computed, though no document in them is longer than its positions.

    Most families have no table but that of positions, which are counted within documents; GPT-Neo has a mask as wide.
    """
    if width <= (getattr(model.config.get_text_config(), "max_position_embeddings", None) or width):
        return True
    piece = Piece(np.zeros(1, np.int32), np.ones(1, bool))
    inputs = {name: tensor.to(device) for name, tensor in collate([[piece] * 2], width=width, pad_id=0).items()}
    inputs.pop("labels")
    training = model.training
    model.eval()  # so that no random number is drawn
    try:
        with torch.no_grad():
            model(**inputs, use_cache=False)
    except (RuntimeError, ValueError) as error:
        if lacks_memory(error):
            raise
        return False
    finally:
        model.train(training)
    return True


def refuse_unopened(model: Any, where: str) -> None:
    """Refuse to train all weights of a model that could be saved and not be opened again.

    The text part of Llama 3.2 Vision is opened out of a whole model, and has no class of its own to be opened by.

    Args:
        model: as it was opened.
        where: names it in the error.

    Raises:
        CheckpointError: see above; an adapter is saved over the whole model, and opens.
    """
    if not isinstance(model, PeftModel) and type(model.config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        kind = type(model.config).__name__.removesuffix("Config")
        raise CheckpointError(
            f"all weights of a {kind} would be saved as a model that transformers does not open again",
            where=where,
            hint="Set recipe.method to lora, or use a model of text",
        )


def _second_logits(model: Any, device: torch.device, token: int) -> torch.Tensor:
    """Compute the second document's logits, (tokens, vocabulary), in a row whose first document repeats `token`."""
    unseen = np.zeros(_TOKENS, dtype=np.bool_)
    first = Piece(np.full(_TOKENS, token, dtype=np.int32), unseen)
    second = Piece(np.arange(_TOKENS, dtype=np.int32) % 4, unseen)
    batch = collate([[first, second]], width=2 * _TOKENS + 2, pad_id=0)
    training = model.training
    model.eval()
    with torch.no_grad():  # buffers of a divided model are made here and used in training
        inputs = {key: batch[key].to(device) for key in ("input_ids", "position_ids")}
        logits: torch.Tensor = model(**inputs, use_cache=False).logits[0, _TOKENS : 2 * _TOKENS].float()
    model.train(training)
    return logits


_PROBE_TOKENS = 256
_SAMPLE = 1_000_000


class Proof:
    """Remembers weights and logits from before training, and measures how far they moved.

    Args:
        model: before its first update.
        piece: the probe; of a long one its beginning.
        device: where the model is.
        ranks: the processes, each of which may hold a part of the weights.
    """

    def __init__(self, model: Any, piece: Piece, device: torch.device, ranks: Ranks = ALONE) -> None:
        self._ranks = ranks
        piece = Piece(piece.ids[:_PROBE_TOKENS], piece.supervised[:_PROBE_TOKENS])
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
        moved = self._ranks.sum(sum(squares)) ** 0.5
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
        with torch.no_grad():  # buffers of a divided model are made here and used in training
            logits: torch.Tensor = model(**self._probe, use_cache=False).logits.float().cpu()
        model.train(training)
        return logits


def _sample(weight: torch.Tensor) -> torch.Tensor:
    """Copy the weight's entries, evenly thinned where there are more than `_SAMPLE`."""
    part: torch.Tensor = local_part(weight.detach())
    return part.flatten()[:: max(1, weight.numel() // _SAMPLE)].to("cpu", copy=True)


def _trained(model: Any) -> list[tuple[str, torch.Tensor]]:
    reshard(model)
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
