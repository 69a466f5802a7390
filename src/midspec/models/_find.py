"""From the name of a checkpoint (a folder, a GGUF file or a hub name) to a `Checkpoint` and its digest.

No weight is loaded.
"""

from __future__ import annotations

import json
import re
import threading
from functools import cache
from pathlib import Path

from midspec.core.errors import CheckpointError, ConfigError, note
from midspec.core.fingerprint import fingerprint, hash_file
from midspec.core.records import Checkpoint
from midspec.models._gguf import PACKAGE, cache_folder, find_gguf, gguf_digest

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_HINT = "Name a folder with config.json or adapter_config.json, a GGUF file, or a model on the hub"
CONTENT_FILES = ("*.safetensors", "*.bin", "*config.json", "tokenizer*", "*.jinja", "*.model", "vocab*", "merges.txt")


def find_checkpoint(name: str) -> Checkpoint:
    """Find the checkpoint of that name: a folder of weights or of an adapter, a GGUF file, or a hub name.

    Nothing is downloaded and no weight is read. What reads as a path (`./x`, `a/b/c`, a name inside a folder that is
    there) is one. A GGUF file may be named by itself, by its folder, or as `package:NAME` where an installed package
    holds it.

    Raises:
        CheckpointError: a folder that holds no model, an adapter over an adapter, or no possible hub name.
    """
    if (gguf := find_gguf(name)) is not None:
        return Checkpoint(model=str(gguf))
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _open_folder(folder)
    if folder.exists():
        raise CheckpointError("is a file, not a checkpoint folder", where=name, hint=_HINT)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or ("/" in name and folder.parent.is_dir()):
        made = folder.parent == cache_folder() / "gguf"
        hint = "It was made of a GGUF file: open that file once, and it is made again" if made else _HINT
        raise CheckpointError("there is no such checkpoint folder", where=name, hint=hint)
    if not _HUB_NAME.fullmatch(name) or ".." in name:
        raise CheckpointError("there is no such checkpoint folder, and it is no hub name", where=name, hint=_HINT)
    return Checkpoint(model=name)


def _open_folder(folder: Path) -> Checkpoint:
    if (folder / "adapter_config.json").is_file():
        base = _read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        if not isinstance(base, str) or not base:
            raise CheckpointError(
                "the adapter does not name its base model",
                where=str(folder),
                hint="Set base_model_name_or_path in adapter_config.json",
            )
        named = _base_of(folder, base)
        if (place := Path(named).expanduser()).is_dir() and place.samefile(folder):
            raise CheckpointError(
                f"the adapter names its own folder as its base ({base})",
                where=str(folder / "adapter_config.json"),
                hint="Name the base there; or take that file away, to open the weights of the folder without it",
            )
        # Looked for first: two adapters may name each other.
        if (place / "adapter_config.json").is_file():
            raise CheckpointError(
                f"an adapter over another adapter ({base})",
                where=str(folder),
                hint="Train on with the first adapter, or merge it into its base",
            )
        return Checkpoint(model=find_checkpoint(named).model, adapter=str(folder))
    if (folder / "generation_config.json").is_file():
        _read_json(folder / "generation_config.json")  # transformers leaves out one that is no JSON, and its ends
    if (folder / "config.json").is_file():
        if "model_type" not in _read_json(folder / "config.json"):
            raise CheckpointError("config.json names no model_type", where=str(folder), hint=_HINT)
        return Checkpoint(model=str(folder))
    inner = {path.parent for name in ("config.json", "adapter_config.json") for path in folder.glob(f"*/{name}")}
    newest = max(inner, key=lambda path: path.stat().st_mtime, default=None)  # a trainer's checkpoint-500, say
    hint = _HINT if newest is None else f"Name a folder in it, {newest.name}, say"
    raise CheckpointError("the folder holds no model", where=str(folder), hint=hint)


