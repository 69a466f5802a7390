"""Whether documents are faithful to their spec, by a model that judges: keep, reject, or hold where it is unclear."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from itertools import islice
from typing import Literal, get_args

from midspec.core.errors import DataError
from midspec.core.fingerprint import fingerprint
from midspec.core.progress import ProgressCallback
from midspec.core.records import Calibration, Document, Share, Spec, Strict
from midspec.curate._planted import VIOLATIONS, Planter, Violation
from midspec.curate._rows import estimate_tokens, row_id
from midspec.generation import Pool
from midspec.llm import Client, ModelConfig, Request, StageEstimate, Store, UnreadableReplyError, converse, parse_tags

_SLOT = re.compile(r"\{\{(\w+)\}\}")


@lru_cache(maxsize=8)
def prompt_text(name: str) -> str:
    """The text of one shipped prompt, slots unfilled."""
    return (resources.files("midspec.curate") / "_prompts" / f"{name}.md").read_text(encoding="utf-8")


def render(name: str, values: Mapping[str, str]) -> str:
    """A shipped prompt with its slots filled in one pass: a value that itself holds a slot stays as it is."""
    return _SLOT.sub(lambda found: values[found[1]], prompt_text(name))


Verdict = Literal["keep", "reject", "hold"]

STAGE, CALIBRATION_STAGE = "faithfulness", "faithfulness calibration"

_MAX_TOKENS = 2000
# What a verdict with its reason and some reasoning before it takes, for forecasts.
_TYPICAL_TOKENS = 300
_NO_CLAUSES = "(The document names no part; judge it by the whole specification.)"


class Judgement(Strict):
    """What the judge says of one document. Without a readable verdict it is held, and `answered` is false."""

    verdict: Verdict
    reason: str
    answered: bool = True


@dataclass(frozen=True)
class Judge:
    """A judge, and what it judges by.

    Attributes:
        client: answers requests; opened for the duty `judge`.
        store: keeps every reply, so that a run that was stopped asks for none twice.
        model: which model judges; it is part of what identifies a verdict.
        prefix: the spec, in the same words for every document, so that providers cache it.
        clauses: clause id -> text.
        model_name: the assistant that the documents are about.
        width: how many requests are wanted in flight.
    """

    client: Client
    store: Store
    model: ModelConfig
    prefix: str
    clauses: Mapping[str, str] = field(default_factory=dict)
    model_name: str = "the assistant"
    width: int = 50

    async def of(self, document: Document, *, stage: str = STAGE) -> Judgement:
        """The judgement of one document; a reply that is refused, cut or unreadable makes it held, with the reason."""
        said = await converse(self.client, self.store, self.request(document, stage), _parse)
        if said.value is not None:
            return said.value
        why = f"no verdict ({said.outcome.kind}{': ' if said.outcome.note else ''}{said.outcome.note})"
        return Judgement(verdict="hold", reason=why, answered=False)

    def request(self, document: Document, stage: str = STAGE) -> Request:
        """What is asked of the judge about a document. Its task depends on the text and the clauses, not on the id."""
        claimed = document.metadata.clause_ids if document.metadata is not None else ()
        texts = [self.clauses[clause_id] for clause_id in claimed if clause_id in self.clauses]
        listed = "\n".join(f"- {' '.join(text.split())}" for text in texts) or _NO_CLAUSES
        prompt = render("faithful", {"model": self.model_name, "clauses": listed, "candidate": document.text})
        identity = {"model": self.model, "prefix": self.prefix, "prompt": prompt, "model_name": self.model_name}
        task = f"judge-{fingerprint(identity)}"
        return Request(task=task, stage=stage, prefix=self.prefix, prompt=prompt, max_tokens=_MAX_TOKENS)


def _parse(text: str) -> Judgement:
    word, reason = parse_tags(text, "verdict", "reason")
    for verdict in get_args(Verdict):
        if word.casefold() == verdict:
            return Judgement(verdict=verdict, reason=" ".join(reason.split()))
    raise UnreadableReplyError(f"the verdict is {word[:40]!r}; it must be keep, reject or hold, and nothing else")


async def judge_documents(
    documents: Iterable[Document],
    judge: Judge,
    settle: Callable[[Document, Judgement], None],
    *,
    stage: str = STAGE,
    on_progress: ProgressCallback | None = None,
    n_documents: int = 0,
) -> None:
    """Judge documents as they come, as many at once as the judge takes, and hold none in memory longer than needed.

    Args:
        documents: gone through once.
        judge: who judges, by what.
        settle: is given each document with its judgement, in the order in which verdicts arrive.
        stage: the name under which requests are counted.
        on_progress: is told (done, of how many, what) after each.
        n_documents: how many there are, for `on_progress`.

    Raises:
        MidspecError: what ends the run (the budget is used up, the key is refused).
    """
    waiting, pool, n_done = iter(documents), Pool(judge.width), 0

    async def next_one() -> None:
        nonlocal n_done
        document = next(waiting, None)
        if document is None:
            return
        # The place of a piece of work that ends is taken by the next document; no list of all of them is made.
        judgement = await judge.of(document, stage=stage)
        settle(document, judgement)
        n_done += 1
        if on_progress is not None:
            on_progress(n_done, n_documents, f"judged {row_id(document)}: {judgement.verdict}")
        pool.add(next_one)

    for _ in range(2 * judge.width):
        pool.add(next_one)
    await pool.run()


def judge_prefix(spec: Spec) -> str:
    """What goes before every question to the judge, equal for all: the spec, verbatim, its names filled in."""
    return render("spec", {"spec": spec.text.strip()})


def estimate_judge(documents: Iterable[Document], prefix: str, *, calibrate_each: int = 0) -> list[StageEstimate]:
    """What judging documents will ask, for a forecast: one request each, and those of a calibration.

    Args:
        documents: gone through once.
        prefix: the spec as it goes before each request.
        calibrate_each: see `CurateConfig`; clean documents are asked for once only.
    """
    n_documents = n_tokens = 0
    for document in documents:
        n_documents += 1
        n_tokens += estimate_tokens(document.text)
    mean = n_tokens // max(1, n_documents) + estimate_tokens(prompt_text("faithful"))
    n_planted = min(n_documents, calibrate_each) * len(VIOLATIONS)
    loads = ((STAGE, n_documents), (CALIBRATION_STAGE, n_planted))
    return [
        StageEstimate(
            stage=stage,
            n_requests=n,
            prefix_tokens=estimate_tokens(prefix),
            prompt_tokens=mean,
            output_tokens=_TYPICAL_TOKENS,
        )
        for stage, n in loads
        if n
    ]


async def calibrate(
    documents: Sequence[Document],
    judge: Judge,
    planter: Planter,
    *,
    n_each: int = 20,
    on_progress: ProgressCallback | None = None,
) -> Calibration:
    """Have the judge decide on clean documents and on the same kind of documents with planted violations.

    Args:
        documents: ones that are known to be faithful; a fault in them counts against the judge.
        judge: the one to measure.
        planter: plants the violations.
        n_each: how many documents with each kind of violation, and how many clean ones for each kind.
        on_progress: is told (done, of how many, what) after each.

    Raises:
        DataError: no documents, or none with a place for a violation.
        MidspecError: what ends the run.
    """
    if not documents:
        raise DataError("there are none to measure the judge on", where="documents", hint="Give faithful documents")
    rows, kinds = _known(documents, planter, n_each)
    clean: Counter[str] = Counter()
    planted: dict[Violation, Counter[str]] = {kind: Counter() for kind in VIOLATIONS}

    def settle(document: Document, judgement: Judgement) -> None:
        kind = kinds[row_id(document)]
        verdict = judgement.verdict if judgement.answered else "none"
        (clean if kind is None else planted[kind])[verdict] += 1

    await judge_documents(rows, judge, settle, stage=CALIBRATION_STAGE, on_progress=on_progress, n_documents=len(rows))
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
        raise DataError("have no place for a violation", where="documents", hint="Give documents of a few sentences")
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
