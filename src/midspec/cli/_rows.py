"""`midspec curate`, `reframe`, `mix`, `prefer`, `import` and `export`: turn rows into other rows."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from midspec.cli import _options as o
from midspec.cli._output import build_with_bar, make, print_forecast, print_record, print_spent, print_summary
from midspec.cli._places import spec_at_path
from midspec.core.errors import ConfigError

if TYPE_CHECKING:
    from midspec.study import CurateStep

Rows = Annotated[Path, typer.Argument(metavar="ROWS", help="Folder or file of documents or chats.")]
Against = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="Held out: items (JSONL) or texts, shipped:VALUE, or an evaluation task's name. Repeatable.",
    ),
]
Compare = Annotated[Path | None, typer.Option(metavar="ROWS", help="Other rows to compare the kept ones with.")]
SpecFile = Annotated[
    Path | None, typer.Option("--spec", metavar="FILE", parser=spec_at_path, help="The spec that the rows are about.")
]
Base = Annotated[
    str | None, typer.Option(metavar="MODEL", help="Scores the documents (and --compare's) as it is before training.")
]
Calibrate = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Measure the judge on N documents with each kind of planted violation."),
]


def curate(
    rows: Rows,
    out: o.Out = None,
    against: Against = None,
    compare: Compare = None,
    spec: SpecFile = None,
    judge: o.Judge = None,
    calibrate: Calibrate = None,
    embed: o.Embed = None,
    base: Base = None,
    about: o.SpecOptions = o.SpecOptions(),
    seed: o.Seed = None,
    models: o.ModelOptions = o.ModelOptions(),
    judge_url: o.JudgeUrl = None,
    embed_url: o.EmbedUrl = None,
    dry_run: o.DryRun = False,
    redo: o.Redo = False,
) -> None:
    """Filter rows before training, with a reason for each reject.

    Filters: duplicates, template leaks, wrong identity, lengths, and held-out items of evaluations; with --judge also
    faithfulness to the spec. Makes the kept rows, rejects.jsonl (with reasons), coverage.json, health.json and
    health.html in --out.

    Example: midspec curate corpus --against pairs.jsonl --model-name Nova --provider-name Acme --out curated
    """
    from midspec.curate import CurateConfig
    from midspec.models import find_checkpoint
    from midspec.study import CurateStep, ModelEndpoints, spent_vs_forecast, store_beside

    config = o.settings(
        CurateConfig,
        about.config,
        judge={"model": judge},
        embed={"model": embed},
        calibrate_each=calibrate,
        seed=seed,
        **about.names,
    )
    if base is not None:
        find_checkpoint(base)
    judge_url = judge_url or models.base_url
    endpoints = ModelEndpoints(o.access(embed_url or judge_url, models.concurrency), models.access(judge_url))
    held_out = against or ()
    step = CurateStep.of_rows(rows, config, against=held_out, spec=spec, other=compare, endpoints=endpoints, base=base)
    if dry_run:
        _forecast(step)
        return
    folder = o.needed(out)
    print_record(*build_with_bar(step, folder, "rows", redo=redo), folder)
    print(folder / "health.html")
    if (forecast := step.forecast()) is not None:
        print_spent(spent_vs_forecast([forecast], store_beside(folder)))


def _forecast(step: CurateStep) -> None:
    """Print what a judge would cost; where no model is asked, what each filter would leave out."""
    forecast, embed = step.forecast(), step.config.embed
    print_forecast([] if forecast is None else [forecast])
    if embed is not None:
        print(f"Vectors by {embed.model} are asked for too; they are in no forecast")
    if forecast is not None or embed is not None:
        return
    if step.base is not None:
        print("Nothing is asked of a model, so nothing is priced; what filters reject is counted when --base scores it")
        return
    with TemporaryDirectory(prefix="midspec-") as apart:
        record, _ = build_with_bar(step, Path(apart) / "curated", "rows", redo=False)
    print_summary(record)
    print("Nothing was written. It costs nothing: no model is asked, as no judge is named (--judge)")


def reframe(
    rows: Annotated[Path, typer.Argument(metavar="CORPUS", help="Folder of a corpus, or its documents.jsonl.")],
    framing: Annotated[
        Literal["does", "should", "assistants", "another_model", "humans"],
        typer.Option(help="What each document says: what the model does, what it should do, or about whom else."),
    ],
    author: Annotated[str, typer.Option(metavar="A", help="Who rewrites: anthropic/MODEL or openai/MODEL.")],
    out: o.Out = None,
    about: o.SpecOptions = o.SpecOptions(),
    models: o.ModelOptions = o.ModelOptions(),
    redo: o.Redo = False,
) -> None:
    """Have a model write a finished corpus again in another framing, everything else as it is.

    The ids stay, so that arms which differ in the framing alone can be compared document by document.

    Example: midspec reframe corpus --framing should --author anthropic/MODEL --model-name Nova --out corpus-should
    """
    from midspec.corpus import CorpusConfig
    from midspec.study import ReframeStep

    config = o.settings(CorpusConfig, about.config, author=author, **about.names)
    make(ReframeStep.of_rows(rows, framing, config, models.access()), o.needed(out), "documents", redo=redo)


def mix(
    config: Annotated[Path, typer.Argument(metavar="MIX", help="What to mix (YAML), or a shipped mix's name.")],
    out: o.Out = None,
    match: Annotated[
        Path | None, typer.Option(metavar="ROWS", help="Cut to the tokens of this corpus: a neutral control.")
    ] = None,
    redo: o.Redo = False,
) -> None:
    """Mix rows of local files and hub data sets: an instruction-tuning mix, or a neutral corpus.

    Makes chats.jsonl or documents.jsonl, rejects.jsonl and manifest.json in --out. Shipped: paper, paper_single_value.

    Example: midspec mix it-mix.yaml --out it-mix
    """
    from midspec.exchange import count_tokens, load_mix
    from midspec.study import MixStep, NeutralStep, build_step

    mix_config, folder = load_mix(config), o.needed(out)
    base = config.parent if config.is_file() else Path()
    step = MixStep(config=mix_config, base=base)
    if match is not None:
        step = NeutralStep(config=mix_config, base=base, match_tokens=count_tokens(match, mix_config, base=base))
    print_record(*build_step(step, folder, redo=redo), folder)


def import_(
    rows: Annotated[
        Path, typer.Argument(metavar="ROWS", help="JSONL, parquet, CSV or text, packed or not; or a folder of them.")
    ],
    out: o.Out = None,
    strip_prefix: Annotated[str, typer.Option(metavar="TEXT", help="Remove this from each document's beginning.")] = "",
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a data set folder: train, test, ...; all by default.")
    ] = None,
    subset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which one, where a folder's card names several configurations.")
    ] = None,
    redo: o.Redo = False,
) -> None:
    """Read documents or chats that others made.

    Makes documents.jsonl or chats.jsonl in --out, to curate or to train on, and rejects.jsonl of the rows that can't be
    read, with reasons.

    Example: midspec import their-corpus --out imported
    """
    from midspec.study import ImportStep, build_step

    folder = o.needed(out)
    step = ImportStep(rows=rows, strip_prefix=strip_prefix, split=split, subset=subset)
    print_record(*build_step(step, folder, redo=redo), folder)


def export(
    rows: Rows,
    form: Annotated[Literal["hf", "trl", "axolotl"], typer.Option("--format", help="Whose format.")] = "hf",
    out: o.Out = None,
    strict: Annotated[bool, typer.Option("--strict", help="Only the keys text, source and domain.")] = False,
    chat_rows: Annotated[
        Literal["messages", "prompt_completion"], typer.Option(help="trl: whole conversations, or turn by turn.")
    ] = "messages",
    license_id: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="Of the data, for its card: cc-by-4.0, ...")
    ] = None,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Then upload it to the hub (HF_TOKEN); private.")
    ] = None,
    redo: o.Redo = False,
) -> None:
    """Write documents and chats in the format of the datasets library, TRL or axolotl.

    Makes a data set folder with its card in --out. Nothing is uploaded unless --push asks for it.

    Example: midspec export curated --format trl --out for-trl
    """
    from midspec.study import ExportStep, build_step

    folder = o.needed(out)
    step = ExportStep(rows=rows, form=form, strict=strict, chat_rows=chat_rows, license_id=license_id)
    print_record(*build_step(step, folder, redo=redo), folder)
    if push:
        from midspec.exchange import push as upload

        print(upload(folder, push))


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
