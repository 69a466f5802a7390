"""Open questions about any spec, written by a language model clause by clause.

In: the spec's text, its clauses as plain values, an author. Out: questions with the ids and texts of the clauses that
they ask about, what was rejected and why, and the clauses that got less than their share.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from statistics import fmean

from pydantic import Field

from midspec.core.artifact import ProgressCallback
from midspec.core.errors import DataError
from midspec.core.fingerprint import fingerprint
from midspec.core.near_duplicates import NearIndex
from midspec.core.records import Reject, Strict
from midspec.core.text import estimate_tokens, whole_words
from midspec.evals.tasks.spec_qa import CATEGORIES, Category, SpecQuestion, categories
from midspec.generation import PromptFolder, estimate_stage, gather
from midspec.llm import (
    Client,
    ModelConfig,
    ParsedReply,
    Request,
    StageEstimate,
    Store,
    UsableReplies,
    converse,
    parse_json_reply,
    response_schema,
)

_PROMPTS = PromptFolder("midspec.eval_items")
_STAGE = "spec_qa.questions"
_ID_LENGTH = 16
# For estimates: tokens of a question, and the share of the clauses that is asked about a second time.
_QUESTION_TOKENS = 70
_REPEAT_RATE = 1 / 3
_NAMES = (
    *("spec", "model spec", "constitution", "system prompt", "your guidelines", "your instructions say"),
    *("your policy", "your policies", "your principles", "your rules", "your core values"),
)


class AskedClause(Strict):
    """One clause to ask about; `section` says where it stands, titles from the top down."""

    id: str
    text: str
    section: str = ""


class QuestionWriting(Strict):
    """How many questions to write, and which are rejected.

    Attributes:
        per_clause: questions wanted about each clause.
        n_rounds: how often a clause is asked about while it has fewer.
        max_tokens: cap of the author's reply.
        duplicate_similarity: a question with at least this share of another's character 5-grams repeats it.
        n_copied_words: a question with so many words in a row from its clause gives the answer away.
        n_most_words: the longest question, in words.
        names: no question may call the spec one of these, in any case and as whole words.
    """

    per_clause: int = Field(default=2, ge=1)
    n_rounds: int = Field(default=3, ge=1)
    max_tokens: int = Field(default=2048, ge=1)
    duplicate_similarity: float = Field(default=0.6, gt=0, le=1)
    n_copied_words: int = Field(default=7, ge=2)
    n_most_words: int = Field(default=150, ge=1)
    names: tuple[str, ...] = _NAMES


class WrittenQuestions(Strict):
    """The questions, and what was rejected.

    Attributes:
        rows: the questions, in the order of their clauses.
        rejects: questions that failed a check, and clauses that the author gave nothing for; each with its reason.
        n_by_clause: clause id -> questions, a clause without any as well.
    """

    rows: tuple[SpecQuestion, ...]
    rejects: tuple[Reject, ...]
    n_by_clause: dict[str, int]

    @property
    def n_by_category(self) -> dict[str, int]:
        """Return category -> questions, 0 for a category on which the spec has nothing to say."""
        counts = Counter(row.category for row in self.rows)
        return {category: counts[category] for category in CATEGORIES}

    def short(self, per_clause: int) -> tuple[str, ...]:
        """Return the clauses with fewer questions than `per_clause`, in the spec's order."""
        return tuple(clause_id for clause_id, n in self.n_by_clause.items() if n < per_clause)


# The schema sent to providers names `_Entry`: another class name would ask for every list again.
class _Entry(Strict):
    category: Category
    question: str = Field(min_length=1)


class _Reply(Strict):
    questions: tuple[_Entry, ...]


async def write_questions(
    spec: str,
    clauses: Sequence[AskedClause],
    model: ModelConfig,
    client: Client,
    store: Store,
    writing: QuestionWriting | None = None,
    *,
    on_progress: ProgressCallback | None = None,
    width: int = 50,
) -> WrittenQuestions:
    """Write questions about each clause until it has its share, or nothing more comes of it.

    Clauses are asked about side by side, in rounds; replies are checked in the spec's order, so that the same replies
    give the same questions. What `store` has on record is not paid for again.

    Args:
        spec: the whole text, placeholders filled; every request begins with it.
        clauses: what questions are to be asked about.
        model: who writes; part of what identifies a request.
        client: answers requests of `model`, from the store first.
        store: where replies are kept.
        writing: how many questions, and which are rejected.
        on_progress: is told (clauses answered for, of how many in this round, which round) after each reply.
        width: how many requests are wanted in flight at once.

    Raises:
        DataError: there are no clauses, or two with one id.
        MidspecError: what ends the whole run (a budget that is used up, a key that is refused).
    """
    writer = _QuestionWriter(spec, clauses, model, writing or QuestionWriting())
    n_rounds, usable = writer.writing.n_rounds, UsableReplies(store, where=model.model)
    for number in range(n_rounds):
        note = f"round {number + 1} of at most {n_rounds}"

        def tell(n_done: int, n: int, note: str = note) -> None:
            if on_progress is not None:
                on_progress(n_done, n, note)

        async def ask(request: Request) -> ParsedReply[tuple[_Entry, ...]]:
            reply = await converse(client, store, request, lambda text: parse_json_reply(text, _Reply).questions)
            usable.count(request, reply)
            return reply

        short = [state for state in writer.states if not state.is_done and len(state.rows) < writer.writing.per_clause]
        replies = await gather(ask, [writer.request(state, number) for state in short], width, on_done=tell)
        for state, reply in zip(short, replies, strict=True):
            writer.take(state, reply)
    return WrittenQuestions(
        rows=tuple(row for state in writer.states for row in state.rows),
        rejects=tuple(reject for state in writer.states for reject in state.rejects),
        n_by_clause={state.clause.id: len(state.rows) for state in writer.states},
    )


