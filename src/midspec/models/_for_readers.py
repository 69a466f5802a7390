"""What other readers of a saved checkpoint need beside what transformers 5 writes: keys of version 4, vocabularies."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

from midspec.core.artifact import write_json, write_text
from midspec.core.errors import CheckpointError, note
from midspec.models._find import only_here
from midspec.models._open import load_tokenizer

# What llama.cpp's converter and mistral-common read of a tokenizer, and transformers 5 does not write again.
_VOCABULARIES = ("tokenizer.model", "tekken.json", "vocab.json", "merges.txt")
# What a server reads before it opens a model of images or sound, also where it is asked for text alone.
_PROCESSORS = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
_BESIDE_TEXT = ("vision_config", "audio_config")


def copy_vocabularies(tokenizer: Any, folder: Path, *bases: str | None) -> None:
    """Copy files of a vocabulary that lie beside a tokenizer into the folder that it was saved in.

    Those of a processor too, where a model lies there with its towers for images or sound. None of them is needed
    here: where they can't be had, nothing is copied.

    Args:
        tokenizer: as it was opened.
        folder: where it was saved; files that are there are left alone.
        bases: checkpoints that it may come from, where its own folder lacks a file; another vocabulary's is not taken.
    """
    places = [str(tokenizer.name_or_path), *(base for base in bases if base)]
    saved = folder / "config.json"
    config = json.loads(saved.read_text(encoding="utf-8")) if saved.is_file() else {}
    wanted = _VOCABULARIES + (_PROCESSORS if any(config.get(tower) for tower in _BESIDE_TEXT) else ())
    for place in dict.fromkeys(filter(None, places)):
        try:
            found = {name: path for name in wanted if (path := _beside(place, name)) is not None}
            missing = {name: path for name, path in found.items() if not (folder / name).exists()}
            if missing and (place == places[0] or load_tokenizer(place).get_vocab() == tokenizer.get_vocab()):
                for name, path in missing.items():
                    shutil.copyfile(path, folder / name)
        except (OSError, ValueError, CheckpointError) as error:
            note(f"files beside its tokenizer are not copied ({' '.join(str(error).split())[:120]})", place)


def _beside(place: str, name: str) -> Path | None:
    """Return the file of that name in a folder, or of a hub name, if there is one."""
    if Path(place).exists():
        path = Path(place) / name
        return path if path.is_file() else None
    return _of_hub(place, name)


@cache  # a training asks for every checkpoint that it keeps
def _of_hub(place: str, name: str) -> Path | None:
    found = cached_file(
        place,
        name,
        local_files_only=only_here(place),
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if found is None else Path(found)


def add_older_keys(tokenizer: Any, folder: Path) -> None:
    """Name what transformers 4 reads under other keys as it does too, in a folder that version 5 has written.

    Version 4 (4.57.6) opens no tokenizer of the class `TokenizersBackend`, none whose `extra_special_tokens` are a
    list, and passes over `dtype` and `rope_parameters` in silence; its classes of Llama and Gemma put BOS before every
    text unless they are told otherwise. Version 5 reads the older names as its own.

    Args:
        tokenizer: that was saved in the folder.
        folder: with the tokenizer, and with the model's configuration where it is a whole model.
    """
    if (path := folder / "config.json").is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        for part in (config, *(value for value in config.values() if isinstance(value, dict))):
            _add_older_rope_keys(part)
            _add_older_head_keys(part)
            part |= {"torch_dtype": part["dtype"]} if part.get("dtype") else {}
        write_json(path, config)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    elif tokenizer.bos_token_id is not None and tokenizer.bos_token_id not in (ids := tokenizer("a")["input_ids"]):
        has_eos = tokenizer.eos_token_id in ids
        settings = {"add_bos_token": False, "add_eos_token": has_eos} | settings
    if isinstance(settings.get("extra_special_tokens"), list):
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    write_text(path, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")


def _add_older_rope_keys(part: dict[str, Any]) -> None:
    """Name the rotary settings as transformers 4 does too, beside version 5's `rope_parameters`.

    Version 4 ignores the new key: a Qwen would lose its base of a million (4.57.6 reads 10,000 from what 5.23.0
    saved). A model with settings by kind of layer has other keys in version 4 for each family, and is left.
    """
    rope = part.get("rope_parameters") or {}
    if "rope_theta" in rope:
        own = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
        scaling = {key: value for key, value in rope.items() if key not in own}
        part |= own | ({} if rope.get("rope_type", "default") == "default" else {"rope_scaling": scaling})


_HEADS_BY_KIND = ("gemma4", "diffusion_gemma", "embedding_gemma2")
_OLDER_HEADS = {"head_dim": "global_head_dim", "num_key_value_heads": "num_global_key_value_heads"}


def _add_older_head_keys(part: dict[str, Any]) -> None:
    """Name the heads of a Gemma 4's layers of full attention as its own files do, beside `per_layer_config`.

    transformers 5.23 writes the sizes of each layer that differs from the others, and drops the keys that readers of
    the parent's files know (llama.cpp, versions before): these take 512 for a size that is not there.
    """
    if not str(part.get("model_type")).startswith(_HEADS_BY_KIND) or "head_dim" not in part:
        return
    differing: dict[str, Any] = next(iter((part.get("per_layer_config") or {}).values()), {})
    part |= {old: differing[new] for new, old in _OLDER_HEADS.items() if new in differing}
    part.setdefault("global_head_dim", part["head_dim"])
