"""What flows from a spec to a report, in the order of the flow: spec, plan, documents, chats,
checkpoint, items, answers and scores, estimates, and the record that every step leaves behind.
"""

from __future__ import annotations

import operator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class Strict(BaseModel):
    """The base of every record and study file: frozen; an unknown field and a number that is none are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# Spec ----------------------------------------------------------------------------------------------------------
ClauseKind = Literal["sentence", "item", "row", "code", "example"]


class Clause(Strict):
    """The smallest piece of a spec that can be covered or missed: a sentence, list item, table row, code block, or an
    example with its replies and their marks.

    `id` is the hash of the normalised text and its occurrence number, so it survives edits elsewhere in the spec
    and does not change when placeholders are filled. `depth` is of list items: how many lists it stands in, but one;
    a sentence with a depth is the footnote of an item, a row or a lead.
    """

    id: str
    text: str
    section_id: str
    kind: ClauseKind
    depth: int = Field(default=0, exclude_if=operator.not_)


class Section(Strict):
    """A part of a spec under one heading (or a paragraph, in a spec without headings), and its clauses in order.

    `path` is the titles from the top down to and with this one; `text` is verbatim, without the heading line.
    """

    id: str
    title: str
    level: int
    path: tuple[str, ...]
    text: str
    clauses: tuple[Clause, ...]


class Spec(Strict):
    """A Model Spec: who an assistant should be, and why.

    `text` is the file's (line ends normalised); where it holds mark-up, it is what was read of it: no front matter,
    comments or struck-out words. `sha256` is of the whole file's text, before any placeholder was filled; `is_filled`
    says that they were, `is_marked` that earlier readers read it otherwise, since they took mark-up for text or, with
    `is_recut`, only cut its sentences elsewhere.
    """

    title: str
    text: str
    sha256: str
    sections: tuple[Section, ...]
    is_filled: bool = Field(default=False, exclude_if=operator.not_)
    is_marked: bool = Field(default=False, exclude_if=operator.not_)
    is_recut: bool = Field(default=False, exclude_if=operator.not_)

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """Return every clause, in the order of the text."""
        return tuple(clause for section in self.sections for clause in section.clauses)


# Corpus --------------------------------------------------------------------------------------------------------
Label = Literal["behavior", "value", "preference", "belief", "tone"]


class Assertion(Strict):
    """One thing that a section says of the assistant, and the clause that says it (arXiv 2605.02087)."""

    clause_id: str
    name: str
    text: str
    explanation: str
    label: Label


class PlanRow(Strict):
    """One document to be written: where in the spec it comes from, as what type of text, with which idea.

    In rules mode `subdomain` is the rule's name and `assertions` holds the rule itself.
    """

    id: str
    mode: Literal["prose", "rules"]
    domain: str
    subdomain: str
    context: str
    section_id: str
    assertions: tuple[Assertion, ...]
    doc_type: str
    idea_name: str
    idea: str


class DocumentMetadata(Strict):
    """Where a document comes from. `author` is `quoting`, or the model that wrote it, or the lab.

    The last four are there only where a language model wrote the row: `framing` in a corpus that was rewritten for the
    language ablation, `stop_reason` in the provider's word, `prompt_sha256` of the prefix's SHA-256 and the prompt
    without what depends on when it was sent (what other documents had used too often by then), `usage` in tokens as
    the provider counted them (`Usage` of `midspec.llm`).
    """

    id: str
    author: str
    plan_id: str = ""
    clause_ids: tuple[str, ...] = ()
    subdomain: str = ""
    doc_type: str = ""
    idea: str = ""
    model_name: str = ""
    provider_name: str = ""
    spec_sha256: str = ""
    seed: int = 0
    framing: str = Field(default="", exclude_if=operator.not_)
    stop_reason: str = Field(default="", exclude_if=operator.not_)
    prompt_sha256: str = Field(default="", exclude_if=operator.not_)
    usage: dict[str, int] = Field(default={}, exclude_if=operator.not_)


class Document(Strict):
    """A synthetic document to midtrain on: the field's three keys first, ours under `metadata`."""

    text: str
    source: str = ""
    domain: str = ""
    metadata: DocumentMetadata | None = None


# Chats ---------------------------------------------------------------------------------------------------------
Role = Literal["system", "user", "assistant", "tool"]


class Message(Strict):
    """One turn of a conversation.

    The fields after `content` are there only where a row brought them. `reasoning_content` is what an assistant thought
    before it answered, `tool_calls` what it called, in the form that chat templates read (a `function` with `name` and
    `arguments`). A tool's turn has the `tool_call_id` that it answers, and may have its `name`. A `weight` of 0 keeps
    an assistant's turn out of the loss.
    """

    role: Role
    content: str
    reasoning_content: str | None = Field(default=None, exclude_if=lambda text: text is None)
    tool_calls: tuple[dict[str, JsonValue], ...] = Field(default=(), exclude_if=operator.not_)
    tool_call_id: str | None = Field(default=None, exclude_if=lambda text: text is None)
    name: str | None = Field(default=None, exclude_if=lambda text: text is None)
    weight: Literal[0, 1] = Field(default=1, exclude_if=lambda weight: weight == 1)


class ChatMetadata(Strict):
    """Where a chat comes from. Twins (with and without chain of thought) share their `id`.

    A chat that a language model wrote also has the `topic` of its question (a domain, a preference) and the `judge`
    that kept it.
    """

    id: str
    author: str
    style: str = ""
    question_kind: str = ""
    clause_ids: tuple[str, ...] = ()
    spec_sha256: str = ""
    seed: int = 0
    topic: str = Field(default="", exclude_if=lambda topic: not topic)
    judge: str = Field(default="", exclude_if=lambda judge: not judge)


