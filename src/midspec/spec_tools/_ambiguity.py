"""Clauses that several models read differently: each says what the assistant would do, and where they differ the clause
is ambiguous.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal, NamedTuple, TypeVar

from pydantic import Field

from midspec.core.artifact import ProgressCallback
from midspec.core.fingerprint import fingerprint
from midspec.core.records import LintFinding, Reject, Strict
from midspec.core.text import estimate_tokens
from midspec.generation import PromptFolder, estimate_stage, gather
from midspec.llm import (
    Client,
    ModelConfig,
    Outcome,
    ParsedReply,
    ReplyCaps,
    Request,
    StageEstimate,
    Store,
    UnreadableReplyError,
    UsableReplies,
    converse,
    parse_json_reply,
    response_schema,
)
from midspec.spec_tools._places import TAG

_PROMPTS = PromptFolder("midspec.spec_tools")
_SITUATIONS, _READINGS, _COMPARE = "spec.situations", "spec.readings", "spec.compare"
# For estimates and caps: tokens of a situation, of an answer and of a verdict, and situations of a clause.
_SITUATION_TOKENS, _ANSWER_TOKENS, _VERDICT_TOKENS, _N_SITUATIONS = 60, 45, 35, 2
_ENTRY_TOKENS = {_SITUATIONS: _SITUATION_TOKENS, _READINGS: _ANSWER_TOKENS, _COMPARE: _VERDICT_TOKENS}


FormT = TypeVar("FormT", bound=Strict)


class ReadingSettings(Strict):
    """Settings of the readings.

    Attributes:
        most_situations: of a clause; further questions about it are left out.
        max_tokens: cap of a reply; the first one fits what is asked for, if that is less.
    """

    most_situations: int = Field(default=3, ge=1)
    max_tokens: int = Field(default=2048, ge=1)


class ReadClause(NamedTuple):
    """A clause to be read: its id, its text, and where it stands."""

    id: str
    text: str
    section: str


class ClauseReading(Strict):
    """What the models made of a clause in one situation.

    Attributes:
        answers: by model, what the assistant does.
        verdict: whether they agree; `None` where that could not be told.
        about: what they read in two ways.
    """

    clause_id: str
    situation: str
    answers: dict[str, str]
    verdict: Literal["same", "different"] | None
    about: str = ""


class Ambiguities(NamedTuple):
    """Findings of the kind `ambiguous`, every reading, and clauses that were not read, with the reason."""

    findings: tuple[LintFinding, ...]
    readings: tuple[ClauseReading, ...]
    rejects: tuple[Reject, ...]


class _Situations(Strict):
    situations: tuple[str, ...]


class _Answers(Strict):
    answers: tuple[str, ...]


class _Verdict(Strict):
    verdict: Literal["same", "different"]
    about: str


class _Verdicts(Strict):
    verdicts: tuple[_Verdict, ...]


async def read_ambiguities(
    spec: str,
    clauses: Sequence[ReadClause],
    readers: Mapping[str, tuple[ModelConfig, Client]],
    store: Store,
    settings: ReadingSettings,
    *,
    questions: Mapping[str, Sequence[str]] | None = None,
    on_progress: ProgressCallback | None = None,
    width: int = 50,
) -> Ambiguities:
    """Have every clause read by several models, and tell where they differ.

    The first reader writes the situations of a clause without questions, and compares the answers, whose order by
    reader changes from clause to clause.

    Args:
        spec: the whole text; every request begins with it.
        clauses: what is read.
        readers: models by name, two at least, each with a client that answers its requests.
        store: where replies are kept.
        settings: how many situations.
        questions: clause id -> questions about it, to be used as situations.
        on_progress: is told (clauses read, of how many) after each.
        width: how many clauses are read at once.

    Raises:
        MidspecError: what ends the whole run (a budget that is used up, a key that is refused).
    """
    asker = _Asker(spec, readers, store, settings)

    async def read(clause: ReadClause) -> tuple[list[ClauseReading], str]:
        return await asker.read(clause, list((questions or {}).get(clause.id, ())))

    def tell(n_done: int, n: int) -> None:
        if on_progress is not None:
            on_progress(n_done, n, "clauses read")

    results = await gather(read, clauses, width, on_done=tell)
    findings, readings, rejects = list[LintFinding](), list[ClauseReading](), list[Reject]()
    for clause, (found, fault) in zip(clauses, results, strict=True):
        readings += found
        if fault:
            rejects.append(Reject(id=clause.id, by="reader", reason=fault, text=clause.text))
        if one := next((each for each in found if each.verdict == "different"), None):
            said = "; ".join(f"{name}: {answer}" for name, answer in one.answers.items())
            what = f"is read in different ways ({one.about or 'no word is named'}): {one.situation} {said}"
            about = {"clause_id": clause.id, "section": clause.section, "text": clause.text}
            findings.append(LintFinding(kind="ambiguous", what=what, **about))
    return Ambiguities(tuple(findings), tuple(readings), tuple(rejects))


def estimate_readings(
    spec: str, clauses: Sequence[ReadClause], n_readers: int, questions: Mapping[str, Sequence[str]] | None = None
) -> list[list[StageEstimate]]:
    """Estimate the requests to each reader, the first of which also writes situations and compares.

    Args:
        spec: the whole text.
        clauses: what is read.
        n_readers: how many models.
        questions: clause id -> questions about it.
    """
    prefix = _PROMPTS.fill("spec", spec=spec.strip("\n"))
    prompt = fmean(estimate_tokens(clause.text) for clause in clauses) + 200
    n_asked = sum(not (questions or {}).get(clause.id) for clause in clauses)
    n, each = len(clauses), _N_SITUATIONS
    reading = estimate_stage(
        _READINGS, n, each * _ANSWER_TOKENS, prefix=prefix, prompt=prompt + each * _SITUATION_TOKENS
    )
    more = each * (_SITUATION_TOKENS + n_readers * _ANSWER_TOKENS)
    first = (
        [estimate_stage(_SITUATIONS, n_asked, each * _SITUATION_TOKENS, prefix=prefix, prompt=prompt)]
        if n_asked
        else []
    )
    compared = estimate_stage(_COMPARE, n, each * _VERDICT_TOKENS, prefix=prefix, prompt=prompt + more)
    return [[*first, reading, compared], *([reading] for _ in range(n_readers - 1))]


def _has_word(text: str) -> bool:
    return any(map(str.isalnum, TAG.sub("", text)))


def _why(outcome: Outcome) -> str:
    return f"{outcome.kind}: {outcome.note or outcome.stop_reason}".removesuffix(": ")


class _Asker:
    """Makes the requests about clauses."""

    def __init__(
        self, spec: str, readers: Mapping[str, tuple[ModelConfig, Client]], store: Store, settings: ReadingSettings
    ) -> None:
        self._readers, self._store, self._settings = readers, store, settings
        self._prefix = _PROMPTS.fill("spec", spec=spec.strip("\n"))
        self._usable = {name: UsableReplies(store, where=name) for name in readers}
        self._caps = {name: ReplyCaps() for name in readers}

    async def read(self, clause: ReadClause, situations: list[str]) -> tuple[list[ClauseReading], str]:
        """Return what the models make of a clause, or why nothing could be said of it."""
        first = next(iter(self._readers))
        if not situations:
            written = await self._ask(first, _SITUATIONS, clause, {}, _Situations)
            if written.value is None:
                return [], f"{first} wrote no situations ({_why(written.outcome)})"
            situations = list(filter(_has_word, written.value.situations))
        situations = situations[: self._settings.most_situations]
        if not situations:
            return [], f"{first} finds no situation in which it shows"
        n = len(situations)
        answers: dict[str, tuple[str, ...]] = {}
        for name in self._readers:
            numbered = (f"{at}. {' '.join(line.split())}" for at, line in enumerate(situations, start=1))
            slots = {"situations": "\n".join(numbered), "n": str(n)}
            reply = await self._ask(name, _READINGS, clause, slots, _Answers, n)
            if reply.value is None:
                return [], f"{name} gave no answers ({_why(reply.outcome)})"
            answers[name] = reply.value.answers
        blocks = []
        for at, situation in enumerate(situations):
            # Without names, and in an order that depends on the clause.
            names = sorted(answers, key=lambda name, at=at: fingerprint([clause.id, at, name]))  # type: ignore[misc]
            blocks.append("\n".join((f"{at + 1}. {situation}", *(f"- {answers[name][at]}" for name in names))))
        shown = "\n\n".join(blocks)
        compared = await self._ask(first, _COMPARE, clause, {"answers": shown, "n": str(n)}, _Verdicts, n)
        verdicts = compared.value.verdicts if compared.value else [None] * n
        fault = "" if compared.value else f"{first} compared nothing ({_why(compared.outcome)})"
        return [
            ClauseReading(
                clause_id=clause.id,
                situation=situation,
                answers={name: given[at] for name, given in answers.items()},
                verdict=verdict.verdict if verdict else None,
                about=verdict.about if verdict else "",
            )
            for at, (situation, verdict) in enumerate(zip(situations, verdicts, strict=True))
        ], fault

    async def _ask(
        self, name: str, stage: str, clause: ReadClause, slots: dict[str, str], form: type[FormT], n: int | None = None
    ) -> ParsedReply[FormT]:
        model, client = self._readers[name]
        prompt = _PROMPTS.fill("clause", section=clause.section or "(no heading)", clause=clause.text)
        prompt += _PROMPTS.fill(stage.removeprefix("spec."), **slots)
        schema = response_schema(form)
        request = Request(
            task=fingerprint([stage, model, self._prefix, prompt, schema]),
            stage=stage,
            prompt=prompt,
            prefix=self._prefix,
            max_tokens=self._settings.max_tokens,
            cap_setting="max_tokens",
            form=schema,
        )

        def parse(text: str) -> FormT:
            read = parse_json_reply(text, form)
            entries = next(iter(read.model_dump().values()))
            if n is not None and len(entries) != n:
                raise UnreadableReplyError(f"it has {len(entries)} entries and must have {n}")
            # A weak model gives the form back as it was shown (`["..."]`), or tags of the prompt.
            blank = [entry for entry in entries if isinstance(entry, str) and not _has_word(entry)]
            if blank and (n is not None or len(blank) == len(entries)):
                raise UnreadableReplyError(f"an entry holds no word: {blank[0]!r}")
            return read

        n_expected = (n or _N_SITUATIONS) * _ENTRY_TOKENS[stage]
        reply = await converse(client, self._store, request, parse, caps=self._caps[name], n_expected=n_expected)
        self._usable[name].count(request, reply)
        return reply
