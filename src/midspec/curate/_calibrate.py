"""How often a judge errs, on documents whose violations are known because they were planted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from midspec.curate._judge import CALIBRATION_STAGE, Judge, Judgement, Tell, judge_documents
from midspec.curate._plant import VIOLATIONS, Planter, Violation
from midspec.curate._rows import row_id
from midspec.errors import DataError
from midspec.records import Calibration, Document, Share

__all__ = ["calibrate"]


async def calibrate(
    documents: Sequence[Document], judge: Judge, planter: Planter, *, n_each: int = 20, tell: Tell | None = None
) -> Calibration:
    """Have the judge decide on clean documents and on the same kind of documents with planted violations.

    Args:
        documents: ones that are known to be faithful; a fault in them counts against the judge.
        judge: the one to measure.
        planter: plants the violations.
        n_each: how many documents with each kind of violation, and how many clean ones for each kind.
        tell: is told (done, of how many, what) after each.

    Raises:
        DataError: no documents, or none with a place for a violation.
        MidspecError: what ends the run.
    """
    if not documents:
        raise DataError("there are none to measure the judge on", where="documents", mend="Give faithful documents")
    rows, kinds = _known(documents, planter, n_each)
    clean: Counter[str] = Counter()
    planted: dict[Violation, Counter[str]] = {kind: Counter() for kind in VIOLATIONS}

    def settle(document: Document, judgement: Judgement) -> None:
        kind = kinds[row_id(document)]
        verdict = judgement.verdict if judgement.answered else "none"
        (clean if kind is None else planted[kind])[verdict] += 1

    await judge_documents(rows, judge, settle, stage=CALIBRATION_STAGE, tell=tell, n_documents=len(rows))
    return _stated(judge, clean, planted)


def _known(
    documents: Sequence[Document], planter: Planter, n_each: int
) -> tuple[list[Document], dict[str, Violation | None]]:
    """The documents to show, in a drawn order, and what is wrong with each."""
    draw = random.Random(f"{planter.seed}:calibrate")
    rows: list[Document] = []
    kinds: dict[str, Violation | None] = {}
    for kind in VIOLATIONS:
        made = (planter.plant(document, kind) for document in draw.sample(documents, len(documents)))
        for found in islice((each for each in made if each is not None), n_each):
            rows.append(found.document)
            kinds[row_id(found.document)] = kind
    if not rows:
        raise DataError("have no place for a violation", where="documents", mend="Give documents of a few sentences")
    for document in draw.sample(documents, min(len(documents), n_each * len(VIOLATIONS))):
        rows.append(document)
        kinds[row_id(document)] = None
    draw.shuffle(rows)
    return rows, kinds


def _stated(judge: Judge, clean: Counter[str], planted: dict[Violation, Counter[str]]) -> Calibration:
    every: Counter[str] = sum(planted.values(), Counter())
    n_clean, n_planted = _answered(clean), _answered(every)
    return Calibration(
        judge=judge.model.model,
        false_keep=Share.counted(every["keep"], n_planted),
        false_reject=Share.counted(clean["reject"], n_clean),
        held=Share.counted(clean["hold"] + every["hold"], n_clean + n_planted),
        unanswered=clean["none"] + every["none"],
        by_kind={kind: Share.counted(found["keep"], _answered(found)) for kind, found in planted.items()},
    )


def _answered(verdicts: Counter[str]) -> int:
    return verdicts.total() - verdicts["none"]
