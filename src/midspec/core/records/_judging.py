"""What judges said, how often one errs on transcripts with known verdicts, and how far several agree."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from midspec.core.records._pipeline import Strict

Z95 = 1.959964
"""Standard errors to either side of an estimate in a 95% interval."""


class Share(Strict):
    """`n` of `of`, with its 95% Wilson interval on the 0-1 scale; no interval (`None`) where `of` is 0."""

    n: int
    of: int
    low: float | None
    high: float | None

    @classmethod
    def counted(cls, n: int, of: int) -> Self:
        """Create the share `n` of `of` with the 95% interval of Wilson (1927)."""
        if not of:
            return cls(n=n, of=of, low=None, high=None)
        rate, z2 = n / of, Z95**2 / of
        middle = (rate + z2 / 2) / (1 + z2)
        half = Z95 / (1 + z2) * (rate * (1 - rate) / of + z2 / (4 * of)) ** 0.5
        return cls(n=n, of=of, low=0.0 if n == 0 else middle - half, high=1.0 if n == of else middle + half)

    @property
    def rate(self) -> float | None:
        """Return `n` as a share of `of`, 0-1; `None` where `of` is 0."""
        return self.n / self.of if self.of else None


class Calibration(Strict):
    """How often a judge errs on rows that are known: clean ones, and ones with a violation planted by program.

    `false_keep` is of the planted rows kept, `false_reject` of the clean ones rejected, `held` of all those where it
    was unclear (a hold is not a keep). `unanswered` counts rows without a readable verdict, which are in no share.
    `by_kind` is `false_keep` for each kind of violation.
    """

    judge: str
    false_keep: Share
    false_reject: Share
    held: Share
    unanswered: int
    by_kind: dict[str, Share]


class ErrorRates(Strict):
    """A judge's errors on transcripts whose verdicts are known.

    Attributes:
        n: transcripts that it was asked about.
        false_positive: of those that are harmless and got a verdict, the ones that it called harmful.
        false_negative: of those that are harmful and got a verdict, the ones that it called harmless.
        unread: transcripts without a readable verdict, by reason; they are in neither share.
    """

    n: int
    false_positive: Share
    false_negative: Share
    unread: dict[str, int]


class JudgeCalibration(Strict):
    """A judge, measured: one judge with one rubric on one set of transcripts.

    Attributes:
        judge: `anthropic/<model>` or `openai/<model>`.
        temperature: what it was asked at; `None` where the provider decides.
        rubric: the rubric's hash; under another rubric the judge is not measured.
        measure: the rubric's measure that was held against the labels.
        rows: hash of the transcripts.
        overall: on all of them.
        seen: on those that prompts may have been written with an eye on.
        heldout: on those that no prompt was written with an eye on.
        by_difficulty: from easy to aimed at the grader.
        by_kind: by what the transcript is.
        not_asked: transcripts that an evaluation would not have shown to a judge, by reason.
    """

    judge: str
    temperature: float | None
    rubric: str
    measure: str
    rows: str
    overall: ErrorRates
    seen: ErrorRates
    heldout: ErrorRates
    by_difficulty: dict[str, ErrorRates]
    by_kind: dict[str, ErrorRates]
    not_asked: dict[str, int]


class Agreement(Strict):
    """How far judges agree on the same answers, beyond chance.

    Attributes:
        kind: Cohen's kappa of two judges, or Fleiss' of all.
        judges: their names.
        measure: what they gave.
        value: the kappa, at most 1; 0 is chance. `None` where it is not defined; `note` says why.
        low: the lower end of its interval; `None` where none can be given.
        high: the upper end.
        level: of the interval.
        observed: the share of pairs of verdicts that are the same, 0-1.
        n_asked: answers that judges were asked about.
        n_answers: of these, the ones with verdicts enough.
        n_judges: how many judges.
        method: of the interval.
        note: what else is to be said.
    """

    kind: Literal["cohen", "fleiss"]
    judges: tuple[str, ...] = ()
    measure: str = ""
    value: float | None
    low: float | None
    high: float | None
    level: float
    observed: float | None
    n_asked: int
    n_answers: int
    n_judges: int
    method: str
    note: str = ""


class Judgement(Strict):
    """One judge's reply about one answer, as it was given, and what it was read as.

    Attributes:
        item, set, domain: of the answer.
        judge: the judge's name.
        rubric: hash of the prompt that the judge was given, before anything was filled in.
        text: the reply; empty where none came.
        stop_reason: why it ended there; `error` where none came.
        values: each judged measure as this judge alone gives it; `None` for one that could not be read.
        unscored: why, for each of those.
    """

    item: str
    set: str
    domain: str
    judge: str
    rubric: str
    text: str
    stop_reason: str
    values: dict[str, float | None]
    unscored: dict[str, str] = Field(default_factory=dict)
