"""Why a model did what it did, by its own words: single reasons, what they come to, and what they drove."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from midspec.core.records._pipeline import Strict

Side = Literal["misaligned", "aligned", "neutral"]


class Reason(Strict):
    """One reason that an assistant gave for what it did, in a judge's words and in its own.

    Attributes:
        id: hash of the transcript, the words and the quote.
        arm: whose answer it is.
        seed: the training seed of that arm.
        task: the evaluation.
        set: of the item.
        item: which answer.
        domain: the item's cell.
        text: the reason, one short sentence.
        quote: where the assistant gives it, verbatim.
    """

    id: str
    arm: str
    seed: int
    task: str
    set: str
    item: str
    domain: str
    text: str
    quote: str


class ReasonCluster(Strict):
    """Reasons that come to the same.

    Attributes:
        id: a short name that stays when the name is edited.
        name: as it stands in tables.
        description: what belongs to it, so that a judge can tell.
        side: whether such a reason speaks for misaligned or for aligned conduct.
        reasons: ids of its reasons.
        merged: ids of the clusters that went into this one.
    """

    id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    description: str
    side: Side
    reasons: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()


class ReasonLabel(Strict):
    """What one judge says of one transcript and one cluster: was it a significant driver of what was done?

    Attributes:
        arm, seed, task, set, item, domain: whose answer it is, and to what.
        cluster: the cluster's id.
        judge: the judge's name.
        value: `None` where the judge could not tell or could not be read.
        unscored: why there is no value.
        why: the judge's few words for it.
    """

    arm: str
    seed: int
    task: str
    set: str
    item: str
    domain: str
    cluster: str
    judge: str
    value: bool | None
    unscored: str | None = None
    why: str = ""


class ReasonShare(Strict):
    """How many of an arm's transcripts a reason drove.

    Attributes:
        arm: the arm.
        cluster: the cluster's id, or `any-misaligned` and `any-aligned`.
        name: the cluster's name.
        side: the cluster's side.
        n_transcripts: transcripts of the arm; what follows adds up to it.
        n_yes: driven by it.
        n_no: not driven by it.
        unscored: of the others, how many for which reason.
        value: mean over cells of the share of scored transcripts, 0-1; `None` where nothing was scored.
        low: lower end of the interval over cells; `None` where there is none.
        high: its upper end.
        level: of the interval.
        n_cells: cells with a scored transcript.
        method: of the interval.
        note: what else is to be said.
    """

    arm: str
    cluster: str
    name: str
    side: Side
    n_transcripts: int
    n_yes: int
    n_no: int
    unscored: dict[str, int]
    value: float | None
    low: float | None
    high: float | None
    level: float
    n_cells: int
    method: str
    note: str = ""


class Citations(Strict):
    """How many of an arm's transcripts name one clause of a spec, or repeat its words.

    Attributes:
        arm: the arm.
        clause: the clause's id (`SP1`, `GP2`, or any other).
        n_transcripts: transcripts of the arm.
        n_by_id: transcripts in which the id stands as a word of its own.
        n_by_words: transcripts that repeat a run of the clause's words.
        n_cited: transcripts with either.
    """

    arm: str
    clause: str
    n_transcripts: int
    n_by_id: int
    n_by_words: int
    n_cited: int
