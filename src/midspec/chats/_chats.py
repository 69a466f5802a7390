"""Which chats to write, and the files of what was written."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from pydantic import Field, JsonValue, field_validator, model_validator

from midspec.core.artifact import Built, writable, write_rows
from midspec.core.errors import did_you_mean
from midspec.core.records import Chat, Reject, Strict
from midspec.core.registry import Registry
from midspec.generation import TEMPLATE_AUTHOR, AuthorName, read_author
from midspec.llm import ModelConfig

# For estimates: tokens of a question without the JSON around it.
QUESTION_TOKENS = 55

# Of classes `ChatStyle`, which are written with a `ChatConfig`.
CHAT_STYLES: Registry[Any] = Registry(
    "chat style", package="midspec.chats.llm_author.styles", attribute="STYLES", group="chat_styles"
)
TEMPLATE_STYLES = ("value", "rule", "opaque")
"""The styles that the template author can write."""

_CAPABILITIES = (
    "an AI assistant that people write to. It reads and writes text: it answers questions, explains, drafts, edits, "
    "translates, plans, does arithmetic and writes code. It can be mistaken. By itself it can't browse the web, see "
    "what is not in the conversation, act in the world, or remember other conversations"
)


class Writing(Strict):
    """How a language model writes. The defaults are those of the paper (arXiv 2605.02087), where it states them.

    Attributes:
        n_domains: how many domains questions come from; `None` is as many as give `questions_per_domain` each.
            Opaque chats have a domain for each preference instead.
        questions_per_domain: chats wanted from one domain.
        questions_per_batch: questions asked for in one request, which shows the domain's earlier ones.
        domains_per_batch: the same for domains.
        n_rounds: a domain may take this many times the questions that its share of the chats needs; after that it is
            exhausted and its share goes to the others.
        duplicate_similarity: a question with at least this share of another's character 5-grams repeats it.
        duplicate_cosine: so does one whose embedding has a larger cosine than this, where there is a model that embeds.
        embed: that model (`openai/<model>`, on the author's server); without it only words are compared.
        temperature: sampling temperature of the author; `None` leaves it to the provider.
        extra: fields of the author's provider, sent as they are.
        list_tokens: cap of a list's reply, hidden reasoning included; a cut reply is asked again with a higher cap.
        reply_tokens: cap of a chat's answer.
        verdict_tokens: cap of a verdict.
        liked: the things liked, where the author need not find them in the spec (opaque style).
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


class ChatConfig(Strict):
    """Which chats to write from a spec.

    `opaque` chats state preferences and no reason. `value` and `rule` chats answer questions about what the spec
    says, with reasoning that uses its reasons or that cites it as policy. `identity` chats say who the assistant is,
    who made it and what it can do, and nothing of the spec.

    Attributes:
        style: one of the four, or one that an installed package brings.
        n_samples: how many; `None` is every distinct one by the template author, and as many as in the paper (10,000,
            opaque 5,000, identity 2,500) by a model.
        seed: decides the order of the rows, and all random choices of the template author.
        model_name: the assistant's name.
        provider_name: its maker's name.
        called: names that the spec uses for its assistant or maker, with those that stand for them.
        leave_out: titles of sections, ids or beginnings of clauses of the spec, that are no part of it.
        frames: `english` or the path of a YAML file of chat templates. The template author writes with them; a model's
            chats are filtered by their words (what names a spec, what gives a reason).
        nested_sizes: also write the first so many chats as files of their own; each holds all smaller ones.
        author: `quoting` (the template author), or a model by name (`openai/<model>`).
        judge: the model that keeps or rejects what a model wrote; needed then, and never taken to be the author.
        writing: how a model writes; `None` for the template author.
    """

    # The JSON schema names the shipped styles, and those of installed packages.
    style: str = Field(default="value", json_schema_extra=lambda schema: schema.update(enum=list(CHAT_STYLES.names())))
    n_samples: int | None = Field(default=None, ge=1)
    seed: int = 0
    model_name: str | None = None
    provider_name: str | None = None
    called: dict[str, str] = Field(default={}, exclude_if=operator.not_)
    leave_out: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)
    frames: str = "english"
    author: AuthorName = TEMPLATE_AUTHOR
    # What the template author has no use for is no part of how its results are identified.
    nested_sizes: tuple[int, ...] = Field(default=(), exclude_if=lambda sizes: not sizes)
    judge: ModelConfig | None = Field(default=None, exclude_if=lambda judge: judge is None)
    writing: Writing | None = Field(default=None, exclude_if=lambda writing: writing is None)

    @field_validator("style")
    @classmethod
    def _known_style(cls, style: str) -> str:
        if style not in CHAT_STYLES:
            raise ValueError(f"there is no chat style {style!r}. {did_you_mean(style, CHAT_STYLES.names())}")
        return style

    @field_validator("nested_sizes")
    @classmethod
    def _positive_sizes(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if any(size < 1 for size in sizes):
            raise ValueError("a size is at least 1")
        return tuple(sorted(set(sizes)))

    @model_validator(mode="before")
    @classmethod
    def _read_aliases(cls, given: Any) -> Any:
        return read_author(given, Writing)

    @model_validator(mode="after")
    def _consistent(self) -> ChatConfig:
        if self.author == TEMPLATE_AUTHOR:
            if self.style not in TEMPLATE_STYLES:
                raise ValueError(
                    f"{self.style} chats need an author that is a language model; the template author (quoting) "
                    f"writes {', '.join(TEMPLATE_STYLES)}"
                )
            if self.judge is not None or self.writing is not None:
                raise ValueError("the template author (quoting) takes neither `judge` nor `writing`")
        elif self.judge is None:
            raise ValueError("chats by a language model need a `judge`, the model that keeps or rejects them")
        if CHAT_STYLES.get(self.style).needs_names and not (self.model_name and self.provider_name):
            raise ValueError(f"{self.style} chats need `model_name` and `provider_name`")
        if self.n_wanted is not None and any(size > self.n_wanted for size in self.nested_sizes):
            raise ValueError(f"nested_sizes: {self.nested_sizes[-1]} is more than the pool's {self.n_wanted}")
        return self

    @property
    def has_twins(self) -> bool:
        """Return whether each chat is written with and without its reasoning."""
        return bool(CHAT_STYLES.get(self.style).has_twins)

    @property
    def n_wanted(self) -> int | None:
        """Return `n_samples`, or its default; `None` where it is every distinct one."""
        if self.n_samples is None and self.author != TEMPLATE_AUTHOR:
            n_published: int = CHAT_STYLES.get(self.style).n_published
            return n_published
        return self.n_samples

    @property
    def mean_tokens(self) -> int:
        """Return about how many tokens a chat by a model has, question and answer; lengths are the published ones."""
        return QUESTION_TOKENS + int(CHAT_STYLES.get(self.style).reply_tokens)

    @property
    def author_model(self) -> ModelConfig | None:
        """Return the author as a language model with its sampling, or `None` for the template author."""
        if self.writing is None:
            return None
        return ModelConfig(model=self.author, temperature=self.writing.temperature, extra=self.writing.extra)


class Chats(Strict):
    """Chats of one style, and what was rejected.

    Attributes:
        style: as in the config.
        chats: the rows to train on (with chain of thought, for value and rule style).
        stripped: their twins without it, same ids in the same order; empty in styles without twins.
        rejects: what was left out, with the reason.
        exhausted: how many distinct chats there were, where they ran out before the number asked for; else `None`.
        summary: counts for a report.
    """

    style: str
    chats: tuple[Chat, ...]
    stripped: tuple[Chat, ...] = ()
    rejects: tuple[Reject, ...] = ()
    exhausted: str | None = None
    summary: dict[str, JsonValue] = Field(default_factory=dict)


def nested_name(name: str, n: int) -> str:
    """Return the name of the first `n` rows of a pool's file: `chats_cot.jsonl`, 1,250 -> `chats_cot.1250.jsonl`."""
    path = PurePath(name)
    return f"{path.stem}.{n}{path.suffix}"


def pool_names(*, has_twins: bool) -> tuple[str, ...]:
    """Return the file names of a pool: the twins, or the one file of a style that has none."""
    return ("chats_cot.jsonl", "chats_cot_stripped.jsonl") if has_twins else ("chats.jsonl",)


def save_chats(chats: Chats, folder: Path, *, nested_sizes: Sequence[int] = ()) -> Built:
    """Write the rows into `folder`: the files of the pool, and `rejects.jsonl`.

    Args:
        chats: the pool.
        folder: takes the files.
        nested_sizes: also write the first so many rows as files of their own, where the pool has as many.

    Raises:
        FolderError: the folder can't be written.
    """
    names = pool_names(has_twins=CHAT_STYLES.get(chats.style).has_twins)
    nested: list[str] = []
    with writable(folder):
        for name, rows in zip(names, (chats.chats, chats.stripped), strict=False):
            write_rows(folder / name, rows)
            for size in nested_sizes:
                if size <= len(rows):
                    nested.append(nested_name(name, size))
                    write_rows(folder / nested[-1], rows[:size])
        write_rows(folder / "rejects.jsonl", chats.rejects)
    health = {"style": chats.style, "n_chats": len(chats.chats), "n_rejects": len(chats.rejects)}
    summary = {**health, "exhausted": chats.exhausted, **chats.summary}
    return Built(outputs=(*names, "rejects.jsonl", *nested), summary=summary)