class Chat(Strict):
    """A conversation to fine-tune on; only assistant turns are supervised.

    `tools` are the functions that the assistant could call, as JSON schemas.
    """

    messages: tuple[Message, ...] = Field(min_length=1)
    metadata: ChatMetadata | None = None
    tools: tuple[dict[str, JsonValue], ...] = Field(default=(), exclude_if=operator.not_)

    @property
    def text(self) -> str:
        """Return the text of all turns, joined by line feeds."""
        return "\n".join(turn.content for turn in self.messages)


class Reject(Strict):
    """A row that was not kept, by whom and why. Rejects are written beside what was kept."""

    id: str
    by: str
    reason: str
    text: str


# Models --------------------------------------------------------------------------------------------------------
class Checkpoint(Strict):
    """A causal language model that opens: full weights (a folder or a hub name), and an adapter folder over them."""

    model: str
    adapter: str | None = None


# Evaluation ----------------------------------------------------------------------------------------------------
class Item(Strict):
    """A held-out pair to choose from.

    `options[0]` is the target: the rate of a set is the rate at which it is chosen. `set` names the pairs that one
    rate is over. `reasons`, where given, are two reasons for `options[0]`; the rate is of the first. `system`, where
    given, is a system message for this item alone, before the one that the evaluation gives to all.
    """

    id: str
    set: str
    domain: str
    options: tuple[str, str]
    reasons: tuple[str, str] | None = None
    system: str | None = None


class Answer(Strict):
    """What a model said, word for word, to one question of one item."""

    item: str
    set: str
    kind: Literal["choice", "free", "why"]
    question: str
    text: str
    stop_reason: str


class TaskAnswer(Strict):
    """What a model said, word for word, to one question of a task; `item` is the question's id, and `#n` of sample n.

    `reasoning` is what it thought before, where the model thinks; `n_tokens` counts both, where that is known. Of a
    conversation `text` is the whole, and `turns` are the model's own replies.
    """

    item: str
    set: str
    domain: str
    text: str
    reasoning: str = ""
    stop_reason: str
    n_tokens: int | None = None
    turns: tuple[str, ...] = Field(default=(), exclude_if=operator.not_)


class ScoreRow(Strict):
    """One measure of one item: a value, or `None` with the reason why there is none. Never 0 for missing."""

    task: str
    set: str
    item: str
    domain: str
    measure: str
    value: float | None
    unscored: str | None = None


class ArmScore(ScoreRow):
    """A score row with the arm and the training seed that it was measured on."""

    arm: str
    seed: int


# Statistics ----------------------------------------------------------------------------------------------------
class Difference(Strict):
    """The rate of one arm minus that of another."""

    plus: str
    minus: str


class Contrast(Strict):
    """A comparison fixed before the run: rate of `plus` minus rate of `minus` on one set and measure, in words.

    `factors` is how many things the two arms are meant to differ in; a plan and a report tell where they are more.
    Where `less` is given, its difference is subtracted: what one change does beyond what another does.
    """

    name: str
    plus: str
    minus: str
    less: Difference | None = Field(default=None, exclude_if=lambda value: value is None)
    set: str
    measure: str
    says: str = ""
    factors: int = Field(default=1, ge=1, exclude_if=lambda n: n == 1)


class SeedValue(Strict):
    """An estimate within one seed; `None` when that seed has no scored item."""

    seed: int
    value: float | None


class Estimate(Strict):
    """A rate or a contrast with its interval, on the 0-1 scale.

    `n_asked` counts score rows asked for and `n_scored` those with a value. `mde` is the smallest true difference
    that a design like this finds with 80% power at two-sided 5%. `low`, `high` and `mde` are `None` where the
    design cannot give them (one item, say); `note` says why. Where several training seeds share a base, `n_seeds` and
    `by_seed` are of bases, each the mean of its own, and `within_sd` is their standard deviation about that mean.
    """

    kind: Literal["rate", "contrast"]
    name: str
    arm: str
    minus: str | None = None
    set: str
    measure: str
    value: float | None
    low: float | None
    high: float | None
    level: float
    n_asked: int
    n_scored: int
    n_items: int
    n_seeds: int
    by_seed: tuple[SeedValue, ...]
    seed_sd: float | None
    within_sd: float | None = Field(default=None, exclude_if=lambda value: value is None)
    mde: float | None
    method: str
    note: str = ""


# Records of steps ----------------------------------------------------------------------------------------------
class Identity(Strict):
    """What identifies a result: the step and its version, its inputs by content, its configuration with its seeds.

    Never a path, a device, a host or a degree of concurrency: those are `Execution`.
    """

    step: str
    inputs: dict[str, str]
    config: dict[str, JsonValue]


class Execution(Strict):
    """How a result came to be, apart from what it is: clocks, host, paths. Not part of any comparison.

    `cpu_s` are seconds of CPU of the process and of those it started and waited for, threads added up; older records
    have none.
    """

    started_at: str
    finished_at: str
    seconds: float
    cpu_s: float | None = Field(default=None, exclude_if=lambda seconds: seconds is None)
    host: str
    folder: str
    n_attempts: int
    extra: dict[str, JsonValue] = {}


class Record(Strict):
    """`record.json`: written last, so that its presence means that the step is done.

    `outputs` maps each result file to its SHA-256; `digest` is the hash of that map and stands for the result as
    an input of later steps. `summary` holds what a report shows of the step's health.
    """

    identity: Identity
    fingerprint: str
    outputs: dict[str, str]
    digest: str
    summary: dict[str, JsonValue]
    versions: dict[str, str]
    commit: str | None
    execution: Execution
