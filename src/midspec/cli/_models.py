"""`midspec train` and `eval`: from rows to a checkpoint, from a checkpoint to scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from midspec.cli._live import Bar
from midspec.cli._show import print_record

__all__ = ["evaluate", "train"]

Device = Annotated[str, typer.Option(metavar="D", help="cpu, cuda, cuda:1, mps; auto takes what is there.")]
Redo = Annotated[bool, typer.Option("--redo", help="Replace a result that was made from other inputs.")]


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Training job (YAML).")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; by default the config's name without .yaml.")
    ] = None,
    device: Device = "auto",
    redo: Redo = False,
) -> None:
    """Train one stage: pretrain, midtrain or finetune.

    Interrupted, the same command goes on where it stopped. A half-way checkpoint is written then, and every
    10 minutes (execution.save_every_s).

    Example: midspec train midtrain.yaml --out checkpoints/midtrained
    """
    from midspec.artifact import read_record
    from midspec.models import check_device
    from midspec.study import build_alone, train_step
    from midspec.train import check_folder, load_job, preflight

    check_device(device)
    job, folder = load_job(config), out or config.with_suffix("")
    check_folder(folder)
    step = train_step(job, device=device)
    # What is there already is the answer, or is in the way: either is said without counting anything.
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if not taken or (redo and read_record(folder) is not None):
        for line in preflight(job).lines():
            print(line, flush=True)
    with Bar(job.stage, "updates") as bar:
        record, made = build_alone(step, folder, redo=redo, tell=bar.tell)
    print_record(record, made, folder)


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Checkpoint (folder or hub name), or an Inspect model (vllm/BASE:ADAPTER)."
        ),
    ],
    items: Annotated[Path, typer.Option(metavar="FILE", help="Held-out pairs (JSONL).")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for scores, answers and the Inspect log.")],
    task: Annotated[Literal["preference"], typer.Option(help="What is asked.")] = "preference",
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="How it is asked (YAML); English by default.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="A server of the Inspect model's protocol.")
    ] = None,
    device: Device = "auto",
    redo: Redo = False,
) -> None:
    """Ask a model held-out pairs.

    Writes scores.jsonl, answers.jsonl and an Inspect log.

    Example: midspec eval checkpoints/aligned --items items.jsonl --out scores
    """
    from midspec.evals import PreferenceConfig, load_config
    from midspec.models import check_device, find_checkpoint
    from midspec.study import build_alone, eval_step

    check_device(device)
    asked = load_config(config) if config else PreferenceConfig()
    step = eval_step(model, items, asked, device=device, base_url=base_url)
    if Path(model).exists():
        find_checkpoint(model)
    with Bar(task, "items") as bar:
        record, made = build_alone(step, out, redo=redo, tell=bar.tell)
    print_record(record, made, out)
