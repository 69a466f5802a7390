"""The command's frame: its name, its version, and the commands in the order in which one uses them."""

from __future__ import annotations

from typing import Annotated

import typer

from midspec import __version__
from midspec.cli import _data, _models, _studies

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


app.command("demo")(_studies.demo)
app.add_typer(_data.spec, name="spec")
app.command("corpus")(_data.corpus)
app.command("chats")(_data.chats)
app.command("train")(_models.train)
app.command("eval")(_models.evaluate)
app.command("plan")(_studies.plan)
app.command("run")(_studies.run)
app.command("report")(_studies.report)
