"""`midspec prefer`: pairs of a better and a worse reply, to train on in stage dpo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from midspec.cli import _options as o
from midspec.cli._output import build_with_bar, print_record
from midspec.core.errors import ConfigError

_CHATS = "chats.jsonl"


def prefer(
    chosen: Annotated[
        Path | None, typer.Option(metavar="CHATS", help="Chats with the better replies: a folder or a file.")
    ] = None,
    rejected: Annotated[
        Path | None, typer.Option(metavar="CHATS", help="Chats with the worse replies to the same prompts.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="M", help="Instead: a checkpoint whose own replies are ranked.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(metavar="FILE", help="What it replies to: prompts (JSONL).")] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="How replies are sampled and ranked (YAML): rewards, n_replies.")
    ] = None,
    out: o.Out = None,
    models: o.ModelOptions = o.ModelOptions(),
    device: o.Device = "auto",
    redo: o.Redo = False,
) -> None:
    """Make pairs of a better and a worse reply, for stage dpo.

    Either of two sets of chats with the same prompts (--chosen, --rejected), or of a model's own replies (--model,
    --prompts, --config): the best and the worst of some to each prompt, by rules, an evaluation task or its judge. The
    config has `rewards` as stage grpo has them. Makes pairs.jsonl in --out.

    Example: midspec prefer --chosen curated-chats --rejected other-chats --out preferences
    """
    from midspec.study import File, RankedPairsStep, RankingConfig, ReplyPairsStep, Step

    folder = o.needed(out)
    step: Step
    if chosen is not None and rejected is not None and model is None and prompts is None:
        sides = [File.at(path / _CHATS if path.is_dir() else path) for path in (chosen, rejected)]
        step = ReplyPairsStep(chosen=sides[0], rejected=sides[1])
    elif model is not None and prompts is not None and chosen is None and rejected is None:
        step = RankedPairsStep.of_model(model, prompts, o.settings(RankingConfig, config), models.access())
    else:
        raise ConfigError(
            "pairs come from two sets of chats, or from a model's replies",
            where="midspec prefer",
            hint="Give --chosen and --rejected, or --model, --prompts and --config",
        )
    print_record(*build_with_bar(step, folder, "pairs", redo=redo, device=device), folder)
