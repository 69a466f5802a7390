"""`midspec train`: from rows to a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midspec.cli import _options as o
from midspec.cli._live import Bar
from midspec.cli._show import print_record

__all__ = ["train"]


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Training job (YAML).")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; by default the config's name without .yaml.")
    ] = None,
    device: o.Device = "auto",
    redo: o.Redo = False,
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