def _base_of(folder: Path, base: str) -> str:
    """Resolve the base that an adapter names: a relative folder is taken from the adapter's own, then as it stands."""
    own, given = folder / Path(base).expanduser(), Path(base).expanduser()
    if not own.is_dir():
        return base
    if given.is_dir() and not own.samefile(given):
        note(f"its base {base} is taken to be {own.resolve()}, and not {given.resolve()}", str(folder))
    return str(own.resolve()) if own != given else base


def is_local(name: str) -> bool:
    """Return whether a name means files on this machine: a folder, a GGUF file, or one in an installed package."""
    path = Path(name).expanduser()
    return name.startswith(PACKAGE) or path.is_dir() or (path.suffix == ".gguf" and path.is_file())


def _read_json(path: Path) -> dict[str, object]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError("is not JSON", where=str(path), hint="Save the checkpoint again") from error
    if not isinstance(data, dict):
        raise CheckpointError("is not a JSON object", where=str(path), hint="Save the checkpoint again")
    return data


def checkpoint_digest(name: str) -> str:
    """Hash what a checkpoint *is*: the content of its files, or the hub name; never a folder's path.

    Weights, configurations and tokenizer count; an adapter counts together with its base.

    Raises:
        CheckpointError: as `find_checkpoint`.
    """
    found = find_checkpoint(name)
    parts = {"model": files_digest(found.model)}
    if found.adapter is not None:
        parts["adapter"] = files_digest(found.adapter)
        _tell_other_base(found.adapter, found.model)
    return fingerprint(parts)


BASE_WEIGHTS = "base_weights"
"""The key, of what a record of training says of its run, for the digest of the base's weights under an adapter."""


def weights_digest(name: str) -> str | None:
    """Hash the weights that a folder's model is opened from; `None` of what is no such folder.

    Configurations and tokenizers are left out, which differ with the version that saved them and with the download.
    """
    found = (list(Path(name).expanduser().glob(pattern)) for pattern in ("model*.safetensors", "pytorch_model*.bin"))
    files = next(filter(None, found), [])
    return fingerprint(sorted(map(_hash_once, files))) if files else None


def _tell_other_base(adapter: str, base: str) -> None:
    """Tell that an adapter's base has other weights than when it was trained, where its record says so."""
    if not (record := Path(adapter) / "record.json").is_file():
        return
    execution = _read_json(record).get("execution")
    extra = execution.get("extra") if isinstance(execution, dict) else None
    trained_over = extra.get(BASE_WEIGHTS) if isinstance(extra, dict) else None
    if isinstance(trained_over, str) and weights_digest(base) not in (None, trained_over):
        note(f"its base {base} has other weights than when the adapter was trained: is it the same model?", adapter)


def files_digest(name: str) -> str:
    """Hash the weights, configurations and tokenizer files in a folder; of a hub name, give `hub:<name>`.

    A GGUF file counts by its content. Files of a tokenizer that older versions wrote count where they say something
    that the others do not.
    """
    folder = Path(name).expanduser()
    if folder.is_file():
        return gguf_digest(folder)
    if not folder.is_dir():
        return f"hub:{name}"
    files = sorted({path for pattern in CONTENT_FILES for path in folder.glob(pattern) if path.is_file()})
    digests = {path.name: _hash_once(path) for path in files if path.name != "adapter_config.json"}
    digests |= {path.relative_to(folder).as_posix(): _hash_once(path) for path in _read_beside(folder)}
    if (adapter := folder / "adapter_config.json") in files:
        # The base is hashed by its own content: where it lies does not count.
        settings = {key: value for key, value in _read_json(adapter).items() if key != "base_model_name_or_path"}
        digests[adapter.name] = fingerprint(settings)
    return fingerprint(digests)


def _hash_once(path: Path) -> str:
    status = path.stat()
    return _hash(path, status.st_size, status.st_mtime_ns, status.st_ino)


@cache
def _hash(path: Path, _size: int, _changed_ns: int, _number: int) -> str:
    return hash_file(path)


