"""The card of an exported model: how to serve it, how it compares with what was trained, and how it was trained."""

from __future__ import annotations

import json
import shlex
from typing import NamedTuple

import yaml
from pydantic import JsonValue

from midspec import __version__
from midspec.exchange._lineage import Ancestor, Lineage, shown_name, without_paths

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM takes for --max-lora-rank."""
_OUTTYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_RELATIONS = {"peft": "adapter", "gguf": "finetune", "merged": "finetune"}
_FACTS = ("n_documents", "n_chats", "n_updates", "supervised_tokens", "first_loss", "last_loss")


class Facts(NamedTuple):
    """What the card and the commands say of an export.

    Attributes:
        form: peft, merged or gguf.
        name: that a server calls the model.
        base: its base as others call it; `None` for a model from scratch, or where nobody said.
        dtype: of the saved weights.
        lora_rank: of the adapter, where it stays one.
        template: whether there is a chat template.
        ends: tokens that end a turn: text -> id.
        eos: the tokenizer's own end of text.
        fidelity: measure -> value, as in the record's summary.
        notes: what a user must know, a sentence each.
    """

    form: str
    name: str
    base: str | None
    dtype: str
    lora_rank: int | None
    template: bool
    ends: dict[str, int]
    eos: str
    fidelity: dict[str, JsonValue]
    notes: tuple[str, ...]


def serve_commands(facts: Facts, folder: str) -> list[tuple[str, str]]:
    """Return the commands that serve an export, each with the name of its server.

    Args:
        facts: of the export.
        folder: where it lies, as the commands are to name it.
    """
    place, name = shlex.quote(folder), shlex.quote(facts.name)
    if facts.form == "peft":
        rank = next((rank for rank in VLLM_RANKS if rank >= (facts.lora_rank or 0)), facts.lora_rank)
        template = f" --chat-template {place}/chat_template.jinja" if facts.template else ""
        vllm = f"vllm serve {shlex.quote(facts.base or 'BASE')} --enable-lora --lora-modules {name}={place}"
        return [("vLLM", f"{vllm} --max-lora-rank {rank}{template} --generation-config {place}")]
    if facts.form == "gguf":
        file = shlex.quote(f"{facts.name}.gguf")
        ends = [token for text, token in facts.ends.items() if text != facts.eos]
        # llama.cpp knows the usual ends of turn by their texts; another one has to be named.
        end = f" --override-kv tokenizer.ggml.eot_token_id=int:{ends[0]}" if ends else ""
        convert = f"python convert_hf_to_gguf.py {place} --outfile {file} --outtype {_OUTTYPES[facts.dtype]}"
        return [
            ("llama.cpp, to convert", convert),
            ("llama.cpp", f"llama-server -m {file} --alias {name} --jinja{end}"),
        ]
    return [
        ("vLLM", f"vllm serve {place} --served-model-name {name}"),
        ("transformers", f"transformers serve {place} --port 8000"),
    ]


def write_model_card(facts: Facts, lineage: Lineage, license_id: str | None) -> str:
    """Write README.md: front matter as hubs read it, then what a reader must know.

    Args:
        facts: of the export.
        lineage: of the checkpoint that was exported.
        license_id: of the weights, as hubs name it.
    """
    kind = "LoRA adapter over" if facts.form == "peft" else "model trained from"
    scratch = "model trained from scratch" if lineage.stages and lineage.unknown is None else "model"
    origin = f"{kind} `{facts.base}`" if facts.base else scratch
    body = [f"# {facts.name}", "", f"A {origin}, trained and exported by midspec {__version__}.", ""]
    body += ["## Serve it", ""]
    for server, command in serve_commands(facts, facts.name):
        body += [f"{server}, from the folder above this one:", "", "```bash", command, "```", ""]
    body += [_asked_for(facts), ""]
    body += [line for note in facts.notes for line in (note, "")]
    body += ["## Compared with what was trained", "", *_fidelity(facts), ""]
    body += ["## How it was trained", "", *_stages(lineage, facts.base), ""]
    body += [f"- Licence: {license_id or 'not stated'}", ""]
    if lineage.stages:
        shown = json.dumps([_provenance(stage) for stage in lineage.stages], indent=2, ensure_ascii=False)
        body += ["## Provenance", "", "From the `record.json` of each stage:", ""]
        body += ["```json", *shown.splitlines(), "```", ""]
    front = yaml.safe_dump(_front_matter(facts, lineage, license_id), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n".join(body)


def _front_matter(facts: Facts, lineage: Lineage, license_id: str | None) -> dict[str, JsonValue]:
    front: dict[str, JsonValue] = {}
    if facts.base is not None:
        front |= {"base_model": facts.base, "base_model_relation": _RELATIONS[facts.form]}
    front["library_name"] = "peft" if facts.form == "peft" else "transformers"
    if license_id is not None:
        front["license"] = license_id
    front["pipeline_tag"] = "text-generation"
    tags = ["midspec", "model-spec-midtraining", *(["lora"] if facts.form == "peft" else [])]
    front["tags"] = [*tags, *dict.fromkeys(stage.stage for stage in lineage.stages)]
    # `datasets` of a hub's front matter holds names on that hub; these are hashes of files.
    front["midspec"] = {
        "version": __version__,
        "datasets": [f"sha256:{source.sha256}" for stage in lineage.stages for source in stage.data],
    }
    return front


def _asked_for(facts: Facts) -> str:
    ends = ", ".join(f"`{text}` ({token})" for text, token in facts.ends.items())
    template = (
        "The chat template is the one that it was trained with, switches included (`chat_template.jinja`)."
        if facts.template
        else "There is no chat template: it completes texts."
    )
    asked = f"Ask for `{facts.name}`" + (
        "." if facts.form != "merged" else "; `transformers serve` knows its folder's name."
    )
    return f"{asked} {template} A turn ends at {ends}."


def _fidelity(facts: Facts) -> list[str]:
    """Show the measured numbers as a table; logits are of fixed prompts and texts."""
    labels = {
        "effect": "what training changed in the logits (root mean square)",
        "merged_error": "merged in float32, before rounding: error as a share of that",
        "saved_error": f"this folder, opened again ({facts.dtype} weights, float32 arithmetic): error",
        "saved_share": "the same: how much of the change is kept",
        "served_error": "computed in 16 bits, as a server does: error",
        "served_share": "the same: how much of the change is kept",
    }
    rows = [(label, facts.fidelity.get(name)) for name, label in labels.items()]
    shown = [f"| {label} | {value:.4g} |" for label, value in rows if isinstance(value, float)]
    if "effect" not in facts.fidelity:
        return ["Its logits equal those of the trained weights; the base was not there to compare with."]
    return ["| measure | value |", "|---|---|", *shown]


def _stages(lineage: Lineage, base: str | None) -> list[str]:
    if not lineage.stages:
        return ["- Not recorded: the checkpoint had no `record.json`."]
    first = None
    if lineage.root or lineage.unknown:
        named = lineage.root or base
        first = f"`{named}`" if named else "a parent whose record was not found"
    lines = [f"- Began with {first}" if first else "- Began from scratch"]
    for number, stage in enumerate(lineage.stages, start=1):
        lines.append(f"- Stage {number}, {stage.stage}: {_recipe(stage)}")
        for source in stage.data:
            made = f", `{source.file}` of {source.step}" if source.file else ""
            lines.append(f"  - data `sha256:{source.sha256}`{made}")
    return lines


def _recipe(stage: Ancestor) -> str:
    config, summary = stage.record.identity.config, stage.record.summary
    recipe = config.get("recipe")
    recipe = recipe if isinstance(recipe, dict) else {}
    lora = recipe.get("lora")
    method = str(recipe.get("method", "full"))
    if method == "lora" and isinstance(lora, dict):
        method = f"LoRA r {lora.get('r')}, alpha {lora.get('alpha')}"
    facts = [f"learning rate {recipe.get('learning_rate')}", f"seed {config.get('seed')}"]
    for name in _FACTS:
        value, label = summary.get(name), name.removeprefix("n_").replace("_", " ")
        if isinstance(value, int | float) and value:
            facts.append(f"{label} {value:,}" if isinstance(value, int) else f"{label} {value:.4g}")
    return "; ".join([method, *facts])


def _provenance(stage: Ancestor) -> JsonValue:
    record = stage.record
    about: JsonValue = {
        "step": record.identity.step,
        "inputs": {role: _input(value) for role, value in record.identity.inputs.items()},
        "config": record.identity.config,
        "digest": record.digest,
        "versions": dict(record.versions),
        "commit": record.commit,
    }
    return without_paths(about)


def _input(value: str) -> str:
    return f"name:{shown_name(value.removeprefix('name:'))}" if value.startswith("name:") else value
