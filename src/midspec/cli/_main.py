"""The commands, their exit codes and error lines.

0 done; 2 an error that the user can fix, in one line; 1 a fault of midspec, with a short traceback; 128 + n stopped by
signal n. Commands print results on standard output, everything else on standard error.
"""

from __future__ import annotations

import atexit
import errno
import functools
import gc
import inspect
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Annotated, Any, get_type_hints

import typer
from typer.main import get_command

from midspec import __version__
from midspec.cli._cluster import status, step
from midspec.cli._compare import compare
from midspec.cli._doctor import doctor
from midspec.cli._evaluate import calibrate, evaluate, seam
from midspec.cli._generate import chats, corpus
from midspec.cli._items import pairs, questions, reasons
from midspec.cli._models import check_served, export_model, train
from midspec.cli._output import stopped
from midspec.cli._plan import plan
from midspec.cli._rows import curate, export, import_, mix, prefer, reframe
from midspec.cli._spec import check, diff, list_, show, spec_commands
from midspec.cli._spec_tools import ablate, accept, anti_spec, augment, generalize, lint
from midspec.cli._study import demo, report, run
from midspec.core.errors import MidspecError
from midspec.core.garbage import rare_collections
from midspec.core.memory import restart_with_memory_settings
from midspec.core.terminals import leave_terminals

_ABOUT = """From a Model Spec to a trained model, and to a report that says how its alignment generalized.

Begin with: midspec demo
"""

app = typer.Typer(
    add_completion=True,
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


def _spelled_out(function: Callable[..., None]) -> Callable[..., None]:
    """Spell out a command's bundles of options (`o.ModelOptions`, ...) as the parameters that typer reads.

    A parameter whose type is a bundle is replaced by one keyword option for each of its fields.
    """
    hints = get_type_hints(function, include_extras=True)
    parameters: list[inspect.Parameter] = []
    bundles: dict[str, tuple[Callable[..., object], tuple[str, ...]]] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kind = hints[name]
        fields = getattr(kind, "_fields", None)
        if fields is None:
            parameters.append(parameter.replace(annotation=kind))
            continue
        bundles[name] = (kind, fields)
        types = get_type_hints(kind, include_extras=True)
        parameters += [
            inspect.Parameter(field, parameter.kind, default=kind._field_defaults[field], annotation=types[field])
            for field in fields
        ]

    @functools.wraps(function)
    def run(**options: Any) -> None:
        packed = {
            name: kind(**{field: options.pop(field) for field in fields}) for name, (kind, fields) in bundles.items()
        }
        function(**options, **packed)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del run.__wrapped__
    return run


_COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "corpus": corpus,
    "chats": chats,
    "curate": curate,
    "reframe": reframe,
    "mix": mix,
    "prefer": prefer,
    "train": train,
    "pairs": pairs,
    "questions": questions,
    "export-model": export_model,
    "check-served": check_served,
    "eval": evaluate,
    "compare": compare,
    "calibrate": calibrate,
    "seam": seam,
    "reasons": reasons,
    "plan": plan,
    "run": run,
    "step": step,
    "status": status,
    "report": report,
    "import": import_,
    "export": export,
    "doctor": doctor,
}
_SPEC_COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_,
    "show": show,
    "check": check,
    "lint": lint,
    "diff": diff,
    "augment": augment,
    "ablate": ablate,
    "generalize": generalize,
    "anti-spec": anti_spec,
    "accept": accept,
}
for _name, _function in _SPEC_COMMANDS.items():
    spec_commands.command(_name)(_spelled_out(_function))
app.add_typer(spec_commands, name="spec")
for _name, _function in _COMMANDS.items():
    app.command(_name)(_spelled_out(_function))


_EXTRAS = {
    "torch": "train",
    "transformers": "train",
    "peft": "train",
    "accelerate": "train",
    "safetensors": "train",
    "trl": "rl",
    "inspect_ai": "eval",
    "anthropic": "llm",
    "openai": "llm",
    "httpx_aiohttp": "llm",
    "genai_prices": "llm",
    "rensa": "curate",
    "py3langid": "curate",
    "datasets": "exchange",
    "pyarrow": "exchange",
    "huggingface_hub": "exchange",
}
_N_TRACE_ENTRIES = 4
# Typer turns a KeyboardInterrupt into this exit code, without a message.
_INTERRUPTED = 128 + signal.SIGINT
# What Python says of a path that can't be, whatever is done with it.
_NO_PATH = {
    "Could not determine home directory": "a path begins with ~ and there is no such home. Set HOME, or write it whole",
    "embedded null": "a path holds the character U+0000, as YAML's \\0 is. Write it without",
}
_REPORT = "This is a fault of midspec, not of yours: please report it with these lines and the command."


class _Terminated(SystemExit):
    """Raised by SIGTERM and SIGHUP. A `SystemExit`, which an event loop lets out of its callbacks."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


def _take_signals() -> None:
    """Let SIGTERM, and SIGHUP unless it is ignored (`nohup`), end what runs as Ctrl-C does."""

    def terminate(signum: int, _frame: object) -> None:
        raise _Terminated(signum)

    def hang_up(signum: int, _frame: object) -> None:
        signal.signal(signum, signal.SIG_IGN)  # a shell and the system both send it
        leave_terminals()
        raise _Terminated(signum)

    signal.signal(signal.SIGTERM, terminate)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, hang_up)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line (the process's own by default) and return its exit code."""
    if args is None and sys.argv[1:2] == ["train"]:
        restart_with_memory_settings()
    # Figures go to files. What a notebook (Colab, Jupyter) hands on as its way to show them may not be installed here.
    os.environ["MPLBACKEND"] = "agg"
    sys.excepthook = _show_fault
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no Chinese still gets the rest
    _take_signals()
    # Python collects garbage a last time as it ends, through everything that was ever imported.
    atexit.register(gc.freeze)
    try:
        with rare_collections():
            return _run(args)
    except BrokenPipeError:
        # The reader of our output has ended (`| head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return stopped(signal.SIGINT, args)
    except _Terminated as end:
        return stopped(end.signum, args)


def _run(args: Sequence[str] | None) -> int:
    try:
        code = get_command(app).main(args, prog_name="midspec", standalone_mode=False)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        sys.stdout.flush()
    except typer.TyperException as error:
        message = error.format_message().replace(": Value error, ", ": ").rstrip(".")  # pydantic's, in typer's
        return _complain(f"{message}{'' if message.endswith('?') else '.'} See midspec COMMAND --help")
    except MidspecError as error:
        return _complain(str(error))
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return _complain(f"this needs the package {error.name}. Install midspec[{extra}]")
    except (OSError, RuntimeError, ValueError) as error:
        words = _of_the_system(error)
        if words is None:
            raise
        return _complain(words)
    return code if isinstance(code, int) else 0


def _of_the_system(error: Exception) -> str | None:
    """Return what to do about an error of the machine's own: files, folders, a home; `None` where it is no such."""
    if not isinstance(error, OSError):
        return next((words for sign, words in _NO_PATH.items() if str(error).startswith(sign)), None)
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return "too many files are open at once. Raise the limit (`ulimit -n 4096`) or lower --concurrency"
    return None if error.filename is None else f"{error.filename}: {error.strerror}. Check the path and its permissions"


def _complain(line: str) -> int:
    print(f"midspec: {' '.join(line.split())}", file=sys.stderr)
    return 2


def _show_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the last frames of an uncaught error; Python then exits with 1."""
    lines = traceback.format_exception(kind, error, trace, limit=-_N_TRACE_ENTRIES)
    print("".join(lines).rstrip(), _REPORT, sep="\n", file=sys.stderr)
