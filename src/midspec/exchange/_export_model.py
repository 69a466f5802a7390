"""A trained checkpoint as others open it: an adapter, merged weights, or what llama.cpp converts; with its card."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from midspec.core.artifact import Built, writable, write_text
from midspec.core.errors import CheckpointError, ConfigError
from midspec.core.records import Checkpoint, Message, Strict
from midspec.exchange._lineage import Lineage, shown_name, trace
from midspec.exchange._model_card import Facts, write_model_card
from midspec.models import (
    ChatTemplate,
    Exported,
    Kept,
    export_adapter,
    export_weights,
    find_checkpoint,
    tokenizer_of,
)

ModelForm = Literal["peft", "merged", "gguf"]
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
WeightType = Literal["auto", "float32", "bfloat16", "float16"]


class ModelExport(Strict):
    """How a checkpoint is exported.

    Attributes:
        form: `peft` keeps the adapter beside its base, `merged` writes all weights, `gguf` all weights as llama.cpp's
            converter takes them.
        base: what the base is called where the export is used: a hub name or a folder.
        name: what a server calls the model.
        dtype: of merged weights; `auto` is that of the base's own files.
        temperature: in generation_config.json.
        untie: give the output embedding weights of its own, to merge an adapter that is on tied embeddings.
        license_id: of the weights, for the card.
    """

    form: ModelForm = "merged"
    base: str | None = None
    name: str
    dtype: WeightType = "auto"
    temperature: float = Field(1.0, gt=0)
    untie: bool = False
    license_id: str | None = None


def export_model(checkpoint: str, config: ModelExport, out: Path) -> Built:
    """Export a checkpoint into `out`, open the result again, and compare its logits with what was trained.

    Args:
        checkpoint: a folder or hub name.
        config: how.
        out: an existing folder, empty.

    Raises:
        CheckpointError: it does not open, can't be merged, answers as its base, or the copy answers otherwise.
        ConfigError: settings that don't fit, or a base that only this machine has.
    """
    found = find_checkpoint(checkpoint)
    lineage = trace(Path(checkpoint).expanduser())
    base: str | None
    with writable(out):
        if config.form == "peft":
            name, opens_at = _base_of(found, config)
            exported = export_adapter(found, out, base=name, opens_at=opens_at, temperature=config.temperature)
            base = name
        else:
            base = _origin(found, lineage, config)
            exported = export_weights(
                found,
                out,
                parent=_parent(lineage, config),
                dtype=config.dtype,
                temperature=config.temperature,
                untie=config.untie,
            )
        notes = [*exported.notes, *_notes(exported, base, config), *_switches(found, lineage)]
        if config.form == "gguf":
            _put_template_inside(out)
        facts = _facts(exported, base, config, out, tuple(notes))
        write_text(out / "README.md", write_model_card(facts, lineage, config.license_id))
    summary: dict[str, JsonValue] = {
        "format": config.form,
        "name": config.name,
        "base": facts.base,
        "dtype": facts.dtype,
        "lora_rank": facts.lora_rank,
        "ends_of_turn": [*facts.ends],
        "stages": [stage.stage for stage in lineage.stages],
        **facts.fidelity,
        "notes": list(facts.notes),
    }
    return Built(outputs=(*exported.files, "README.md"), summary=summary, is_given_away=True)


def facts_of_export(folder: Path, summary: dict[str, JsonValue]) -> Facts:
    """Return what `serve_commands` needs of an export that is done.

    Args:
        folder: of the export.
        summary: of its record.
    """
    rank, base, texts = summary["lora_rank"], summary["base"], summary["ends_of_turn"]
    ids = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    ends = zip(texts if isinstance(texts, list) else [], ids if isinstance(ids, list) else [ids], strict=True)
    return Facts(
        form=str(summary["format"]),
        name=str(summary["name"]),
        base=base if isinstance(base, str) else None,
        dtype=str(summary["dtype"]),
        lora_rank=rank if isinstance(rank, int) and summary["format"] == "peft" else None,
        template=(folder / "chat_template.jinja").is_file(),
        ends={str(text): token for text, token in ends},
        eos=_eos(folder),
        fidelity={},
        notes=(),
    )


def _base_of(found: Checkpoint, config: ModelExport) -> tuple[str, str]:
    """Return the base's name in the export, and where it is opened now to compare.

    Raises:
        ConfigError: nobody said what the base is called elsewhere, and it is a folder of this machine.
    """
    for setting, value in (("--dtype", config.dtype != "auto"), ("--untie", config.untie)):
        if value:
            raise ConfigError("is for merged weights", where=setting, hint="Leave it out, or give --format merged")
    if config.base is not None:
        is_here = Path(config.base).is_dir()
        return config.base, config.base if is_here else found.model
    if found.adapter is not None and (Path(found.model).exists() or not _HUB_NAME.fullmatch(found.model)):
        raise ConfigError(
            f"the adapter's base is a model of this machine ({Path(found.model).name})",
            where="--base",
            hint="Say what it is called where the export is used (OWNER/NAME, or a path), or give --format merged",
        )
    return found.model, found.model


def _origin(found: Checkpoint, lineage: Lineage, config: ModelExport) -> str | None:
    """Return what merged weights were trained from, as others may call it."""
    if config.base is not None:
        return shown_name(config.base)
    if lineage.root is not None:
        return lineage.root
    is_known = bool(lineage.stages) and lineage.unknown is None
    return shown_name(found.model) if found.adapter is not None and not is_known else None


def _parent(lineage: Lineage, config: ModelExport) -> Checkpoint | None:
    """Return where the weights are that full training began with: the last stage's parent, if it was found."""
    if config.base is not None:
        return find_checkpoint(config.base) if Path(config.base).is_dir() else None
    return find_checkpoint(str(lineage.stages[-2].folder)) if len(lineage.stages) > 1 else None


