"""Options that several commands take, and the settings that follow from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

import typer

from midspec.cli._output import checked, wrong_setting
from midspec.cli._places import result_folder, run_place, spec_at_path
from midspec.core.errors import ConfigError, MissingError, note_renamed

if TYPE_CHECKING:
    from pydantic import BaseModel, JsonValue

    from midspec.llm import Access

ConfigT = TypeVar("ConfigT", bound="BaseModel")

SpecPath = Annotated[
    Path,
    typer.Argument(
        metavar="SPEC", parser=spec_at_path, help="Model Spec: Markdown or plain text in UTF-8, or shipped:NAME."
    ),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", parser=result_folder, help="Folder for the result.")]
Author = Annotated[
    str | None,
    typer.Option(
        metavar="A",
        help="Who writes: template (the default: no model; the spec's own sentences), anthropic/MODEL or openai/MODEL.",
    ),
]
Judge = Annotated[
    str | None, typer.Option(metavar="A", help="Who judges: anthropic/MODEL or openai/MODEL; nobody by default.")
]
BaseUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="Server of the model that writes or judges: vLLM, SGLang, ...")
]
JudgeUrl = Annotated[str | None, typer.Option(metavar="URL", help="The judge's server, where it is another.")]
Embed = Annotated[
    str | None, typer.Option(metavar="A", help="Who gives vectors of texts, to find likeness in meaning: openai/MODEL.")
]
EmbedUrl = Annotated[str | None, typer.Option(metavar="URL", help="Its server, where it is another.")]
Concurrency = Annotated[int, typer.Option(min=1, metavar="N", help="Requests in flight at once, if the server can.")]
Budget = Annotated[
    float | None, typer.Option("--budget", min=0, metavar="USD", help="Stop before this much is spent in all.")
]
Batch = Annotated[bool, typer.Option("--batch", help="Send through the provider's batch endpoint, at half the price.")]
Prices = Annotated[str | None, typer.Option(metavar="FILE", help="Prices (YAML, USD a million tokens) that go first.")]
ModelName = Annotated[str | None, typer.Option(metavar="NAME", help="Fills {model_name}.")]
ProviderName = Annotated[str | None, typer.Option(metavar="NAME", help="Fills {provider_name}.")]
Called = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=NEW", help="A name that the spec uses, and the one to use instead. Repeatable."),
]
LeaveOut = Annotated[
    list[str] | None,
    typer.Option(metavar="TITLE", help="Of the spec: a section, or a clause's id or beginning. Repeatable."),
]
Templates = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Template author: templates by name (english), lab:FILE, or a YAML file."),
]
OldTemplates = Annotated[str | None, typer.Option("--frames", hidden=True)]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Decides every draw; 0 by default.")]
Preview = Annotated[int | None, typer.Option(min=1, metavar="N", help="Print N rows and stop; a model's are paid.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what it would be and cost, and write nothing.")]
Cache = Annotated[
    Path | None, typer.Option("--cache", metavar="DIR", help="Where the working folders of runs at a URL are kept.")
]
RUNS = Path("runs")
RunOut = Annotated[
    str | None,
    typer.Option(
        "--out",
        metavar="DIR",
        parser=run_place,
        help="Run folder, or its URL (s3://bucket/run); by default runs/ and the study's name.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting of the study: base.checkpoint=./model, seeds=[1], corpora.*.author=openai/gpt-5.",
    ),
]
Device = Annotated[str, typer.Option(metavar="D", help="cpu, cuda, cuda:1, mps; auto takes what is there.")]
Temperature = Annotated[
    str, typer.Option("--judge-temperature", metavar="T", help="Of judges; none for those that take none.")
]
Redo = Annotated[bool, typer.Option("--redo", help="Replace a result that was made from other inputs.")]

Config = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Settings, also those without an option (YAML); options go first.")
]


class ModelOptions(NamedTuple):
    """How the models that write or judge are reached."""

    base_url: BaseUrl = None
    concurrency: Concurrency = 50
    budget: Budget = None
    batch: Batch = False
    prices: Prices = None

    def access(self, base_url: str | None = None) -> Access:
        """Return how a model is reached; at `base_url` where it has a server of its own.

        Raises:
            ConfigError: an option is wrong.
        """
        url = base_url or self.base_url
        return access(url, self.concurrency, self.budget, self.prices, batch=self.batch)


class NameOptions(NamedTuple):
    """The assistant's names, and what of a spec is left out."""

    model_name: ModelName = None
    provider_name: ProviderName = None
    called: Called = None
    leave_out: LeaveOut = None

    @property
    def names(self) -> dict[str, Any]:
        """Return them as settings."""
        return {
            "model_name": self.model_name,
            "provider_name": self.provider_name,
            "called": called(self.called),
            "leave_out": tuple(self.leave_out) if self.leave_out else None,
        }