def estimate_questions(
    spec: str, clauses: Sequence[AskedClause], model: ModelConfig, writing: QuestionWriting
) -> list[StageEstimate]:
    """Estimate the requests for a forecast: 70 tokens a question, every third clause asked about a second time.

    Args:
        spec: the whole text, placeholders filled.
        clauses: what questions are to be asked about.
        model: who writes.
        writing: how many questions.

    Raises:
        DataError: there are no clauses, or two with one id.
    """
    writer = _QuestionWriter(spec, clauses, model, writing)
    n_repeated = ceil(len(clauses) * _REPEAT_RATE) if writing.n_rounds > 1 else 0
    n_tokens = fmean(estimate_tokens(writer.request(state, 0).prompt) for state in writer.states)
    n_output = writing.per_clause * _QUESTION_TOKENS
    return [estimate_stage(_STAGE, len(clauses) + n_repeated, n_output, prefix=writer.prefix, prompt=n_tokens)]


@dataclass
class _ClauseState:
    """The questions about one clause so far; `is_done` when another round could bring nothing."""

    clause: AskedClause
    rows: list[SpecQuestion] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    is_done: bool = False

    def reject(self, key: str, by: str, reason: str, text: str) -> None:
        self.rejects.append(Reject(id=key, by=by, reason=reason, text=text))


class _QuestionWriter:
    """Makes requests and checks replies for all clauses together, as a question may repeat that of another clause."""

    def __init__(self, spec: str, clauses: Sequence[AskedClause], model: ModelConfig, writing: QuestionWriting) -> None:
        if not clauses:
            raise DataError("there are none", where="clauses", hint="Give at least one")
        if len({clause.id for clause in clauses}) < len(clauses):
            raise DataError("two have the same id", where="clauses", hint="Give each its own")
        self.writing = writing
        self.prefix = _PROMPTS.fill("spec", spec=spec.strip("\n"))
        self.states = [_ClauseState(clause) for clause in clauses]
        self._model = model
        self._near = NearIndex(threshold=writing.duplicate_similarity, unit="characters")
        self._names = [whole_words([name.casefold()]) for name in writing.names]

    def request(self, state: _ClauseState, number: int) -> Request:
        """Make the request; its task is a hash of all that makes its reply another one, the round's number included."""
        existing = "\n".join(f"- {' '.join(row.text.split())}" for row in state.rows)
        prompt = _PROMPTS.fill(
            "questions",
            section=state.clause.section or "(no heading)",
            clause=state.clause.text,
            categories="\n".join(f"- {name}: {' '.join(categories()[name].split())}" for name in CATEGORIES),
            earlier=_PROMPTS.fill("earlier_questions", list=existing) if existing else "",
            n=str(self.writing.per_clause - len(state.rows)),
        )
        form = response_schema(_Reply)
        return Request(
            task=fingerprint([_STAGE, self._model, self.prefix, prompt, form, number]),
            stage=_STAGE,
            prompt=prompt,
            prefix=self.prefix,
            max_tokens=self.writing.max_tokens,
            cap_setting="writing.max_tokens",
            form=form,
        )

    def take(self, state: _ClauseState, reply: ParsedReply[tuple[_Entry, ...]]) -> None:
        """Keep the questions that pass; a clause that the author refused or found empty is not asked about again."""
        if not reply.value:
            state.is_done = True
            outcome = reply.outcome
            reason = "found nothing to ask" if reply.value is not None else f"{outcome.kind}: {outcome.note}"
            state.reject(state.clause.id, "author", reason.removesuffix(": "), state.clause.text)
            return
        for entry in reply.value:
            text = entry.question.strip()
            key = fingerprint([state.clause.id, text])[:_ID_LENGTH]
            fault = self._fault(state, key, text)
            if fault is not None:
                state.reject(key, "check", fault, text)
                continue
            clauses = {state.clause.id: state.clause.text}
            state.rows.append(SpecQuestion(id=key, category=entry.category, text=text, clauses=clauses))

    def _fault(self, state: _ClauseState, key: str, text: str) -> str | None:
        """Return why a question is rejected; the check for duplicates comes last because it adds the question."""
        words, plain = text.split(), text.casefold()
        if not any(char.isalnum() for char in text):
            return "empty"
        if len(words) > self.writing.n_most_words:
            return f"longer than {self.writing.n_most_words} words"
        if "<" in text and re.search(r"</?\w+>", text):
            return "holds a tag"
        for name, pattern in zip(self.writing.names, self._names, strict=True):
            if pattern.search(plain):
                return f"names the spec: {name}"
        if not _word_runs(text, self.writing.n_copied_words).isdisjoint(
            _word_runs(state.clause.text, self.writing.n_copied_words)
        ):
            return "repeats the clause's own words"
        if len(state.rows) >= self.writing.per_clause:
            return "more than the clause's share"
        repeated = self._near.find_or_add(key, text)
        return None if repeated is None else f"nearly the same as {repeated}"


def _word_runs(text: str, size: int) -> set[tuple[str, ...]]:
    """Return all runs of `size` words in lower case, without punctuation."""
    words = re.findall(r"\w+", text.casefold())
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}
