"""What is asked of a corpus: its size, whom it is about, who writes it, and how."""

from __future__ import annotations

import operator
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from midspec.core.errors import ConfigError
from midspec.core.records import Strict
from midspec.generation import TEMPLATE_AUTHOR, AuthorName, read_author
from midspec.llm import ModelConfig

DEFAULT_DOCUMENTS = 1000

Framing = Literal["does", "should", "assistants", "another_model", "humans"]


class Writing(Strict):
    """What only an author that is a language model reads.

    Attributes:
        n_domains: domains of the spec (rules mode too); by its length when not given, 2 to 8.
        n_subdomains: subdomains of each domain; by the spec's length when not given, 2 to 12.
        mean_tokens: the expected length of a document, in tokens; each is asked for between 0.4 and 1.7 times that.
            The default is the median of the paper's corpus.
        weights: how much a part of the spec counts beside its length: a section's title or a clause's id -> factor.
            1 where nothing is given, 0 for what needs no documents.
        min_documents: a clause that fewer accepted documents are about gets further ones at the end, in the place of
            rejected ones; with `target_tokens` also up to a twentieth more.
        filter: hold each document, as it comes, to the rules of curation that look at one document alone (leaks of the
            frame, names, citations, length), so that clauses that get thin by them are topped up in the same run.
            Without it they are found when the corpus is curated.
        critique: have each document criticised against the spec and written again (three requests instead of one).
        temperature: of the author; `None` leaves it to the provider.
        extra: fields of the provider's own, sent as they are (`{"reasoning_effort": "low"}`).
        list_tokens: cap of a reply that is a list, hidden reasoning included.
        document_tokens: cap of a reply that holds a document with its plan, hidden reasoning included.
        cap_tokens: how far a cap is raised when a reply was cut.
        another_model: what the other model is called in the framing `another_model`.
    """

    n_domains: int | None = Field(default=None, ge=1, le=100)
    n_subdomains: int | None = Field(default=None, ge=1, le=100)
    mean_tokens: int = Field(default=3100, ge=100)
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default={})
    min_documents: int = Field(default=1, ge=0)
    filter: bool = False
    critique: bool = False
    temperature: float | None = Field(default=1.0, ge=0)
    extra: dict[str, JsonValue] = Field(default={})
    list_tokens: int = Field(default=16_384, ge=1)
    document_tokens: int = Field(default=16_384, ge=1)
    cap_tokens: int = Field(default=65_536, ge=1)
    another_model: str = Field(default="Veldra", min_length=1)


class CorpusConfig(Strict):
    """How many documents to write about whom, of which types, drawn with which seed.

    The size is one of: `n_documents`; `target_tokens` (an estimate, see `midspec.core.text.estimate_tokens`); or
    `ideas` documents of each type in each subdomain. With none of them it is 1,000 documents.

    Attributes:
        mode: `prose`, or `rules` for a spec that is numbered rules.
        doc_types: how many of the templates' document types to use; all by default. For an author that is a language
            model: how many types each subdomain has (with `ideas`, 10 by default; else by the size).
        model_name: fills `{model_name}` in the spec and in the templates.
        provider_name: fills `{provider_name}`; templates that use it are passed over without one.
        called: names that the spec uses for its assistant or maker, with those that stand for them.
        leave_out: titles of sections, ids or beginnings of clauses of the spec, that are no part of it.
        frames: the document templates: a document style by name, or the path of a YAML file (`templates` is read as
            the same). Only the template author has them.
        author: `quoting` (the template author; `template` is read as the same), or a model by name
            (`openai/<model>`).
        writing: how a language model writes; `None` for the template author.
    """

    mode: Literal["prose", "rules"] = "prose"
    n_documents: int | None = Field(default=None, ge=1)
    target_tokens: int | None = Field(default=None, ge=1)
    doc_types: int | None = Field(default=None, ge=1)
    ideas: int | None = Field(default=None, ge=1)
    seed: int = 0
    model_name: str | None = None
    provider_name: str | None = None
    called: dict[str, str] = Field(default={}, exclude_if=operator.not_)
    leave_out: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    frames: str = "english"
    author: AuthorName = TEMPLATE_AUTHOR
    # What the template author has no use for is no part of how its results are identified.
    writing: Writing | None = Field(default=None, exclude_if=lambda value: value is None)

    @model_validator(mode="before")
    @classmethod
    def _read_aliases(cls, given: Any) -> Any:
        return read_author(given, Writing)

    @model_validator(mode="after")
    def _check_author(self) -> CorpusConfig:
        if self.author == TEMPLATE_AUTHOR and self.writing is not None:
            raise ValueError("the template author takes no `writing`")
        return self

    @property
    def author_model(self) -> ModelConfig | None:
        """The language model that writes, and how it samples; `None` for the template author."""
        if self.writing is None:
            return None
        return ModelConfig(model=self.author, temperature=self.writing.temperature, extra=self.writing.extra)

    @property
    def n_asked(self) -> int | None:
        """How many documents are asked for; `None` where tokens or ideas give the size."""
        if self.target_tokens is not None or self.ideas is not None:
            return None
        return self.n_documents or DEFAULT_DOCUMENTS

    def check_size(self) -> None:
        """Refuse a size that is given in two ways.

        Raises:
            ConfigError: it is.
        """
        given = [name for name in ("n_documents", "target_tokens", "ideas") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"{given[0]} and {given[1]} both give the size", where="corpus", hint="Keep one of them")
