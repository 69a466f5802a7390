"""Document styles: files with every word of a document that is not the spec's own, and where the spec's words go.

`_frames/english.yaml` explains the format at its top and is the example to copy. Styles are data; the code knows no
language and no document type. A file in `_frames/`, or one that another installed package brings (by an entry point of
the group `midspec.document_styles`), is found by its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from midspec.core.errors import ConfigError, MissingError, fault_words
from midspec.core.records import Label, Strict
from midspec.core.text import TOKENS_PER_WORD
from midspec.core.yaml_files import Regex
from midspec.generation import YamlRegistry

SLOT = re.compile(r"\{(\w+)\}")
_SLOTS = frozenset(("model_name", "provider_name", "topic", "domain", "doc_type", "spec_title", "rule_id", "rule_name"))
_POOL = re.compile(r"focus|section|domain|spec|label:(?:behavior|value|preference|belief|tone)")


def _check_pool(name: str) -> str:
    if not _POOL.fullmatch(name):
        raise ValueError(f"{name!r} is no pool: use focus, section, domain, spec or label:LABEL")
    return name


# One entry may be written without its list, and one number for a range from it to itself.
_one_or_many = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
_one_or_range = BeforeValidator(lambda value: (value, value) if isinstance(value, int) else value)
Lines: TypeAlias = Annotated[tuple[str, ...], _one_or_many, Field(min_length=1)]
Span: TypeAlias = Annotated[tuple[int, int], _one_or_range]
Pools: TypeAlias = Annotated[tuple[Annotated[str, AfterValidator(_check_pool)], ...], _one_or_many, Field(min_length=1)]
Regexes: TypeAlias = tuple[Regex, ...]
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
    def _check_kind(self) -> Self:
        if (self.text is None) == (self.take is None):
            raise ValueError("a part has either `text` or `take`")
        if (self.take is None) != (self.pools is None):
            raise ValueError("`take` and `from` go together")
        if self.take is not None and not 0 <= self.take[0] <= self.take[1]:
            raise ValueError(f"`take: {list(self.take)}` is no range")
        if "{quote}" not in self.wrap:
            raise ValueError("`wrap` must hold {quote}")
        return self


def _as_block(value: object) -> object:
    """Read a block of one part, which may be written as that part."""
    if not isinstance(value, dict) or "parts" in value:
        return value
    outer = {key: value[key] for key in value if key in {"shuffle", "join", "repeat", "title"}}
    return {"parts": [{key: value[key] for key in value if key not in outer}], **outer}


class Block(Strict):
    """A paragraph: its parts, joined by `join` (default: the templates' `join`).

    Attributes:
        shuffle: mix the lines and quotations of all parts with each other.
        repeat: how many times, least and most; each time with other lines and other quotations.
    """

    parts: tuple[Part, ...] = Field(min_length=1)
    join: str | None = None
    shuffle: bool = False
    repeat: Span = (1, 1)
    chance: Chance = 1.0


class Layout(Strict):
    """The blocks of a document, joined by `between`."""

    blocks: tuple[Annotated[Block, BeforeValidator(_as_block)], ...] = Field(min_length=1)
    between: str = "\n\n"

    def parts(self) -> list[Part]:
        """Return all parts, in order."""
        return [part for block in self.blocks for part in block.parts]

    def sure_parts(self) -> list[tuple[Part, int]]:
        """Return the parts that quote, and how many quotations each is sure to take, if its pools have them."""
        return [
            (part, part.take[0] * block.repeat[0] if part.chance == block.chance == 1 else 0)
            for block in self.blocks
            for part in block.parts
            if part.take
        ]


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
    """One of the five labels, and the regular expressions that show it."""

    label: Label
    cues: Regexes


class QuoteTemplates(Strict):
    """How clauses that are not sentences read when quoted, and which ones cannot stand alone.

    Attributes:
        full_stop: ends a quoted list item or table row that ends in a letter.
        between_items: joins short items of one list.
        before_code: lines that may stand before a quoted code block that nothing leads to.
        leans: what a sentence begins with that needs the sentence before it.
    """

    full_stop: str = ""
    between_items: str = " "
    before_code: tuple[str, ...] = ()
    leans: Regexes = ()


class DocumentTemplates(Strict):
    """A whole document style: the templates of one file.

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
    tokens_per_word: float = Field(default=TOKENS_PER_WORD, gt=0)
    labels: tuple[LabelCues, ...] = ()
    default_label: Label = "behavior"
    reasons: Regexes = ()
    lists: Mapping[str, tuple[str, ...]] = Field(default={})
    topic: str = "{spec_title}"
    quotes: QuoteTemplates = QuoteTemplates()
    layouts: Mapping[str, Layout] = Field(default={})
    doc_types: tuple[DocType, ...] = Field(min_length=1)

    def layout(self, doc_type: DocType) -> Layout:
        """Return the layout of a document type."""
        return self.layouts[doc_type.layout] if isinstance(doc_type.layout, str) else doc_type.layout

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        names = [doc_type.name for doc_type in self.doc_types]
        if len(set(names)) < len(names):
            raise ValueError("two document types have the same name")
        known = _SLOTS | set(self.lists)
        for doc_type in self.doc_types:
            if isinstance(doc_type.layout, str) and doc_type.layout not in self.layouts:
                raise ValueError(f"document type {doc_type.name!r}: there is no layout {doc_type.layout!r}")
            lines = (line for part in self.layout(doc_type).parts() for line in part.text or ())
            for line in (*lines, *doc_type.ideas):
                if unknown := set(SLOT.findall(line)) - known:
                    raise ValueError(f"document type {doc_type.name!r}: {{{min(unknown)}}} is no slot and no list")
        return self


DOCUMENT_STYLES = YamlRegistry("document style", package="midspec.corpus", folder="_frames", group="document_styles")


def load_templates(name: str | Path) -> DocumentTemplates:
    """Load the document style of that name (`english` is shipped), or the one in the YAML file at that path.

    Raises:
        MissingError: neither the name of a style nor a file.
        ConfigError: not YAML, or not of this format; names the path inside the file.
    """
    if (style := _load_style(str(name))) is not None:
        return style
    if (path := Path(name)).is_file():
        return _read(path, str(name))
    hint = f"Give {', '.join(DOCUMENT_STYLES.names())} or the path of a YAML file"
    raise MissingError("there is no such document style", where=str(name), hint=hint)


@cache
def _load_style(name: str) -> DocumentTemplates | None:
    file = DOCUMENT_STYLES.find(name)
    return None if file is None else _read(file, name)


def _read(source: Path | Traversable, where: str) -> DocumentTemplates:
    try:
        return DocumentTemplates.model_validate(
            yaml.load(source.read_bytes().decode("utf-8-sig"), Loader=yaml.CSafeLoader)
        )
    except ValidationError as error:
        # Of a layout that is neither a name nor well written, the deepest error is the one that helps.
        found = max(error.errors(), key=lambda one: len(one["loc"]))
        field = ".".join(str(part) for part in found["loc"]) or "the file"
        raise ConfigError(
            f"{field}: {fault_words(found)}", where=where, hint="Correct that field of the document style"
        ) from error
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(f"is not YAML in UTF-8 ({error})", where=where, hint="Correct the file") from error