class SpecOptions(NamedTuple):
    """The same, and a file of settings."""

    model_name: ModelName = None
    provider_name: ProviderName = None
    called: Called = None
    leave_out: LeaveOut = None
    config: Config = None

    @property
    def names(self) -> dict[str, Any]:
        """Return all but the file as settings."""
        return NameOptions(*self[:4]).names


class RowOptions(NamedTuple):
    """How `corpus` and `chats` draw rows, and whether they write them."""

    templates: Templates = None
    frames: OldTemplates = None
    seed: Seed = None
    preview: Preview = None
    dry_run: DryRun = False
    redo: Redo = False

    @property
    def settings(self) -> dict[str, object]:
        """Return the settings among them."""
        if self.frames is not None:
            note_renamed("--frames", "--templates", "option")
        templates = self.templates or self.frames
        if templates and templates.startswith("lab:"):
            from midspec.lab import data_path

            templates = str(data_path(templates.removeprefix("lab:")))
        return {"frames": templates, "seed": self.seed}


# Of a spec's variants
Clauses = Annotated[
    list[str] | None,
    typer.Option(
        "--clauses",
        metavar="IDS",
        help="Clauses by id, or sections by title; with commas, or repeated. All by default.",
    ),
]


class VariantOptions(NamedTuple):
    """Which clauses a variant is of, where it goes, and how the model that writes it is reached."""

    clauses: Clauses = None
    out: Out = None
    config: Config = None
    base_url: BaseUrl = None
    concurrency: Concurrency = 50
    budget: Budget = None
    batch: Batch = False
    prices: Prices = None
    dry_run: DryRun = False
    redo: Redo = False

    @property
    def models(self) -> ModelOptions:
        """Return those of the model."""
        return ModelOptions(self.base_url, self.concurrency, self.budget, self.batch, self.prices)


# Of a corpus
Mode = Annotated[
    Literal["prose", "rules"] | None, typer.Option(help="rules: the spec is numbered rules; prose by default.")
]
Documents = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="How many documents; 1,000 where no size is given.")
]
TargetTokens = Annotated[int | None, typer.Option(min=1, metavar="N", help="About how many tokens, instead.")]
Ideas = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Documents of each type in each subdomain, instead.")
]
DocTypes = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="How many document types; all of the template author's.")
]
Domains = Annotated[int | None, typer.Option(min=1, metavar="N", help="A model: how many domains.")]
Subdomains = Annotated[int | None, typer.Option(min=1, metavar="N", help="A model: how many subdomains of a domain.")]
Critique = Annotated[
    bool,
    typer.Option("--critique", help="A model: criticise and revise each document: twice the price, gain unmeasured."),
]

# Of chats
Style = Annotated[
    str | None,
    typer.Option(
        metavar="<value|rule|opaque|identity>",
        help="value (the default): the spec's reasons; rule: citing it; opaque: no reason; identity.",
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="How many; by default every distinct one, a model's as published."),
]


def settings(kind: type[ConfigT], file: Path | None, **options: object) -> ConfigT:
    """Return the config of a file of settings and options, which go first; an option that is not given is `None`.

    Raises:
        MissingError: there is no such file.
        ConfigError: the file is no mapping, or a setting is wrong.
    """
    from pydantic import ValidationError

    from_file = _read_settings(file, kind) if file else {}
    for key in from_file:
        if key not in kind.model_fields:
            near = get_close_matches(str(key), kind.model_fields, n=1)
            hint = f"Did you mean {near[0]}" if near else f"There are {', '.join(kind.model_fields)}"
            raise ConfigError("is no setting", where=f"{file}: {key}", hint=hint)
    merged = _merge(from_file, options)
    if "author" in merged:
        merged["author"] = _checked_author(merged["author"])
    try:
        return kind.model_validate(merged)
    except ValidationError as error:
        raise wrong_setting(error, file, options) from error


