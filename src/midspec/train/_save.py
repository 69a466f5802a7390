"""A trained model as a folder that transformers, PEFT and vLLM open, with the same bytes every time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors import SafetensorError
from transformers import GenerationConfig

from midspec.artifact import write_text
from midspec.errors import FolderError
from midspec.models import ChatTemplate, quiet

__all__ = ["save_model", "writing"]


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what torch and safetensors raise when a disk is full into a `FolderError`; they don't raise `OSError`."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "PytorchStreamWriter" not in str(error):
            raise
        reason = " ".join(str(error).split())[:160]
        raise FolderError(
            f"can't be written ({reason})", where=str(folder), mend="Free space or choose another --out"
        ) from error


def save_model(model: Any, tokenizer: Any, folder: Path) -> tuple[str, ...]:
    """Write weights (or the adapter), configuration and tokenizer; returns the files that are the result.

    An adapter's `adapter_config.json` names its base as the user named it. Where that is a folder, the file is
    not part of the result: a place is no content.
    """
    before = {path.name for path in folder.iterdir()}
    if isinstance(model, PeftModel):
        base = model.active_peft_config.base_model_name_or_path
        with quiet():
            model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        _sort_json(folder / "adapter_config.json")
        if Path(base).expanduser().is_dir():
            before.add("adapter_config.json")
    else:
        _save_full(model, tokenizer, folder)
    tokenizer.save_pretrained(folder)
    return tuple(sorted({path.name for path in folder.iterdir() if path.is_file()} - before))


def _save_full(model: Any, tokenizer: Any, folder: Path) -> None:
    model.config.use_cache = True
    ends = list(ChatTemplate(tokenizer).end_ids)
    given = model.generation_config or GenerationConfig()
    given.eos_token_id = ends[0] if len(ends) == 1 else ends
    given.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    given.bos_token_id = tokenizer.bos_token_id
    model.generation_config = given
    with quiet():
        model.save_pretrained(folder)


def _sort_json(path: Path) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    settled = {
        key: sorted(value) if key.endswith("_modules") and isinstance(value, list) else value
        for key, value in data.items()
    }
    write_text(path, json.dumps(settled, indent=2, sort_keys=True) + "\n")
