"""Questions about any spec, written by a language model clause by clause.

In: the spec's text, its clauses as plain values, an author behind `llm`. Out: questions with the ids and texts of the
clauses they ask about, what was rejected and why, and the clauses that got less than their share.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil

from pydantic import Field

from midspec.core.errors import DataError
from midspec.core.fingerprint import fingerprint
from midspec.core.near_duplicates import NearIndex
from midspec.core.progress import ProgressCallback
from midspec.core.records import Reject, Strict
from midspec.evals.tasks.spec_qa._items import CATEGORIES, PROMPTS, Category, SpecQuestion, categories
from midspec.generation import Pool
from midspec.llm import Client, ModelConfig, Request, StageEstimate, Store, converse, parse_json_reply, response_schema
from midspec.llm import ParsedReply as Replied

_STAGE = "spec_qa.questions"
_ID_LENGTH = 16
_LETTERS_A_TOKEN, _QUESTION_TOKENS = 4, 70
# What share of the clauses is taken to be short after the first round, when nothing is known of it yet.
_AGAIN = 1 / 3
_NAMES = (
    "spec",
    "model spec",
    "constitution",
    "system prompt",
    "your guidelines",
    "your instructions say",
    "your policy",
    "your policies",
    "your principles",
    "your rules",
    "your core values",
)


class AskedClause(Strict):
    """One clause as the author of questions sees it; `section` says where it stands, titles from the top down."""

    id: str
    text: str
    section: str = ""


class QuestionWriting(Strict):
    """How many questions, and what makes one unfit.

    Attributes:
        per_clause: the share of each clause.
        n_rounds: how often a clause is asked about while it is short of its share.
        max_tokens: cap of the author's reply.
        duplicate_similarity: from which share of common character 5-grams on a question repeats another.
        n_copied_words: so many words in a row from its clause, and a question gives the answer away.
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
    """What came of it.

    Attributes:
        rows: the questions, in the order of their clauses.
        rejects: questions that are unfit, and clauses that the author gave nothing for; each with its reason.
        n_by_clause: clause id -> questions, a clause without any as well.
    """

    rows: tuple[SpecQuestion, ...]
    rejects: tuple[Reject, ...]
    n_by_clause: dict[str, int]

    @property
    def n_by_category(self) -> dict[str, int]:
        """Category -> questions, a category without any as well: a spec may have nothing to say on it."""
        found = Counter(row.category for row in self.rows)
        return {category: found[category] for category in CATEGORIES}

    def short(self, per_clause: int) -> tuple[str, ...]:
        """The clauses with fewer questions than `per_clause`, in the spec's order."""
        return tuple(clause_id for clause_id, n in self.n_by_clause.items() if n < per_clause)


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
    """Have questions written about each clause until it has its share, or nothing more comes of it.

    Clauses are asked about side by side, in rounds; what came is gone through in the spec's order, so that the same
    replies give the same questions. Whatever `store` has on record is not paid for again.

    Args:
        spec: the whole text, placeholders filled; every request begins with it.
        clauses: what questions are to be asked about.
        model: who writes; part of what identifies a request.
        client: asks it, from the store first.
        store: where replies are kept.
        writing: how many questions, and what makes one unfit.
        on_progress: is told (clauses answered for, of how many in this round, which round) after each reply.
        width: how many requests are wanted in flight at once.

    Raises:
        DataError: there are no clauses, or two with one id.
        MidspecError: what ends the whole run (a budget that is used up, a key that is refused).
    """
    _check(clauses)
    line = _Line(PROMPTS.fill("spec", spec=spec.strip("\n")), model, writing or QuestionWriting())
    lots = [_Lot(clause) for clause in clauses]
    for number in range(line.writing.n_rounds):
        short = [lot for lot in lots if not lot.is_done and len(lot.rows) < line.writing.per_clause]
        requests = [line.request(lot, number) for lot in short]
        note = f"round {number + 1} of at most {line.writing.n_rounds}"
        replies = await _replies(requests, client, store, width, partial(_told, on_progress, note))
        for lot, reply in zip(short, replies, strict=True):
            line.take(lot, reply)
    return WrittenQuestions(
        rows=tuple(row for lot in lots for row in lot.rows),
        rejects=tuple(reject for lot in lots for reject in lot.rejects),
        n_by_clause={lot.clause.id: len(lot.rows) for lot in lots},
    )


def _told(on_progress: ProgressCallback | None, note: str, at: int, of: int) -> None:
    if on_progress is not None:
        on_progress(at, of, note)


async def _replies(
    requests: Sequence[Request], client: Client, store: Store, width: int, on_progress: Callable[[int, int], None]
) -> list[Replied[tuple[_Entry, ...]]]:
    """What the author says to each, in their order. Where one ends the run, those that are under way are waited for."""
    found: dict[int, Replied[tuple[_Entry, ...]]] = {}
    pool = Pool(width)

    def piece(at: int, request: Request) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            found[at] = await converse(client, store, request, _parse)
            on_progress(len(found), len(requests))

        return work

    for at, request in enumerate(requests):
        pool.add(piece(at, request))
    await pool.run()
    return [found[at] for at in range(len(requests))]


