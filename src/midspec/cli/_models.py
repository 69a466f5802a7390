"""`midspec train` for a single stage, `export-model` for others, and `check-served`: what a server really runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from midspec.cli import _options as o
from midspec.cli._output import build_with_bar, checked, print_made, print_pairs, print_record, warn
from midspec.cli._places import result_folder
from midspec.core.errors import CheckpointError

if TYPE_CHECKING:
    from midspec.llm import Access
    from midspec.train import TrainJob

Trained = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="What was trained: a folder, or a hub name.")]
Base = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The model it was trained from, as it is called where the export is used."),
]


def export_model(
    checkpoint: Trained,
    form: Annotated[
        Literal["peft", "merged", "gguf"],
        typer.Option("--format", help="An adapter beside its base; all weights; or those for llama.cpp's converter."),
    ] = "merged",
    out: o.Out = None,
    base: Base = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What servers call it; the name of --out by default.")
    ] = None,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="Of merged weights; auto is that of the base's files."),
    ] = "auto",
    temperature: Annotated[float, typer.Option(metavar="T", help="Written into generation_config.json.")] = 1.0,
    untie: Annotated[
        bool, typer.Option("--untie", help="Merge an adapter on tied embeddings: the output gets weights of its own.")
    ] = False,
    license_id: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="Of the weights, for the card: apache-2.0, ...")
    ] = None,
    redo: o.Redo = False,
) -> None:
    """Export a checkpoint for vLLM, transformers, PEFT or llama.cpp, and prove that it is what was trained.

    The adapter is merged in float32. The folder is opened again and its logits are compared with those of the
    checkpoint and its base; where the training is lost, nothing is exported. README.md is a card with the lineage.

    Example: midspec export-model runs/aligned --format peft --base Qwen/Qwen3-8B --out exported

    Example: midspec export-model runs/aligned --format merged --dtype bfloat16 --out aligned-8b
    """
    from midspec.models import find_checkpoint

    folder = o.needed(out)
    find_checkpoint(checkpoint)
    from midspec.exchange import ModelExport, facts_of_export, serve_commands  # brings torch, which takes seconds
    from midspec.study import ExportModelStep, Model

    config = checked(
        ModelExport,
        form=form,
        base=base,
        name=name or folder.resolve().name,
        dtype=dtype,
        temperature=temperature,
        untie=untie,
        license_id=license_id,
    )
    step = ExportModelStep(checkpoint=Model(checkpoint), config=config)
    record, made = build_with_bar(step, folder, "folders", redo=redo)
    print_pairs((key.replace("_", " "), value) for key, value in record.summary.items() if key != "notes")
    print_made(record, made, folder)
    notes = record.summary["notes"]
    for note in notes if isinstance(notes, list) else ():
        print(f"note: {note}", file=sys.stderr)
    facts = facts_of_export(folder, record.summary)
    for server, command in serve_commands(facts, str(folder)):
        print(f"\n{server}:\n  {command}")
    asked = str(folder) if facts.form == "merged" else facts.name
    compare = "" if find_checkpoint(checkpoint).adapter else f" --base {facts.base or 'BASE'}"
    print("\nWhen it is served, whether it is the trained model that answers:")
    print(f"  midspec check-served {checkpoint}{compare} --base-url http://localhost:8000/v1 --model {asked}")


def check_served(
    checkpoint: Trained,
    base_url: Annotated[str, typer.Option(metavar="URL", help="The server's address, up to /v1.")],
    model: Annotated[
        str, typer.Option(metavar="NAME", help="The model to ask for; the server's only one by default.")
    ] = "",
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="What to tell it from; by default the adapter's base.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Prompts to choose from: a line each, or JSONL; 40 questions by default."),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, metavar="N", help="How many prompts are sent.")] = 12,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write verdict and answers (JSON).")] = None,
    device: o.Device = "auto",
) -> None:
    """Tell whether a running server answers with the trained checkpoint, its base, or neither.

    Chooses prompts on which the checkpoint and its base answer differently, sends them to the server (OpenAI's chat
    completions, greedily), and compares. Exit code 0 if the checkpoint answers, else 2. A key is taken from
    VLLM_API_KEY or OPENAI_API_KEY.

    Example: midspec check-served runs/aligned --base-url http://localhost:8000/v1 --model aligned
    """
    from midspec.core.artifact import write_json
    from midspec.models import check_device, find_checkpoint

    check_device(device)
    o.there(prompts)
    for each in filter(None, (checkpoint, base)):
        find_checkpoint(each)
    from midspec.evals import Server, read_prompts  # brings torch, which takes seconds
    from midspec.evals import check_served as check

    chosen = read_prompts(prompts) if prompts else ()
    found = check(checkpoint, Server(base_url, model), base=base, prompts=chosen, n=n, device=device)
    if out is not None:
        write_json(out, found)
    for answer in found.answers[:3]:
        print_pairs(answer.model_dump().items())
        print()
    n_asked = len(found.answers)
    print_pairs(
        [
            ("answers like the trained checkpoint", f"{found.n_trained} of {n_asked}"),
            ("answers like its base", f"{found.n_base} of {n_asked}"),
            ("answers like neither", f"{found.n_neither} of {n_asked}"),
            ("verdict", found.verdict),
        ]
    )
    if found.verdict != "trained":
        what = f"it is the base that answers ({found.n_base} of {n_asked})"
        hint = "Load the adapter, and ask for its name"
        if found.verdict == "neither":
            what = f"neither the checkpoint nor its base answers ({found.n_trained} and {found.n_base} of {n_asked})"
            hint = "Check the model, its chat template and system text"
        elif found.verdict == "unclear":
            what = f"some answers go the checkpoint's way ({found.n_trained} of {n_asked}) and some do not"
            margin = max(answer.margin for answer in found.answers)
            hint = f"Look for replicas without the adapter; or give --prompts nearer to training ({margin:.2f} nats)"
        raise CheckpointError(what, where=f"{base_url} {found.model}".strip(), hint=hint)


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Training job (YAML).")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", parser=result_folder, help="Folder; by default the config's name without .yaml."
        ),
    ] = None,
    device: o.Device = "auto",
    processes: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Divide the model over N GPUs (FSDP2); so does execution.processes."),
    ] = None,
    judge_url: o.JudgeUrl = None,
    budget: o.Budget = None,
    redo: o.Redo = False,
) -> None:
    """Train one stage: pretrain, midtrain, finetune, dpo or grpo.

    Interrupted, the same command continues where it stopped. A half-way checkpoint is written then, and every
    10 minutes (execution.save_every_s). --judge-url and --budget are of the judge that a reward of grpo names.

    Example: midspec train midtrain.yaml --out checkpoints/midtrained

    Example: midspec train midtrain.yaml --processes 8, or torchrun --nproc-per-node 8 -m midspec train midtrain.yaml
    """
    from midspec.models import check_device, see_one_gpu
    from midspec.train import follow, leading, load_job, unusual_settings

    check_device(device)
    job, folder = load_job(config), out or config.with_suffix("")
    if processes is not None:
        job = job.model_copy(update={"execution": job.execution.model_copy(update={"processes": processes})})
    with leading(job, device) as ranks:
        if ranks.is_main:
            for each in unusual_settings(job.recipe, job.stage):
                warn(f"recipe.{each}")
            alone = ranks.n == 1 and (job.execution.processes or 1) == 1
            judge = o.access(judge_url, budget=budget)
            _train(job, folder, judge, device=see_one_gpu(device) if alone else device, redo=redo)
        else:
            follow(job, device)


def _train(job: TrainJob, folder: Path, judge: Access, *, device: str, redo: bool) -> None:
    from midspec.core.artifact import read_record
    from midspec.study import TrainStep
    from midspec.train import check_folder, preflight

    check_folder(folder)
    # A result or other files in the folder are reported without the work of a preflight.
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if not taken or (redo and read_record(folder) is not None):
        counted = preflight(job)
        print(*counted.lines(), sep="\n", flush=True)
        print("the model is being loaded", file=sys.stderr, flush=True)
        from midspec.train import memory_before  # brings torch, which takes seconds: after what can be refused

        memory = memory_before(job, counted.row_width, device, counted.longest_tokens)
        if memory is not None:
            print(memory.line(), flush=True)
    step = TrainStep.of_job(job, judge)
    print_record(*build_with_bar(step, folder, "updates", redo=redo, device=device), folder)