def _checked_author(given: object) -> object:
    """Return an author by its name in records."""
    from midspec.generation import TEMPLATE_AUTHOR, check_author_name

    if given == "template":
        return TEMPLATE_AUTHOR
    if given == TEMPLATE_AUTHOR:
        note_renamed("the author quoting", "template", "--author")
        return given
    author = given.get("model") if isinstance(given, dict) else given
    check_author_name(str(author), where="--author")
    return given


def _read_settings(file: Path, kind: type[BaseModel]) -> dict[str, object]:
    from midspec.core.yaml_files import read_yaml, truths_for_numbers

    found = read_yaml(file)
    if not isinstance(found, dict):
        raise ConfigError("is not a mapping of settings", where=str(file), hint="Write lines like `seed: 1`")
    if (path := next(truths_for_numbers(kind, found), None)) is not None:
        where = f"{file}: {'.'.join(map(str, path))}"
        raise ConfigError("a truth value (yes, on, true) where a number must be", where=where, hint="Write the number")
    return found


def _merge(below: dict[str, object], above: dict[str, object]) -> dict[str, object]:
    """Put the values of `above` over those of `below`, block by block; `None` and blocks of it change nothing."""
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, dict):
            under = merged.get(key)
            if block := _merge(under if isinstance(under, dict) else {}, value):
                merged[key] = block
        elif value is not None:
            merged[key] = value
    return merged


def access(
    base_url: str | None,
    concurrency: int = 50,
    budget: float | None = None,
    prices: str | None = None,
    *,
    batch: bool = False,
) -> Access:
    """Return how a model is reached.

    Raises:
        ConfigError: an option is wrong.
        MissingError: there is no such table of prices.
    """
    from midspec.llm import Access

    there(prices, "table of prices")
    return checked(Access, base_url=base_url, concurrency=concurrency, budget_usd=budget, prices=prices, batch=batch)


def there(file: Path | str | None, what: str = "file") -> None:
    """Refuse a file that is not there, before anything is imported that takes seconds; `None` is no file.

    Raises:
        MissingError: it is neither a file nor a folder.
    """
    if file is not None and not Path(file).expanduser().exists():
        raise MissingError(f"there is no such {what}", where=str(file), hint="Check the path")


def needed(out: Path | None) -> Path:
    """Return the folder for the result, or raise ConfigError where none is named."""
    if out is None:
        raise ConfigError("is missing", where="--out", hint="Name the folder for the result")
    return out


def temperature_of(option: str) -> float | None:
    """Parse a judge's temperature, a number from 0 on; `none` is for judges that take none."""
    if option == "none":
        return None
    try:
        temperature = float(option)
    except ValueError:
        temperature = -1.0
    if not temperature >= 0:
        raise ConfigError(f"{option!r} is no temperature", where="--judge-temperature", hint="Give 0 or more, or none")
    return temperature


def called(options: Sequence[str] | None) -> dict[str, str] | None:
    """Read names, `name=new` each; `None` where there is none.

    Raises:
        ConfigError: one has no name, or nothing that stands for it.
    """
    found: dict[str, str] = {}
    for option in options or ():
        name, _, new = (part.strip() for part in option.partition("="))
        if not name or not new:
            raise ConfigError(f"{option!r} is not NAME=NEW", where="--called", hint="Write Claude=Ada")
        found[name] = new
    return found or None


def switches(options: Sequence[str]) -> dict[str, JsonValue]:
    """Read switches of a chat template, `name=value` each; a value is JSON where it can be, else text.

    Raises:
        ConfigError: one has no name or no value.
    """
    found: dict[str, JsonValue] = {}
    for option in options:
        name, given, value = option.partition("=")
        if not name.isidentifier() or not given:
            raise ConfigError(
                f"{option!r} is not NAME=VALUE", where="--template-arg", hint="Write enable_thinking=false"
            )
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
