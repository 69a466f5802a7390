"""What a model took from its documents, right after them: does it know each clause of a spec, and what do answers cost?

Knowledge is asked without a question: the beginning of a clause is given as plain text, as the documents were, and the
clause's own end is scored against a foil, the end of a like clause of another spec, or of another clause. Nothing is
generated, so it costs a second where an evaluation costs minutes, and a model that can't chat yet can be asked.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from midspec.core.records import Item, ScoreRow, Spec
from midspec.evals.tasks.preference._config import PreferenceConfig, asks, option_texts

if TYPE_CHECKING:
    from midspec.models import LanguageModel, OptionScore

TASK, LOSS_TASK = "seam", "seam loss"
SHUFFLED = "shuffled"
_N_SHUFFLED = 2
_MIN_WORDS, _MIN_SHARED = 6, 2
_BECAUSE = re.compile(r"(.+?\bbecause)\s+(.+)", re.IGNORECASE | re.DOTALL)
_LETTER = re.compile(r"[^\W\d_]")


class Probe(NamedTuple):
    """The beginning of a clause, its own end, and another end that would go on from it as well.

    `foil_of` is the spec whose clause the foil is the end of, or `SHUFFLED`: of another clause of the same spec.
    """

    clause_id: str
    start: str
    own: str
    foil: str
    foil_of: str


def probes(spec: Spec, others: Mapping[str, Spec], *, seed: int = 0) -> list[Probe]:
    """Return the probes of every clause that gives some.

    A clause of another spec that begins with the same words and ends otherwise gives the best foil: both ends then
    belong to what was trained on somewhere. A clause without such a twin gets the ends of two others of its own spec,
    cut at `because` as it is, or in the middle.

    Args:
        spec: with its placeholders filled.
        others: specs by name, filled with the same names.
        seed: of the draw of other clauses.
    """
    words = {clause.id: clause.text.split() for clause in spec.clauses}
    cut = {key: parts for key, text in words.items() if (parts := _cut(text)) is not None}
    found: list[Probe] = []
    for key, own in words.items():
        twins = list(_twins(key, own, others))
        if not twins and key in cut:
            (start, end), by = cut[key]
            ends = [each for each, how in cut.values() if how == by and each[1] != end and each[0] != start]
            different = sorted({each[1] for each in ends})
            drawn = random.Random(f"{seed}:{key}").sample(different, min(_N_SHUFFLED, len(different)))
            twins = [Probe(key, start, end, foil, SHUFFLED) for foil in drawn]
        found += twins
    return found


def _twins(key: str, own: Sequence[str], others: Mapping[str, Spec]) -> Iterator[Probe]:
    """Yield a probe for each other spec with a clause of the same beginning: the longest such beginning in it."""
    for name, other in others.items():
        shared = 0
        best: Sequence[str] = ()
        clauses = [clause.text.split() for clause in other.clauses]
        if list(own) in clauses:
            continue  # both say it, so that nothing in the other is a wrong end
        for theirs in clauses:
            n = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(own, theirs, strict=False)))
            if n > shared and _has_letters(own[n:]) and _has_letters(theirs[n:]):
                shared, best = n, theirs
        if shared >= _MIN_SHARED:
            yield Probe(key, " ".join(own[:shared]), " ".join(own[shared:]), " ".join(best[shared:]), name)


def _cut(words: Sequence[str]) -> tuple[tuple[str, str], str] | None:
    """Cut a clause at `because`, or in the middle; `None` where it is too short."""
    match = _BECAUSE.fullmatch(" ".join(words))
    if match is not None:
        return (match[1], match[2]), "because"
    if len(words) < _MIN_WORDS:
        return None
    half = len(words) // 2
    return (" ".join(words[:half]), " ".join(words[half:])), "middle"


def _has_letters(words: Sequence[str]) -> bool:
    return _LETTER.search(" ".join(words)) is not None


def probe_rows(model: LanguageModel, name: str, given: Sequence[Probe]) -> list[ScoreRow]:
    """Score probes: `knows` is 1 where the own end is likelier by the mean token, `margin` by how many nats a token.

    Args:
        model: that reads them.
        name: of the spec: the rows' set.
        given: its probes.
    """
    starts = [probe.start for probe in given for _ in range(2)]
    ends = [end for probe in given for end in (probe.own, probe.foil)]
    scores = model.continuation_logprobs(starts, ends) if given else []
    rows: list[ScoreRow] = []
    for number, probe in enumerate(given):
        own, foil = map(_per_token, scores[2 * number : 2 * number + 2])
        where = {"task": TASK, "set": name, "item": f"{probe.clause_id}#{number}", "domain": probe.clause_id}
        rows.append(ScoreRow(**where, measure="knows", value=0.5 if own == foil else float(own > foil)))
        rows.append(ScoreRow(**where, measure="margin", value=round(own - foil, 6)))
    return rows


def loss_rows(model: LanguageModel, items: Sequence[Item], config: PreferenceConfig) -> list[ScoreRow]:
    """Score both answers to held-out pairs: `loss_target` and `loss_other`, nats a token, over both orders.

    Args:
        model: that reads them.
        items: the pairs; the target is what the value of their set would choose.
        config: how they are asked; its first phrasing alone.
    """
    questions = [(ask, option_texts(item, config, ask)) for item in items for ask in asks(item, config)[:2]]
    prompts = [ask.messages for ask, _ in questions for _ in range(2)]
    scores = model.option_logprobs(prompts, [text for _, texts in questions for text in texts]) if items else []
    rows: list[ScoreRow] = []
    for number, item in enumerate(items):
        mine = list(map(_per_token, scores[4 * number : 4 * number + 4]))
        where = {"task": LOSS_TASK, "set": item.set, "item": item.id, "domain": item.domain}
        for at, measure in enumerate(("loss_target", "loss_other")):
            rows.append(ScoreRow(**where, measure=measure, value=round(-(mine[at] + mine[at + 2]) / 2, 6)))
    return rows


def _per_token(score: OptionScore) -> float:
    return score.logprob / score.n_tokens
