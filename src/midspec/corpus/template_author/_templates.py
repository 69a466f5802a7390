"""The format of a frames file: every word of a document that is not the spec's own, and where the spec's words go.

`_frames/english.yaml` explains the format at its top and is the example to copy. Frames are data; the code knows no
language and no document type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from midspec.core.errors import ConfigError, MissingError
from midspec.core.records import Label, Strict

SLOT = re.compile(r"\{(\w+)\}")
_SLOTS = frozenset(("model_name", "provider_name", "topic", "domain", "doc_type", "spec_title", "rule_id", "rule_name"))
_POOL = re.compile(r"focus|section|domain|spec|label:(?:behavior|value|preference|belief|tone)")


def _many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _span(value: object) -> object:
    return (value, value) if isinstance(value, int) else value


def _pool(name: str) -> str:
    if not _POOL.fullmatch(name):
        raise ValueError(f"{name!r} is no pool: use focus, section, domain, spec or label:LABEL")
    return name


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression ({error})") from error
    return pattern


Lines: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_many), Field(min_length=1)]
Span: TypeAlias = Annotated[tuple[int, int], BeforeValidator(_span)]
Pools: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(_pool)], ...], BeforeValidator(_many), Field(min_length=1)
]
Regexes: TypeAlias = tuple[Annotated[str, AfterValidator(_regex)], ...]
Chance: TypeAlias = Annotated[float, Field(gt=0, le=1)]


class Part(Strict):
    """Either a literal line (`text`: one of these variants) or quoted sentences (`take`, and `from` which pools).

    Attributes:
        take: how many quotations, least and most.
        pools: tried in order until enough are found; within a pool the document's focus clauses come first.
        wrap: what stands around each quotation, as `{quote}`.
        run: take neighbours, in the order of the spec, rather than clauses from anywhere in the pool.
        chance: how often the part is there at all.
    """

    text: Lines | None = None
    take: Span | None = None
    pools: Pools | None = Field(default=None, alias="from")
    wrap: str = "{quote}"
    run: bool = False
    chance: Chance = 1.0

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.text is None) == (self.take is None):
            raise ValueError("a part has either `text` or `take`")
        if (self.take is None) != (self.pools is None):
            raise ValueError("`take` and `from` go together")
        if self.take is not None and not 0 <= self.take[0] <= self.take[1]:
            raise ValueError(f"`take: {list(self.take)}` is no range")
        if "{quote}" not in self.wrap:
            raise ValueError("`wrap` must hold {quote}")
        return self

    @property
    def least(self) -> int:
        """How many quotations this part is sure to hold, if its pools have them."""
        return self.take[0] if self.take is not None and self.chance == 1 else 0


def _as_block(value: object) -> object:
    """A block of one part may be written as that part."""
    if not isinstance(value, dict) or "parts" in value:
        return value
    outer = {key: value[key] for key in value if key in {"shuffle", "join", "repeat", "title"}}
    return {"parts": [{key: value[key] for key in value if key not in outer}], **outer}


class Block(Strict):
    """A paragraph: its parts, joined by `join` (default: the frames' `join`).

    Attributes:
        shuffle: mix the lines and quotations of all parts with each other.
        repeat: how many times, least and most; each time with other lines and other quotations.
    """

    parts: tuple[Part, ...] = Field(min_length=1)
    join: str | None = None
    shuffle: bool = False
    repeat: Span = (1, 1)
    chance: Chance = 1.0

    @property
    def least(self) -> int:
        """How often this block is sure to be there."""
        return self.repeat[0] if self.chance == 1 else 0


class Layout(Strict):
    """The blocks of a document, joined by `between`."""

    blocks: tuple[Annotated[Block, BeforeValidator(_as_block)], ...] = Field(min_length=1)
    between: str = "\n\n"

    def sure_parts(self) -> tuple[tuple[Part, int], ...]:
        """The parts that are sure to be there, and how many quotations each is sure to take."""
        return tuple((part, part.least * block.least) for block in self.blocks for part in block.parts if part.take)


class DocType(Strict):
    """A type of document: what it is called, what it is, and its layout (by name, or written out).

    `ideas` say what such a document does with its topic; they stand in the plan, not in the text.
    """

    name: str
    description: str = ""
    modes: tuple[Literal["prose", "rules"], ...] = ("prose", "rules")
    ideas: Lines = ("",)
    layout: str | Layout


class LabelCues(Strict):
    """One label of METHOD's five, and the regular expressions that show it."""

    label: Label
    cues: Regexes


class QuoteFrames(Strict):
    """How clauses that are not sentences read when quoted, and which ones cannot stand alone.

    Attributes:
        full_stop: ends a quoted list item or table row that ends in a letter.
        after_code: lines that may stand before a quoted code block that nothing leads to.
        leans: what a sentence begins with that needs the sentence before it.
    """

    full_stop: str = ""
    between_items: str = " "
    before_code: tuple[str, ...] = ()
    leans: Regexes = ()


class DocumentTemplates(Strict):
    """A whole frames file.

    Attributes:
        join: stands between the sentences of a paragraph.
        tokens_per_word: for estimates of tokens; a word is what stands between spaces.
        labels: tried in order, the first that matches a clause is its label; else `default_label`.
        reasons: regular expressions that show that a clause gives a reason.
        lists: named lists; `{name}` in a line is replaced by one of its entries, no entry twice in a document.
        topic: what `{topic}` is for a section without a heading.
    """

    name: str
    join: str = " "
    tokens_per_word: float = Field(default=4 / 3, gt=0)
    labels: tuple[LabelCues, ...] = ()
    default_label: Label = "behavior"
    reasons: Regexes = ()
    lists: Mapping[str, tuple[str, ...]] = Field(default={})
    topic: str = "{spec_title}"
    quotes: QuoteFrames = QuoteFrames()
    layouts: Mapping[str, Layout] = Field(default={})
    doc_types: tuple[DocType, ...] = Field(min_length=1)

    def layout(self, doc_type: DocType) -> Layout:
        """The layout of a document type."""
        return self.layouts[doc_type.layout] if isinstance(doc_type.layout, str) else doc_type.layout

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [doc_type.name for doc_type in self.doc_types]
        if len(set(names)) < len(names):
            raise ValueError("two document types have the same name")
        known = _SLOTS | set(self.lists)
        for doc_type in self.doc_types:
            if isinstance(doc_type.layout, str) and doc_type.layout not in self.layouts:
                raise ValueError(f"document type {doc_type.name!r}: there is no layout {doc_type.layout!r}")
            for line in (*_lines(self.layout(doc_type)), *doc_type.ideas):
                if unknown := set(SLOT.findall(line)) - known:
                    raise ValueError(f"document type {doc_type.name!r}: {{{min(unknown)}}} is no slot and no list")
        return self


def _lines(layout: Layout) -> list[str]:
    return [line for block in layout.blocks for part in block.parts for line in part.text or ()]


def load_templates(name: str | Path) -> DocumentTemplates:
    """The frames shipped under `name` (`english`), or those of the YAML file at that path.

    Raises:
        MissingError: neither shipped nor a file.
        ConfigError: not YAML, or not of this format; names the path inside the file.
    """
    where = str(name)
    if where.isidentifier() and (resources.files("midspec.corpus") / "_frames" / f"{where}.yaml").is_file():
        return _shipped(where)
    if not (source := Path(where)).is_file():
        raise MissingError("there are no such frames", where=where, hint="Give `english` or the path of a YAML file")
    return _read(source, where)


@cache
def _shipped(name: str) -> DocumentTemplates:
    return _read(resources.files("midspec.corpus") / "_frames" / f"{name}.yaml", name)


def _read(source: Path | Traversable, where: str) -> DocumentTemplates:
    try:
        return DocumentTemplates.model_validate(
            yaml.load(source.read_bytes().decode("utf-8-sig"), Loader=yaml.CSafeLoader)
        )
    except ValidationError as error:
        # Of a layout that is neither a name nor well written, the deepest error is the one that helps.
        found = max(error.errors(), key=lambda one: len(one["loc"]))
        field = ".".join(str(part) for part in found["loc"]) or "the file"
        message = found["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{field}: {message}", where=where, hint="Mend that field of the frames") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"is not YAML in UTF-8 ({error})", where=where, hint="Mend the file") from error
