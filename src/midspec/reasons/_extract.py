"""From transcripts to single reasons: listed by a judge, each with words that really stand in the transcript."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from midspec.core.fingerprint import fingerprint
from midspec.core.records import Reason, Reject, Strict
from midspec.evals.judges import unescape
from midspec.llm import parse_json_reply
from midspec.reasons._ask import Asker, why_not
from midspec.reasons._prompts import render, shown
from midspec.reasons._types import Transcript

STAGE = "reasons.extract"
NO_WORDS = "the assistant said nothing"
_ID_LENGTH = 16
# A shorter quote stands in nearly every text, and so shows nothing.
_LEAST_LETTERS = 8


class _Entry(Strict):
    reason: str
    quote: str


class _Reply(Strict):
    reasons: tuple[_Entry, ...]


@dataclass(frozen=True)
class Extracted:
    """What came of it.

    Attributes:
        reasons: in the order of their transcripts.
        rejects: reasons that were dropped (by `quote`) and transcripts that were not read (by `judge`), with why.
        n_read: transcripts that were read; the others are among the rejects.
    """

    reasons: tuple[Reason, ...]
    rejects: tuple[Reject, ...]
    n_read: int


async def extract(transcripts: Sequence[Transcript], asker: Asker) -> Extracted:
    """List the reasons that assistants gave themselves, transcript by transcript.

    A reason whose quote does not occur in its transcript is dropped; white space does not matter.

    Args:
        transcripts: what is read.
        asker: the judge who reads.

    Raises:
        MidspecError: what ends the run (the budget is used up, the key is refused).
    """
    prefix = render("extract")
    asked = [each for each in transcripts if each.words]
    requests = [asker.request(STAGE, prefix, shown(each), _Reply) for each in asked]
    said = await asker.each(requests, [_parse] * len(requests), "transcripts read for reasons")
    replies = dict(zip((each.key for each in asked), said, strict=True))
    reasons: dict[str, Reason] = {}
    rejects: list[Reject] = []
    for each in transcripts:
        reply = replies.get(each.key)
        if reply is None or reply.value is None:
            why = NO_WORDS if reply is None else why_not(reply.outcome)
            rejects.append(
                Reject(id=each.key, by="judge", reason=why, text="" if reply is None else reply.outcome.text)
            )
            continue
        for entry in reply.value:
            reason = _reason(each, entry)
            if (fault := _fault(each, entry)) is None:
                reasons.setdefault(reason.id, reason)
            else:
                text = f"{reason.text} | {reason.quote}"
                rejects.append(Reject(id=reason.id, by="quote", reason=fault, text=text))
    n_unread = sum(reject.by == "judge" for reject in rejects)
    return Extracted(tuple(reasons.values()), tuple(rejects), len(transcripts) - n_unread)


def occurs(quote: str, transcript: Transcript) -> bool:
    """Whether the words stand in what was thought, or in what was said; white space does not matter."""
    texts = ["".join(part.split()) for part in transcript.words]
    forms = {"".join(form.split()) for form in (quote, unescape(quote))}
    return any(form and form in text for form in forms for text in texts)


def _parse(text: str) -> tuple[_Entry, ...]:
    return parse_json_reply(text, _Reply).reasons


def _fault(transcript: Transcript, entry: _Entry) -> str | None:
    if not any(char.isalnum() for char in entry.reason):
        return "there are no words"
    if sum(char.isalnum() for char in entry.quote) < _LEAST_LETTERS:
        return "its quote is too short to show anything"
    return None if occurs(entry.quote, transcript) else "its quote does not stand in the transcript"


def _reason(transcript: Transcript, entry: _Entry) -> Reason:
    text, quote = " ".join(entry.reason.split()), entry.quote.strip()
    key = fingerprint([transcript.key, text, quote])[:_ID_LENGTH]
    return Reason.model_validate({**transcript.place, "id": key, "text": text, "quote": quote})
