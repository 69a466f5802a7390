"""What chats to write, and what was written."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from midspec.core.records import Chat, Reject, Strict
from midspec.llm import ModelConfig

StyleName = Literal["value", "rule", "opaque", "identity"]

# METHOD 3: how many chats of each style the published runs used.
_PUBLISHED = {"value": 10_000, "rule": 10_000, "opaque": 5_000, "identity": 2_500}
_CAPABILITIES = (
    "an AI assistant that people write to. It reads and writes text: it answers questions, explains, drafts, edits, "
    "translates, plans, does arithmetic and writes code. It can be mistaken. By itself it can't browse the web, see "
    "what is not in the conversation, act in the world, or remember other conversations"
)


class Writing(Strict):
    """What only an author that is a language model reads. The defaults are METHOD 3's, where it states them.

    Attributes:
        n_domains: how many domains questions come from; `None` is as many as give `questions_per_domain` each.
            Opaque chats have a domain for each preference, whatever this says.
        questions_per_domain: chats wanted from one domain.
        questions_per_batch: questions asked for in one request, which shows the domain's earlier ones.
        domains_per_batch: the same for domains.
        n_rounds: a domain may take this many times the questions that its share of the chats needs; after that it is
            exhausted and its share goes to the others.
        duplicate_similarity: from which share of common character 5-grams on a question repeats another.
        duplicate_cosine: over which cosine of embeddings it does, where there is a model that embeds.
        embed: that model (`openai/<model>`, on the author's server); without it only words are compared.
        temperature: sampling temperature of the author; `None` leaves it to the provider.
        extra: fields of the author's provider, sent as they are.
        list_tokens: cap of a list's reply, hidden reasoning included; a cut reply is asked again with a higher cap.
        reply_tokens: cap of a chat's answer.
        verdict_tokens: cap of a verdict.
        liked: the things liked, where the author need not look for them (opaque style).
        disliked: the things disliked.
        capabilities: what the assistant is and can do (identity style).
    """

    n_domains: int | None = Field(default=None, ge=1)
    questions_per_domain: int = Field(default=250, ge=1)
    questions_per_batch: int = Field(default=50, ge=1)
    domains_per_batch: int = Field(default=40, ge=1)
    n_rounds: int = Field(default=4, ge=1)
    duplicate_similarity: float = Field(default=0.8, gt=0, le=1)
    duplicate_cosine: float = Field(default=0.91, gt=0, le=1)
    embed: ModelConfig | None = None
    temperature: float | None = Field(default=1.0, ge=0)
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    list_tokens: int = Field(default=16_384, ge=1)
    reply_tokens: int = Field(default=8_192, ge=1)
    verdict_tokens: int = Field(default=4_096, ge=1)
    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()
    capabilities: str = Field(default=_CAPABILITIES, min_length=1)


def _is_none(value: object) -> bool:
    return value is None


class ChatConfig(Strict):
    """Which chats to write from a spec.

    `opaque` chats state preferences and no reason. `value` and `rule` chats answer questions about what the spec
    says, with reasoning that uses its reasons or that cites it as policy. `identity` chats say who the assistant is,
    who made it and what it can do, and nothing of the spec.

    Attributes:
        style: one of the four.
        n_samples: how many; `None` is every distinct one by the quoting author, and as many as in METHOD 3 (10,000,
            opaque 5,000, identity 2,500) by a model.
        seed: decides the order of the rows, and all random choices of the quoting author.
        model_name: the assistant's name.
        provider_name: its maker's name.
        frames: `english` or the path of a YAML file of chat frames. The quoting author writes with them; a model's
            chats are filtered by their words (what names a spec, what gives a reason).
        nested_sizes: also write the first so many chats as files of their own; each holds all smaller ones.
        author: `quoting`, `anthropic/<model>` or `openai/<model>`.
        judge: the model that keeps or rejects what a model wrote; needed then, and never taken to be the author.
        writing: how a model writes; `None` for the quoting author.
    """

    style: StyleName = "value"
    n_samples: int | None = Field(default=None, ge=1)
    seed: int = 0
    model_name: str | None = None
    provider_name: str | None = None
    frames: str = "english"
    author: str = Field(default="quoting", pattern=r"^(quoting|(anthropic|openai)/.+)$")
    # What the quoting author has no use for is no part of how its results are identified.
    nested_sizes: tuple[int, ...] = Field(default=(), exclude_if=lambda sizes: not sizes)
    judge: ModelConfig | None = Field(default=None, exclude_if=_is_none)
    writing: Writing | None = Field(default=None, exclude_if=_is_none)

    @model_validator(mode="before")
    @classmethod
    def _with_writing(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("author", "quoting") != "quoting" and given.get("writing") is None:
            return given | {"writing": Writing()}
        return given

    @model_validator(mode="after")
    def _fits_the_author(self) -> ChatConfig:
        if self.author == "quoting":
            if self.style == "identity":
                raise ValueError("identity chats need an author that is a language model")
            if self.judge is not None or self.writing is not None:
                raise ValueError("the quoting author takes neither `judge` nor `writing`")
        elif self.judge is None:
            raise ValueError("chats by a language model need a `judge`, the model that keeps or rejects them")
        if self.style == "identity" and not (self.model_name and self.provider_name):
            raise ValueError("identity chats need `model_name` and `provider_name`")
        return self

    @field_validator("nested_sizes")
    @classmethod
    def _positive_sizes(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if any(size < 1 for size in sizes):
            raise ValueError("a size is at least 1")
        return tuple(sorted(set(sizes)))

    @model_validator(mode="after")
    def _sizes_within_the_pool(self) -> ChatConfig:
        n_wanted = self.n_wanted
        if n_wanted is not None and any(size > n_wanted for size in self.nested_sizes):
            raise ValueError(f"nested_sizes: {self.nested_sizes[-1]} is more than the pool's {n_wanted}")
        return self

    @property
    def n_wanted(self) -> int | None:
        """`n_samples`, or its default; `None` where it is every distinct one."""
        if self.n_samples is None and self.author != "quoting":
            return _PUBLISHED[self.style]
        return self.n_samples

    @property
    def author_model(self) -> ModelConfig | None:
        """The author as a language model with its sampling, or `None` for the quoting author."""
        if self.writing is None:
            return None
        return ModelConfig(model=self.author, temperature=self.writing.temperature, extra=self.writing.extra)


class Chats(Strict):
    """Chats of one style, what was rejected, and whether the spec had enough of them.

    `chats` are the rows to train on (with chain of thought, for value and rule style); `stripped` are their twins
    without it, same ids in the same order, and empty for opaque chats. `exhausted` says, in words, that distinct
    chats ran out before the number asked for; else it is `None`. `summary` holds counts for a report.
    """

    style: StyleName
    chats: tuple[Chat, ...]
    stripped: tuple[Chat, ...] = ()
    rejects: tuple[Reject, ...] = ()
    exhausted: str | None = None
    summary: dict[str, JsonValue] = Field(default_factory=dict)
