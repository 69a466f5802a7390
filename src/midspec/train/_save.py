"""A trained model as a folder that transformers, PEFT and vLLM open, with the same bytes every time."""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors import SafetensorError
from transformers import GenerationConfig

from midspec.artifact import write_text
from midspec.errors import FolderError, MidspecError
from midspec.models import ChatTemplate, quiet

__all__ = ["refuse_full_disk", "save_model", "writing"]


_REFUSED = re.compile(r"\(os error \d+\)|PytorchStreamWriter")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what torch and the Rust libraries raise when a disk is full into a `FolderError`.

    They raise no `OSError`: safetensors its own type, tokenizers a bare `Exception` that ends in "(os error 28)",
    torch a `RuntimeError` about its writer. Everything else passes.
    """
    try:
        yield
    except Exception as error:
        full = isinstance(error, OSError) and not isinstance(error, MidspecError) and error.errno in _NO_ROOM
        known = full or type(error) in {Exception, RuntimeError, SafetensorError}
        if not known or not (full or _REFUSED.search(str(error))):
            raise
        reason = " ".join(str(error).split())[:160]
        raise FolderError(
            f"can't be written ({reason})", where=str(folder), mend="Free space or choose another --out"
        ) from error


def refuse_full_disk(model: Any, folder: Path) -> None:
    """Refuse to begin where the weights and two half-way checkpoints (a new one, until the old is removed) don't fit.

    A checkpoint holds what the result holds, and two running means in float32 for every trained weight. What an
    interrupted run left in `folder` makes way for them.

    Raises:
        FolderError: the disk has less room.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    saved = trained if isinstance(model, PeftModel) else list(model.parameters())
    checkpoint = sum(weight.nbytes for weight in saved) + sum(2 * 4 * weight.numel() for weight in trained)
    left_before = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    room = shutil.disk_usage(folder).free + left_before
    if room < 2 * checkpoint:
        raise FolderError(
            f"the disk has {room / 1e6:,.1f} MB of room, and training needs {2 * checkpoint / 1e6:,.1f} MB",
            where=str(folder),
            mend="Free space or choose another --out",
        )


def save_model(model: Any, tokenizer: Any, folder: Path) -> tuple[str, ...]:
    """Write weights (or the adapter), configuration and tokenizer; returns the files that are the result.

    An adapter's `adapter_config.json` names its base as the user named it; a folder by its full path, so that the
    adapter opens from anywhere. The file is then not part of the result: a place is no content.
    """
    before = {path.name for path in folder.iterdir()}
    if isinstance(model, PeftModel):
        config = model.active_peft_config
        base = Path(config.base_model_name_or_path).expanduser()
        if base.is_dir():
            config.base_model_name_or_path = str(base.resolve())
            before.add("adapter_config.json")
        with quiet():
            model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        _sort_json(folder / "adapter_config.json")
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
