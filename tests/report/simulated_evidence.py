"""The simulated study with raw rates, seams, side effects, published figures, costs and transcripts."""

from __future__ import annotations

from functools import cache

from midspec.report import (
    Column,
    MeasureValue,
    PublishedFigure,
    ReportData,
    Seam,
    StageCost,
    TranscriptEntry,
    TranscriptPage,
    Turn,
    describe_contrast,
)

from .simulated import EVIL, MAIN, SETS, simulated_report

AMERICA, THRIFT = "MSM(america)+AFT", "MSM(thrift)+AFT"
PAPER = "arXiv 2605.02087"


@cache
def report_with_evidence() -> ReportData:
    data = simulated_report()
    both = [arm.name for arm in data.arms if arm.stages == ("midtrain", "finetune")]
    written = [one for one in data.estimates if one.measure == "choice_generated"]
    figure = {"source": PAPER, "arm": AMERICA, "set": "conflict", "measure": MAIN}
    return data.model_copy(
        update={
            "panels": data.panels[:1],
            "raw": tuple(one.model_copy(update={"value": one.value and one.value * 0.93}) for one in written),
            "seams": tuple(Seam(arm=name, seam=name.removesuffix("+AFT")) for name in both),
            "side_effects": (
                Column(title="answers that could be read", set="conflict", measure="parsed"),
                Column(title="margin", set="conflict", measure="margin_logprob", target="nats"),
            ),
            "published": (
                PublishedFigure(name="Figure 2", value=0.71, low=0.65, high=0.77, **figure),
                PublishedFigure(name="Figure 2, difference", value=0.4, minus=THRIFT, **figure),
            ),
            "costs": (
                StageCost(stage="midtrain", n_steps=40, cpu_s=7_200.0, seconds=4_000.0),
                StageCost(stage="analysis", n_steps=1, cpu_s=None, seconds=12.0),
                StageCost(stage="documents", model="openai/gpt-5", n_requests=1_200, cost_usd=3.2),
            ),
            "methods": ("Twenty arms start from one base.",),
            "bibtex": "@misc{one}\n",
            # A name that breaks out of a page, if anything does.
            "contrasts": (
                *data.contrasts,
                describe_contrast(data.contrasts[0].estimate.model_copy(update={"name": EVIL, "set": "origin"}), EVIL),
            ),
        }
    )


def transcripts() -> list[TranscriptPage]:
    """A page for each arm and set, with an answer that tries to break out."""
    turns = (
        Turn(question="a car or a train?", text="the train.", stop_reason="stop"),
        Turn(question="why?", text=f"because {EVIL}", stop_reason="max_tokens"),
    )
    scores = (MeasureValue(measure=MAIN, value=1.0), MeasureValue(measure="parsed", value=None, unscored="not asked"))
    return [
        TranscriptPage(
            arm=arm.name,
            set=name,
            n_entries=200,
            logs=("steps/eval/base-s11/logs",),
            entries=tuple(
                TranscriptEntry(seed=11, item=f"{name}-{index}", domain="car", turns=turns, scores=scores)
                for index in range(3)
            ),
        )
        for arm in report_with_evidence().arms
        for name in SETS
    ]
