"""What is asked of the corpus room, and what it gives back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from midspec.core.records import Document, PlanRow, Reject, Strict
from midspec.llm import ModelConfig

DEFAULT_DOCUMENTS = 1000

Framing = Literal["does", "should", "assistants", "another_model", "humans"]


class Writing(Strict):
    """What only an author that is a language model reads.

    Attributes:
        n_domains: domains of the spec (rules mode too); by its length when not given, 2 to 8.
        n_subdomains: subdomains of each domain; by the spec's length when not given, 2 to 12.
        mean_tokens: the expected length of a document, in tokens; each is asked for between 0.4 and 1.7 times that.
            The default is METHOD 2's median.
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


def _is_none(value: object) -> bool:
    return value is None


class CorpusConfig(Strict):
    """How many documents to write about whom, of which types, drawn with which seed.

    The size is one of: `n_documents`; `target_tokens` (an estimate, see `estimate_tokens`); or `ideas` documents of
    each type in each subdomain. With none of them it is 1,000 documents.

    Attributes:
        mode: `prose`, or `rules` for a spec that is numbered rules.
        doc_types: how many of the frames' document types to use; all by default. For an author that is a language
            model: how many types each subdomain has (with `ideas`, 10 by default; else by the size).
        model_name: fills `{model_name}` in the spec and in the frames.
        provider_name: fills `{provider_name}`; frames that use it are passed over without one.
        frames: the name of shipped frames, or the path of a YAML file. Only the quoting author has frames.
        author: `quoting`, `anthropic/<model>` or `openai/<model>`.
        writing: how a language model writes; `None` for the quoting author.
    """

    mode: Literal["prose", "rules"] = "prose"
    n_documents: int | None = Field(default=None, ge=1)
    target_tokens: int | None = Field(default=None, ge=1)
    doc_types: int | None = Field(default=None, ge=1)
    ideas: int | None = Field(default=None, ge=1)
    seed: int = 0
    model_name: str | None = None
    provider_name: str | None = None
    frames: str = "english"
    author: str = Field(default="quoting", pattern=r"^(quoting|(anthropic|openai)/.+)$")
    # What the quoting author has no use for is no part of how its results are identified.
    writing: Writing | None = Field(default=None, exclude_if=_is_none)

    @model_validator(mode="before")
    @classmethod
    def _with_writing(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("author", "quoting") != "quoting" and given.get("writing") is None:
            return given | {"writing": Writing()}
        return given

    @model_validator(mode="after")
    def _fits_the_author(self) -> CorpusConfig:
        if self.author == "quoting" and self.writing is not None:
            raise ValueError("the quoting author takes no `writing`")
        return self

    @property
    def author_model(self) -> ModelConfig | None:
        """The language model that writes, and how it samples; `None` for the quoting author."""
        if self.writing is None:
            return None
        return ModelConfig(model=self.author, temperature=self.writing.temperature, extra=self.writing.extra)


class Covered(Strict):
    """How often one clause is quoted: in how many documents, and with how many (estimated) tokens in all."""

    documents: int
    tokens: int


class Distinctness(Strict):
    """How different the documents are from each other.

    Attributes:
        share_distinct: distinct texts / documents written; 1 by construction for the quoting author.
        mean_overlap: mean Jaccard similarity of the sets of 5-word shingles, over sampled pairs; 0 is nothing shared.
        n_pairs: how many pairs were sampled.
    """

    share_distinct: float
    mean_overlap: float
    n_pairs: int


class CorpusResult(Strict):
    """What writing a plan gave.

    Attributes:
        coverage: for each clause id, in the order of the spec.
        exhausted: why fewer documents exist than were asked for, or `None`.
        notes: what else the user should know, clauses that no document quotes among it.
    """

    documents: tuple[Document, ...]
    rejects: tuple[Reject, ...]
    coverage: dict[str, Covered]
    distinctness: Distinctness
    exhausted: str | None
    notes: tuple[str, ...] = ()

    @property
    def uncovered(self) -> tuple[str, ...]:
        """Ids of the clauses that no document quotes."""
        return tuple(clause_id for clause_id, covered in self.coverage.items() if not covered.documents)


class Corpus(CorpusResult):
    """A whole corpus: what was written, and the plan that it was written from."""

    plan: tuple[PlanRow, ...]
    tokens_per_word: float
    seed: int
