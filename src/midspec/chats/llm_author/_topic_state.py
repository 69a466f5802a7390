"""How far each topic is from its share of the chats, and what to do next for it; makes no requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from midspec.chats.llm_author.styles import Question, Topic
from midspec.llm import Outcome

# Before anything is judged, every answer is assumed to pass, with the weight of ten verdicts: what turns out to be
# missing is asked for later, while a surplus answer is paid for nothing.
_PRIOR_WEIGHT = 10
# Two lists in a row without one usable question: a third would be no better.
_MAX_EMPTY_LISTS = 2
# Tokens of one entry of a list, the JSON around it included, and of a verdict; for first caps and estimates.
ENTRY_TOKENS = {"topics": 60, "questions": 55, "verdicts": 120}


class PendingQuestion(NamedTuple):
    """A question that passed the checks and may be answered, and its id."""

    id: str
    question: Question


class PassRate:
    """The share of answered questions that end as chats, over all topics."""

    def __init__(self) -> None:
        self.n_kept = 0
        self.n_judged = 0

    @property
    def value(self) -> float:
        return (self.n_kept + _PRIOR_WEIGHT) / (self.n_judged + _PRIOR_WEIGHT)


class Steps(NamedTuple):
    """What to do next for a topic: questions to answer, whether to list more, and chats that it can't give."""

    start: tuple[PendingQuestion, ...] = ()
    wants_list: bool = False
    n_given_up: int = 0


@dataclass(eq=False)
class TopicState:
    """One topic and its counts.

    Attributes:
        number: its place among the topics.
        topic: what its questions are about.
        share: chats wanted from it at first.
        target: chats wanted from it now: more where other topics gave up some, fewer where it did.
        max_lists: lists of questions that may be asked for.
        shown: its questions so far, for the next list not to repeat.
        waiting: its questions that are not being answered yet.
        n_lists: lists asked for.
        n_empty_lists: lists in a row that gave no new question.
        n_running: questions being answered or judged.
        n_judged: questions that were kept or rejected.
        n_kept: chats.
        is_listing: whether a list is being written.
    """

    number: int
    topic: Topic
    share: int
    target: int
    max_lists: int
    shown: list[str] = field(default_factory=list)
    waiting: deque[PendingQuestion] = field(default_factory=deque)
    n_lists: int = 0
    n_empty_lists: int = 0
    n_running: int = 0
    n_judged: int = 0
    n_kept: int = 0
    is_listing: bool = False

    @property
    def is_open(self) -> bool:
        """Return whether more questions can come than wait already."""
        return self.is_listing or (self.n_lists < self.max_lists and self.n_empty_lists < _MAX_EMPTY_LISTS)

    def next_steps(self, overall: PassRate) -> Steps:
        """Return what to do now, and count it as begun.

        Enough is under way when the running answers, at the observed pass rate, are expected to fill the share.
        """
        rate = (self.n_kept + _PRIOR_WEIGHT * overall.value) / (self.n_judged + _PRIOR_WEIGHT)
        start: list[PendingQuestion] = []
        while self.waiting and self._is_short(rate):
            start.append(self.waiting.popleft())
            self.n_running += 1
        if self.is_listing or not self._is_short(rate):
            return Steps(tuple(start))
        if self.is_open:
            self._begin_list()
            return Steps(tuple(start), wants_list=True)
        n_given_up = max(0, self.target - self.n_kept - self.n_running)
        self.target -= n_given_up
        return Steps(tuple(start), n_given_up=n_given_up)

    def replay_steps(self, started: Container[str], n_lists: int) -> Steps:
        """Return what to do while an earlier run is replayed: what that run began, and nothing else."""
        start = [pending for pending in self.waiting if pending.id in started]
        self.waiting = deque(pending for pending in self.waiting if pending.id not in started)
        self.n_running += len(start)
        wants_list = not self.is_listing and self.n_lists < n_lists
        if wants_list:
            self._begin_list()
        return Steps(tuple(start), wants_list)

    @property
    def is_idle(self) -> bool:
        """Return whether nothing of it is under way."""
        return not self.is_listing and self.n_running == 0

    def _begin_list(self) -> None:
        self.is_listing = True
        self.n_lists += 1

    def _is_short(self, rate: float) -> bool:
        return self.n_kept + self.n_running * rate <= self.target - 0.5

    def end_list(self, fresh: list[PendingQuestion]) -> None:
        """Add the new questions of a list."""
        self.is_listing = False
        self.waiting.extend(fresh)
        self.n_empty_lists = 0 if fresh else self.n_empty_lists + 1


def shares(n_chats: int, n_topics: int) -> Iterator[int]:
    """Yield `n_chats` over `n_topics`, as evenly as can be, the larger shares first."""
    for at in range(n_topics):
        yield n_chats // n_topics + (at < n_chats % n_topics)


def reason_of(outcome: Outcome) -> str:
    """Return in words why there is no value: the kind of the outcome, and its note."""
    note = " ".join((outcome.note or outcome.stop_reason).split())
    return f"{outcome.kind.replace('_', ' ')}: {note}" if note else outcome.kind.replace("_", " ")
