"""`midspec curate`, `reframe`, `mix`, `import` and `export`: rows to rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from midspec.cli import _options as o
from midspec.cli._output import Bar, print_record
from midspec.core.errors import DataError

Rows = Annotated[Path, typer.Argument(metavar="ROWS", help="Folder or file of documents or chats.")]
Against = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="What rows must not hold: items (JSONL) or texts, shipped:VALUE, or an exam's name. Repeatable.",
    ),
]
Compare = Annotated[Path | None, typer.Option(metavar="ROWS", help="Other rows to compare what is kept with.")]
SpecFile = Annotated[Path | None, typer.Option("--spec", metavar="FILE", help="The spec that the rows are about.")]
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
    model_name: o.ModelName = None,
    provider_name: o.ProviderName = None,
    seed: o.Seed = None,
    config: o.Config = None,
    judge_url: o.JudgeUrl = None,
    embed_url: o.EmbedUrl = None,
    concurrency: o.Concurrency = 50,
    budget: o.Budget = None,
    batch: o.Batch = False,
    prices: o.Prices = None,
    redo: o.Redo = False,
) -> None:
    """Keep the rows that are fit to train on, and say why the others are not.

    Duplicates, frame leaks, wrong identity, lengths, and what an evaluation holds; with --judge also faithfulness to
    the spec. Makes the kept rows, rejects.jsonl (with reasons), coverage.json, health.json and health.html in --out.

    Example: midspec curate corpus --against pairs.jsonl --model-name Nova --provider-name Acme --out curated
    """
    from midspec.curate import CurateConfig
    from midspec.study import build_step, curate_step

    asked = o.settings(
        CurateConfig,
        config,
        judge={"model": judge},
        embed={"model": embed},
        calibrate_each=calibrate,
        model_name=model_name,
        provider_name=provider_name,
        seed=seed,
    )
    way = None
    if asked.judge is not None or asked.embed is not None:
        access = o.access(judge_url, concurrency, budget, prices, batch=batch)
        way = o.way(out, o.access(embed_url or judge_url, concurrency), access)
    step = curate_step(rows, asked, against=against or (), spec=spec, other=compare, way=way)
    folder = o.needed(out)
    with Bar("curate", "rows") as bar:
        record, made = build_step(step, folder, redo=redo, on_progress=bar.on_progress)
    print_record(record, made, folder)
    print(folder / "health.html")


def reframe(
    rows: Annotated[Path, typer.Argument(metavar="CORPUS", help="Folder of a corpus, or its documents.jsonl.")],
    framing: Annotated[
        Literal["does", "should", "assistants", "another_model", "humans"],
        typer.Option(help="What each document is to say: what the model does, what it should do, or of whom else."),
    ],
    author: Annotated[str, typer.Option(metavar="A", help="Who rewrites: anthropic/MODEL or openai/MODEL.")],
    out: o.Out = None,
    model_name: o.ModelName = None,
    provider_name: o.ProviderName = None,
    config: o.Config = None,
    base_url: o.BaseUrl = None,
    concurrency: o.Concurrency = 50,
    budget: o.Budget = None,
    batch: o.Batch = False,
    prices: o.Prices = None,
    redo: o.Redo = False,
) -> None:
    """Have a model write a finished corpus again in another framing, everything else as it is.

    The ids stay, so that arms which differ in the framing alone can be compared document by document.

    Example: midspec reframe corpus --framing should --author anthropic/MODEL --model-name Nova --out corpus-should
    """
    from midspec.corpus import CorpusConfig
    from midspec.study import build_step, reframe_step

    asked = o.settings(CorpusConfig, config, author=author, model_name=model_name, provider_name=provider_name)
    way = o.way(out, o.access(base_url, concurrency, budget, prices, batch=batch))
    folder = o.needed(out)
    with Bar("reframe", "documents") as bar:
        record, made = build_step(
            reframe_step(rows, framing, asked, way), folder, redo=redo, on_progress=bar.on_progress
        )
    print_record(record, made, folder)
    if record.summary.get("n_documents") == 0:
        raise DataError("not one document was kept", where=str(folder), hint="Read the reasons in its rejects.jsonl")


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
    from midspec.study import mix_rows, neutral_rows

    asked, folder = load_mix(config), o.needed(out)
    base = config.parent if config.is_file() else Path()
    if match is None:
        print_record(*mix_rows(asked, folder, base=base, redo=redo), folder)
        return
    n_tokens = count_tokens(match, asked, base=base)
    print_record(*neutral_rows(asked, n_tokens, folder, base=base, redo=redo), folder)


def import_(
    rows: Annotated[Path, typer.Argument(metavar="ROWS", help="JSONL, parquet, data set folder, or tree of texts.")],
    out: o.Out = None,
    strip_prefix: Annotated[str, typer.Option(metavar="TEXT", help="Take this off each document's beginning.")] = "",
    redo: o.Redo = False,
) -> None:
    """Read documents or chats that others made.

    Makes documents.jsonl or chats.jsonl and rejects.jsonl in --out, to curate or to train on.

    Example: midspec import their-corpus --out imported
    """
    from midspec.study import import_rows

    folder = o.needed(out)
    print_record(*import_rows(rows, folder, strip_prefix=strip_prefix, redo=redo), folder)


def export(
    rows: Rows,
    form: Annotated[Literal["hf", "trl", "axolotl"], typer.Option("--format", help="Whose form.")] = "hf",
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
    """Write documents and chats as others read them: the datasets library, TRL, axolotl.

    Makes a data set folder with its card in --out. Nothing is uploaded unless --push asks for it.

    Example: midspec export curated --format trl --out for-trl
    """
    from midspec.study import export_rows

    folder = o.needed(out)
    made = export_rows(rows, form, folder, strict=strict, chat_rows=chat_rows, license_id=license_id, redo=redo)
    print_record(*made, folder)
    if push:
        from midspec.exchange import push as upload

        print(upload(folder, push))
