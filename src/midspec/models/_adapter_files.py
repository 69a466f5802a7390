"""The files of an adapter, before it is opened: what of them would be left out, or read otherwise than it was meant."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PeftModel, PromptLearningConfig, get_peft_model_state_dict
from peft import __version__ as peft_version
from peft.utils import load_peft_weights
from safetensors import safe_open

from midspec.core.errors import CheckpointError, note
from midspec.models._find import is_local

# Settings that PEFT reads and leaves out of what is computed here (0.21.2), and what they ask for.
_NOT_COMPUTED = {
    "alora_invocation_tokens": "an activated LoRA acts from a text of its own on, and is left out of every other pass",
    "arrow_config": "a routed LoRA chooses among other adapters",
    "use_qalora": "a QALoRA adapter is added to GPTQ's weights alone",
}
_EXPERT = re.compile(r"\.experts\.\d+\.")
_TURNED = (0, 19)  # from this version on PEFT has the two sides of an expert's update the other way round


def saved_names(folder: Path, adapted: PeftModel) -> set[str]:
    """Return the names of an adapter's saved weights, as PEFT has them in the model that it was put over.

    Of a mixture an adapter of transformers 4 has weights for each expert, and a layer of version 5 holds all experts:
    PEFT then puts them together as it opens them.

    Args:
        folder: of the adapter.
        adapted: the model with the adapter over it.
    """
    own = set(get_peft_model_state_dict(adapted))
    if (file := folder / "adapter_model.safetensors").is_file():
        with safe_open(file, framework="pt") as weights:
            found = set(weights.keys())
    else:
        found = set(torch.load(folder / "adapter_model.bin", map_location="cpu", weights_only=True))
    if found == own or not any(_EXPERT.search(name) for name in found):
        return found
    from peft.utils.transformers_weight_conversion import convert_peft_adapter_state_dict_for_transformers

    weights = load_peft_weights(str(folder), device="cpu")
    return set(convert_peft_adapter_state_dict_for_transformers(adapted, adapted.active_peft_config, weights))


def add_embedding_rows(model: Any, folder: Path) -> None:
    """Give the base as many embeddings as the adapter has saved, where tokens were added before it was trained.

    Args:
        model: the base; its new rows are the adapter's, which brings them.
        folder: of the adapter.
    """
    source, file = model.get_input_embeddings(), folder / "adapter_model.safetensors"
    place = next((name for name, module in model.named_modules() if module is source), "")
    if not file.is_file():
        return
    with safe_open(file, framework="pt") as weights:
        names = [name for name in weights.keys() if f".{place}." in name and "lora_" not in name]  # noqa: SIM118
        shapes = [weights.get_slice(name).get_shape() for name in names]
    n_before, width = source.weight.shape
    n_rows = max((shape[0] for shape in shapes if len(shape) > 1 and shape[1] == width), default=0)
    if n_rows > n_before:
        model.resize_token_embeddings(n_rows, mean_resizing=False)
        note(f"its base has {n_before} embeddings, and {n_rows} are the adapter's: the base was enlarged", str(folder))


def refuse_other_wrapper(model: Any, folder: Path) -> None:
    """Refuse an adapter that was trained on a whole of language model and towers, where the first alone is opened.

    Args:
        model: the base.
        folder: of the adapter.

    Raises:
        CheckpointError: its weights are of such a whole.
    """
    file = folder / "adapter_model.safetensors"
    if not file.is_file() or any(name.endswith("language_model") for name, _ in model.named_modules()):
        return
    with safe_open(file, framework="pt") as weights:
        found = next((name for name in weights.keys() if ".language_model." in name), None)  # noqa: SIM118
    if found is not None:
        raise CheckpointError(
            f"the adapter was trained on the whole model ({found}), of which the language model alone is opened here",
            where=str(folder),
            hint="Merge it into the whole, and open the merged weights; or train the text of AutoModelForCausalLM",
        )


def refuse_settings(folder: Path) -> None:
    """Refuse settings that this version of PEFT does not know: it would leave them out, and score another adapter.

    A setting of a later version that is off (false, null or empty) changes nothing. Adapters that put tokens of their
    own before a text are refused too: PEFT puts them there again with every part of a text that is computed by itself.
    So are those that are scored as their base alone, or in part, and those over a revision of their base that is not
    the one that is opened.

    Raises:
        CheckpointError: it has such a setting.
    """
    path = folder / "adapter_config.json"
    settings = _settings(folder)
    kind = PEFT_TYPE_TO_CONFIG_MAPPING.get(settings.get("peft_type"))
    if kind is None:
        return  # PEFT names that itself
    if issubclass(kind, PromptLearningConfig):
        raise CheckpointError(
            f"an adapter of kind {settings['peft_type']} puts tokens of its own before a text: it is not computed here",
            where=str(path),
            hint="Use a LoRA adapter, or full weights",
        )
    for name, reason in _NOT_COMPUTED.items():
        if settings.get(name):
            raise CheckpointError(
                f"{name} is set: {reason}, which is not computed here",
                where=str(path),
                hint="Use a plain LoRA adapter, or full weights",
            )
    known = inspect.signature(kind).parameters
    unknown = [f"{name}: {value}" for name, value in settings.items() if name not in known and value]
    if unknown:
        raise CheckpointError(
            f"PEFT {peft_version} knows no setting {', '.join(unknown)}",
            where=str(path),
            hint="Install the version of PEFT that it was made with",
        )
    base, revision = str(settings.get("base_model_name_or_path")), settings.get("revision")
    is_here = is_local(base) or (folder / base).is_dir()
    if revision not in (None, "", "main") and not is_here and revision != _newest(base):
        raise CheckpointError(
            f"the adapter is over revision {revision} of {base}, and the newest is what a hub name opens",
            where=str(path),
            hint="Download that revision (hf download --revision), and name its folder there as the base",
        )


def _newest(base: str) -> str | None:
    """Return the commit that a hub name opens here; `None` where it was not downloaded."""
    path = try_to_load_from_cache(base, "config.json")
    return Path(path).parent.name if isinstance(path, str) else None


def refuse_turned_experts(model: Any, folder: Path) -> None:
    """Refuse an adapter of experts in the layout of PEFT before 0.19, which would be added the other way round.

    PEFT (0.21.2) sees that the sizes differ where they do; where an expert's matrix is square it says nothing.

    Args:
        model: the base.
        folder: of the adapter.

    Raises:
        CheckpointError: it is such an adapter.
    """
    settings = _settings(folder)
    version = settings.get("peft_version")  # 0.18.2.dev0@UNKNOWN, say
    number = tuple(int(part) for part in (version or "").split(".")[:2] if part.isdigit())
    if not (names := settings.get("target_parameters")) or number >= _TURNED:
        return
    ends = tuple(f".{name}" for name in names)
    experts = {
        f"{place}.{name}": weight
        for place, module in model.named_modules()
        for name, weight in module.named_parameters(recurse=False)
        if weight.ndim == 3 and f".{place}.{name}".endswith(ends) and not getattr(module, "is_transposed", False)
    }
    if not experts or (version is None and _fits(folder, [weight.shape for weight in experts.values()])):
        return
    raise CheckpointError(
        f"the adapter has experts ({min(experts)}) as PEFT {version or 'before 0.19'} saved them, which PEFT "
        f"{peft_version} would add the other way round",
        where=str(folder),
        hint="Merge it with that version of PEFT, and open the merged weights",
    )


def _fits(folder: Path, shapes: Sequence[Sequence[int]]) -> bool:
    """Return whether the sizes of saved weights say that they are in the layout of this version of PEFT."""
    if not (file := folder / "adapter_model.safetensors").is_file():
        return False
    with safe_open(file, framework="pt") as weights:
        found = {weights.get_slice(name).get_shape()[1] for name in weights.keys() if ".lora_A." in name}  # noqa: SIM118
    own, turned = ({shape[side] for shape in shapes} for side in (2, 1))
    return own <= found and not turned <= found


def _settings(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    return found
