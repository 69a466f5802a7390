"""What stands in transcripts word for word: reasons with quotes, listed by a judge, and citations of clauses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from midspec.core.fingerprint import fingerprint
from midspec.core.records import Citations, Reason, Reject, Strict
from midspec.evals.judges import unescape
from midspec.llm import parse_json_reply
from midspec.reasons._common import PROMPTS, Judge, Transcript, failure_reason

STAGE = "reasons.extract"
NO_WORDS = "the assistant said nothing"
_ID_LENGTH = 16
# A shorter quote stands in nearly every text, and so shows nothing.
_MIN_QUOTE_LETTERS = 8
_WORD = re.compile(r"\w+(?:['’]\w+)*")


# The schema sent to judges names `_Entry`: another class name would ask for every list again.
class _Entry(Strict):
    reason: str
    quote: str


class _Reply(Strict):
    reasons: tuple[_Entry, ...]


@dataclass(frozen=True)
class ExtractedReasons:
    """Reasons, and what was rejected.

    Attributes:
        reasons: in the order of their transcripts.
        rejects: reasons that were dropped (by `quote`) and transcripts that were not read (by `judge`), with why.
        n_read: transcripts that were read; the others are among the rejects.
    """

    reasons: tuple[Reason, ...]
    rejects: tuple[Reject, ...]
    n_read: int


async def extract_reasons(transcripts: Sequence[Transcript], judge: Judge) -> ExtractedReasons:
    """List the reasons that assistants gave themselves, transcript by transcript.

    A reason whose quote does not occur in its transcript is dropped; white space does not matter.

    Raises:
        MidspecError: what ends the run (the budget is used up, the key is refused).
    """
    prefix = PROMPTS.fill("extract")
    with_words = [transcript for transcript in transcripts if transcript.words]
    requests = [judge.request(STAGE, prefix, transcript.render(), _Reply) for transcript in with_words]

    def parse(text: str) -> tuple[_Entry, ...]:
        return parse_json_reply(text, _Reply).reasons

    replies = await judge.ask(requests, [parse] * len(requests), "transcripts read for reasons")
    by_key = dict(zip((transcript.key for transcript in with_words), replies, strict=True))
    reasons: dict[str, Reason] = {}
    rejects: list[Reject] = []
    for transcript in transcripts:
        reply = by_key.get(transcript.key)
        if reply is None or reply.value is None:
            why, text = (NO_WORDS, "") if reply is None else (failure_reason(reply.outcome), reply.outcome.text)
            rejects.append(Reject(id=transcript.key, by="judge", reason=why, text=text))
            continue
        for entry in reply.value:
            text, quote = " ".join(entry.reason.split()), entry.quote.strip()
            key = fingerprint([transcript.key, text, quote])[:_ID_LENGTH]
            if (fault := _fault(transcript, entry)) is not None:
                rejects.append(Reject(id=key, by="quote", reason=fault, text=f"{text} | {quote}"))
            elif key not in reasons:
                fields = {**transcript.place, "id": key, "text": text, "quote": quote}
                reasons[key] = Reason.model_validate(fields)
    n_unread = sum(reject.by == "judge" for reject in rejects)
    return ExtractedReasons(tuple(reasons.values()), tuple(rejects), len(transcripts) - n_unread)


def _fault(transcript: Transcript, entry: _Entry) -> str | None:
    if not any(char.isalnum() for char in entry.reason):
        return "there are no words"
    if sum(char.isalnum() for char in entry.quote) < _MIN_QUOTE_LETTERS:
        return "its quote is too short to show anything"
    return None if quote_occurs(entry.quote, transcript) else "its quote does not stand in the transcript"


def quote_occurs(quote: str, transcript: Transcript) -> bool:
    """Return whether the words stand in the reasoning or in the text; white space does not matter."""
    texts = ["".join(part.split()) for part in transcript.words]
    forms = {"".join(form.split()) for form in (quote, unescape(quote))}
    return any(form and form in text for form in forms for text in texts)


# Citations of clauses ------------------------------------------------------------------------------------------
_CITED_WORDS = 8  # so long a run of words is no accident


def cited_clauses(text: str, clauses: Mapping[str, str]) -> tuple[frozenset[str], frozenset[str]]:
    """Find the clauses that a text names by id, and those whose words it repeats.

    An id counts where it stands as a word of its own, in the same case (`SP1`, and neither `SP10`, `SP1.2` nor `sp1`).
    Words count where eight of the clause stand in a row; of a shorter clause, all of them, if it has at least half
    as many. Case and punctuation do not matter. Words that several clauses have count for each.

    Args:
        text: what was thought or said.
        clauses: id -> text.
    """
    by_id = {name for name in clauses if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", text)}
    text_words = _words(text)
    runs: dict[int, set[tuple[str, ...]]] = {}
    by_words = set()
    for name, clause in clauses.items():
        clause_words = _words(clause)
        size = min(_CITED_WORDS, len(clause_words))
        if 2 * size < _CITED_WORDS:
            continue
        if size not in runs:
            runs[size] = set(_runs(text_words, size))
        if not runs[size].isdisjoint(_runs(clause_words, size)):
            by_words.add(name)
    return frozenset(by_id), frozenset(by_words)


def count_citations(transcripts: Sequence[Transcript], clauses: Mapping[str, str]) -> tuple[Citations, ...]:
    """Count how many transcripts of each arm cite each clause; arms and clauses in the order in which they come.

    Args:
        transcripts: of all arms.
        clauses: id -> text. Ids that no model can know (hashes) are found by words only.
    """
    by_arm: dict[str, list[tuple[frozenset[str], frozenset[str]]]] = {}
    for transcript in transcripts:
        parts = [cited_clauses(part, clauses) for part in transcript.words]
        whole = (frozenset().union(*(ids for ids, _ in parts)), frozenset().union(*(words for _, words in parts)))
        by_arm.setdefault(transcript.arm, []).append(whole)
    return tuple(
        Citations(
            arm=arm,
            clause=name,
            n_transcripts=len(cited),
            n_by_id=sum(name in ids for ids, _ in cited),
            n_by_words=sum(name in words for _, words in cited),
            n_cited=sum(name in ids or name in words for ids, words in cited),
        )
        for arm, cited in by_arm.items()
        for name in clauses
    )


def _words(text: str) -> list[str]:
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


def _runs(words: Sequence[str], size: int) -> Iterable[tuple[str, ...]]:
    return (tuple(words[at : at + size]) for at in range(len(words) - size + 1))
