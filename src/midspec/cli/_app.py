"""The command's frame: its name, its version, and the commands in the order in which one uses them."""

from __future__ import annotations

from typing import Annotated

import typer

from midspec import __version__
from midspec.cli._evaluate import calibrate, evaluate
from midspec.cli._items import pairs, questions
from midspec.cli._models import train
from midspec.cli._reasons import reasons
from midspec.cli._rows import curate, export, import_, mix, reframe
from midspec.cli._spec import spec
from midspec.cli._studies import demo, plan, report, run
from midspec.cli._write import chats, corpus

__all__ = ["app"]

_ABOUT = """From a Model Spec to a trained model, and to a report that says how its alignment generalized.

Begin with: midspec demo
"""

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True, help=_ABOUT)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        print(f"midspec {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


app.command("demo")(demo)
app.add_typer(spec, name="spec")
app.command("corpus")(corpus)
app.command("chats")(chats)
app.command("curate")(curate)
app.command("reframe")(reframe)
app.command("mix")(mix)
app.command("train")(train)
app.command("pairs")(pairs)
app.command("questions")(questions)
app.command("eval")(evaluate)
app.command("calibrate")(calibrate)
app.command("reasons")(reasons)
app.command("plan")(plan)
app.command("run")(run)
app.command("report")(report)
app.command("import")(import_)
app.command("export")(export)