def _notes(exported: Exported, base: str | None, config: ModelExport) -> list[str]:
    notes = []
    if config.form == "peft" and base is not None and not Path(base).expanduser().is_dir():
        notes.append(f"The adapter was compared over the base that it was trained on; `{base}` itself was not opened.")
    if not exported.has_base:
        notes.append("The weights that training began with were not found, so what it changed was not measured.")
    return notes


def _switches(found: Checkpoint, lineage: Lineage) -> list[str]:
    """Say with which switches of the chat template it was trained, where the saved template does not set them."""
    recipe = lineage.stages[-1].record.identity.config.get("recipe") if lineage.stages else None
    args = recipe.get("template_args") if isinstance(recipe, dict) else None
    tokenizer = tokenizer_of(found) if isinstance(args, dict) and args else None
    if not isinstance(args, dict) or tokenizer is None or tokenizer.chat_template is None:
        return []
    question = [Message(role="user", content="Hello")]
    plain, trained = (
        ChatTemplate(tokenizer, switches).render(question, add_generation_prompt=True) for switches in ({}, args)
    )
    if plain == trained:
        return []
    given = json.dumps(args)
    return [f"It was trained with chat template arguments that the template does not set: send `{given}` on."]


def _facts(exported: Exported, base: str | None, config: ModelExport, out: Path, notes: tuple[str, ...]) -> Facts:
    parts: list[tuple[str, Kept | None]] = [
        ("merged", exported.merged),
        ("saved", exported.saved),
        ("served", exported.served),
    ]
    fidelity: dict[str, JsonValue] = {}
    if exported.has_base:
        fidelity["effect"] = exported.saved.effect
        for name, kept in parts:
            if kept is not None:
                fidelity |= {f"{name}_error": kept.relative_error, f"{name}_share": kept.share}
    return Facts(
        form=config.form,
        name=config.name,
        base=base,
        dtype=exported.dtype,
        lora_rank=exported.lora_rank if config.form == "peft" else None,
        template=(out / "chat_template.jinja").is_file(),
        ends=dict(exported.ends),
        eos=_eos(out),
        fidelity=fidelity,
        notes=notes,
    )


def _eos(folder: Path) -> str:
    found = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("eos_token")
    return str(found.get("content") if isinstance(found, dict) else found)


def _put_template_inside(folder: Path) -> None:
    """Put the chat template into tokenizer_config.json too, where older converters of llama.cpp look for it."""
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError("has no tokenizer.json", where=str(folder), hint="llama.cpp's converter needs one")
    if (template := folder / "chat_template.jinja").is_file():
        path = folder / "tokenizer_config.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings["chat_template"] = template.read_text(encoding="utf-8")
        write_text(path, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