# Classes of tokenizers that have no special tokens of their own (`TokenizersBackend` of transformers 5).
_WITHOUT_DEFAULTS = ("PreTrainedTokenizerFast", "PreTrainedTokenizer", "TokenizersBackend")


def _read_beside(folder: Path) -> list[Path]:
    """Return further files that transformers (5.23) makes a tokenizer of, where they change it.

    One that repeats what the other files say does not count: results that were made from it keep their identity.
    """
    found = sorted(path for path in (folder / "additional_chat_templates").glob("*.jinja") if path.is_file())
    named, added = folder / "special_tokens_map.json", folder / "added_tokens.json"
    if not named.is_file() and not added.is_file():
        return found
    config, whole = (
        _read_json(path) if (path := folder / name).is_file() else {}
        for name in ("tokenizer_config.json", "tokenizer.json")
    )
    if "added_tokens_decoder" in config:  # then it reads neither
        return found
    if named.is_file():
        own = dict(config)
        if "extra_special_tokens" in config:
            own.setdefault("additional_special_tokens", config["extra_special_tokens"])
        # What is not named there is mostly the class's own default, where a class has any.
        counted = None if config.get("tokenizer_class") in _WITHOUT_DEFAULTS else own
        given = _read_json(named).items()
        if any(_plain(value) != _plain(own.get(key)) for key, value in given if counted is None or key in counted):
            found.append(named)
    if added.is_file():
        listed = tokens if isinstance(tokens := whole.get("added_tokens"), list) else None
        known = [(one.get("content"), one.get("id")) for one in listed or () if isinstance(one, dict)]
        if any(one not in known for one in _read_json(added).items()):
            found.append(added)
    return found


def _plain(token: object) -> object:
    """Return a token's text, which may come with how it is split, or those of a list."""
    if isinstance(token, list):
        return [_plain(one) for one in token]
    return token.get("content") if isinstance(token, dict) else token


_TIMEOUT_S = 10.0
_PROBED_FILES = ("config.json", "tokenizer_config.json")


@cache
def only_here(name: str) -> bool:
    """Return whether the files of `name` must come from the cache of this machine, as the hub does not give them.

    Args:
        name: a folder or a hub name.

    Raises:
        CheckpointError: the hub knows no such model or can't be reached within ten seconds, and there is no copy.
    """
    if Path(name).expanduser().exists():
        return False
    # Imported here: what needs no model runs without the packages of models.
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    error = _hub_error(name)
    if error is None or isinstance(error, EntryNotFoundError):
        return False
    if any(isinstance(try_to_load_from_cache(name, file), str) for file in _PROBED_FILES):
        return True
    if isinstance(error, RepositoryNotFoundError):
        what, hint = "the hub shows no such model", "Check the name, and HF_TOKEN where it is not public"
    else:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        what = f"is no folder, and the model hub can't be reached ({reason})"
        hint = "Check the name; a hub name needs the network once"
    raise CheckpointError(what, where=name, hint=hint) from error


def _hub_error(name: str) -> Exception | None:
    """Ask the hub for a file of `name`; gives the error, if any. In a thread: looking up a host has no time limit."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    # HTTPError is of httpx or httpx2, as the version of huggingface_hub has it.
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    answers: list[Exception | None] = []

    def request() -> None:
        try:
            get_hf_file_metadata(hf_hub_url(name, _PROBED_FILES[0]), timeout=_TIMEOUT_S)
            answers.append(None)
        except (HTTPError, OSError, ValueError) as error:
            answers.append(error)

    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(_TIMEOUT_S)
    return answers[0] if answers else TimeoutError(f"no answer within {_TIMEOUT_S:.0f} s")


_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def check_device(name: str) -> None:
    """Refuse a word that names no device; `pick_device` checks that the device is there.

    Raises:
        ConfigError: `name` is none of auto, cpu, cuda, cuda:N, mps.
    """
    if not _DEVICE.fullmatch(name):
        raise ConfigError(
            "there is no device of that name", where=f"device {name}", hint="Known are auto, cpu, cuda, cuda:N, mps"
        )