def _check(clauses: Sequence[AskedClause]) -> None:
    ids = [clause.id for clause in clauses]
    if not ids:
        raise DataError("there are none", where="clauses", hint="Give at least one")
    if len(set(ids)) < len(ids):
        raise DataError("two have the same id", where="clauses", hint="Give each its own")


def _parse(text: str) -> tuple[_Entry, ...]:
    return parse_json_reply(text, _Reply).questions


@dataclass
class _Lot:
    """One clause's work; `is_done` when another round could bring nothing."""

    clause: AskedClause
    rows: list[SpecQuestion] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    is_done: bool = False

    def reject(self, key: str, by: str, reason: str, text: str) -> None:
        self.rejects.append(Reject(id=key, by=by, reason=reason, text=text))


class _Line:
    """Asks and sifts: one for all clauses, because a question may repeat that of another clause."""

    def __init__(self, prefix: str, model: ModelConfig, writing: QuestionWriting) -> None:
        self.writing = writing
        self._prefix, self._model = prefix, model
        self._near = NearIndex(threshold=writing.duplicate_similarity, unit="characters")
        self._names = [re.compile(rf"(?<!\w){re.escape(name.casefold())}(?!\w)") for name in writing.names]

    def request(self, lot: _Lot, number: int) -> Request:
        """The task is a hash of all that makes its reply another one; a later round is another draw."""
        existing = "\n".join(f"- {' '.join(row.text.split())}" for row in lot.rows)
        words = PROMPTS.fill(
            "write",
            section=lot.clause.section or "(no heading)",
            clause=lot.clause.text,
            categories="\n".join(f"- {name}: {' '.join(categories()[name].split())}" for name in CATEGORIES),
            earlier=PROMPTS.fill("earlier", list=existing) if existing else "",
            n=str(self.writing.per_clause - len(lot.rows)),
        )
        form = response_schema(_Reply)
        return Request(
            task=fingerprint([_STAGE, self._model, self._prefix, words, form, number]),
            stage=_STAGE,
            prompt=words,
            prefix=self._prefix,
            max_tokens=self.writing.max_tokens,
            form=form,
        )

    def take(self, lot: _Lot, reply: Replied[tuple[_Entry, ...]]) -> None:
        """Keep what is fit; a clause that the author refused, failed at or found empty is not asked about again."""
        if not reply.value:
            lot.is_done = True
            outcome = reply.outcome
            reason = "found nothing to ask" if reply.value is not None else f"{outcome.kind}: {outcome.note}"
            lot.reject(lot.clause.id, "author", reason.removesuffix(": "), lot.clause.text)
            return
        for entry in reply.value:
            text = entry.question.strip()
            key = fingerprint([lot.clause.id, text])[:_ID_LENGTH]
            fault = self._fault(lot, key, text)
            if fault is not None:
                lot.reject(key, "check", fault, text)
                continue
            clauses = {lot.clause.id: lot.clause.text}
            lot.rows.append(SpecQuestion(id=key, category=entry.category, text=text, clauses=clauses))

    def _fault(self, lot: _Lot, key: str, text: str) -> str | None:
        """What makes a question unfit; the check for duplicates comes last because it takes the question in."""
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
        if _shares_run(text, lot.clause.text, self.writing.n_copied_words):
            return "repeats the clause's own words"
        if len(lot.rows) >= self.writing.per_clause:
            return "more than the clause's share"
        repeated = self._near.find_or_add(key, text)
        return None if repeated is None else f"nearly the same as {repeated}"


def estimate_questions(
    spec: str, clauses: Sequence[AskedClause], model: ModelConfig, writing: QuestionWriting
) -> list[StageEstimate]:
    """What writing will ask, for a forecast.

    An estimate: 4 letters a token, 70 tokens a question, every third clause asked about a second time.

    Raises:
        DataError: there are no clauses, or two with one id.
    """
    _check(clauses)
    line = _Line(PROMPTS.fill("spec", spec=spec.strip("\n")), model, writing)
    requests = [line.request(_Lot(clause), 0) for clause in clauses]
    again = ceil(len(clauses) * _AGAIN) if writing.n_rounds > 1 else 0
    letters = sum(len(request.prompt.encode()) for request in requests) / len(requests)
    load = StageEstimate(
        stage=_STAGE,
        n_requests=len(requests) + again,
        prefix_tokens=ceil(len(requests[0].prefix.encode()) / _LETTERS_A_TOKEN),
        prompt_tokens=ceil(letters / _LETTERS_A_TOKEN),
        output_tokens=writing.per_clause * _QUESTION_TOKENS,
    )
    return [load]


def _shares_run(one: str, other: str, size: int) -> bool:
    """Whether the two have `size` words in a row in common; case and punctuation are no matter."""
    first, second = (re.findall(r"\w+", text.casefold()) for text in (one, other))
    runs = {tuple(second[at : at + size]) for at in range(len(second) - size + 1)}
    return any(tuple(first[at : at + size]) in runs for at in range(len(first) - size + 1))
