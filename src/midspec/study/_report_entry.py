"""What a study file says under `report`: what is shown beside the numbers, and figures that others published."""

from __future__ import annotations

from pydantic import ConfigDict, Field, model_validator

from midspec.core.records import Strict


class PanelEntry(Strict):
    """One panel of the report's main picture; all arms by default."""

    title: str
    set: str
    measure: str = "choice_logprob"
    arms: tuple[str, ...] = ()
    reference: float | None = 0.5


class CaveatEntry(Strict):
    """A sceptical question and its answer."""

    question: str
    answer: str


class SetEntry(Strict):
    """The title of a set of items; `target` is what a rate of 1 means."""

    title: str
    target: str = ""


class PublishedEntry(Strict):
    """A figure that somebody published, shown beside ours: a rate of `arm`, or with `minus` its contrast.

    Attributes:
        name: of the figure or table, as "Figure 3, left".
        arm: of this study, that it stands beside.
        minus: the other arm, where it is a contrast.
        set: of items; the main one by default.
        measure: the main one by default.
        value: in the measure's own units: shares from 0 to 1 (0.68, not 68).
        low: of its interval, where one was published.
        high: of its interval.
        source: where it was published.
        note: how theirs differs from ours.
    """

    name: str
    arm: str
    minus: str = ""
    set: str = ""
    measure: str = ""
    value: float
    low: float | None = None
    high: float | None = None
    source: str
    note: str = ""

    @model_validator(mode="after")
    def _interval_holds_it(self) -> PublishedEntry:
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has both `low` and `high`")
        if self.low is not None and self.high is not None and not self.low <= self.value <= self.high:
            raise ValueError(f"the value {self.value:g} is not between {self.low:g} and {self.high:g}")
        return self


class SavingEntry(Strict):
    """Arms by their number of fine-tuning chats, without and with a treatment: how many times fewer does it need?

    Attributes:
        name: of the treatment.
        set: of items.
        measure: the rate.
        without: arms by number of chats; 0 is shown beside, and not used.
        treated: the same with the treatment; a study file calls it `with`.
    """

    model_config = ConfigDict(validate_by_alias=True, validate_by_name=True)

    name: str
    set: str
    measure: str = "choice_logprob"
    without: dict[int, str] = Field(min_length=2)
    treated: dict[int, str] = Field(min_length=2, alias="with")

    @model_validator(mode="after")
    def _same_numbers(self) -> SavingEntry:
        if min(*self.without, *self.treated) < 0:
            raise ValueError("a number of chats is not negative")
        if len({n for n in self.without if n in self.treated and n > 0}) < 2:
            raise ValueError("`without` and `with` need two numbers of chats in common")
        return self


class ReportEntry(Strict):
    """What the report shows beside its numbers. The first panel's set and measure are the main ones by default.

    `transcripts` are the most items of each page of transcripts (0: no pages), `published` are figures of others, and
    `savings` are factors by which arms need fewer chats.
    """

    main_set: str = ""
    main_measure: str = ""
    main_contrasts: tuple[str, ...] = ()
    sets: dict[str, SetEntry] = Field(default_factory=dict)
    panels: tuple[PanelEntry, ...] = ()
    samples: int = Field(default=4, ge=0)
    transcripts: int = Field(default=40, ge=0)
    published: tuple[PublishedEntry, ...] = ()
    savings: tuple[SavingEntry, ...] = ()
    caveats: tuple[CaveatEntry, ...] = ()
    deviations: tuple[str, ...] = ()
    seed_kind: str = ""
    level: float = Field(default=0.95, gt=0, lt=1)
