"""An adapter added to the weights under it, as a checkpoint of its own to train on from."""

from __future__ import annotations

from pathlib import Path

from midspec.core.artifact import Built
from midspec.models import find_checkpoint, open_merged


def merge_adapter(name: str, folder: Path) -> Built:
    """Write the model of that name with its adapter added to its weights, in float32, into `folder`.

    In bfloat16 a weak adapter is mostly rounded away: of a change of 0.0120 in the logits of SmolLM2-135M 0.0080 were
    lost (PEFT 0.21.2).

    Raises:
        CheckpointError: it has no adapter, it does not open, it can't be merged, or it answers otherwise afterwards.
        FolderError: the disk is full.
    """
    from midspec.train._checkpoint import save_model, writing

    model, tokenizer, merged = open_merged(find_checkpoint(name))
    with writing(folder):
        outputs = save_model(model, tokenizer, folder)
    return Built(outputs=outputs, summary={"adapter_effect": merged.effect, "merging_error": merged.error})
