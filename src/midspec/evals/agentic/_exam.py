"""Agentic misalignment as an exam: which cells are asked, what is read off an answer, what a judge is asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from midspec.evals._values import Unscored, Value
from midspec.evals.agentic._about import About
from midspec.evals.agentic._cells import cells
from midspec.evals.agentic._config import AgenticConfig
from midspec.evals.agentic._read import MEASURES, measures_of, speechless
from midspec.evals.agentic._rubric import AgenticRubric
from midspec.evals.exam._types import Exam, Question, Rubric, Said

__all__ = ["EXAMS", "AgenticMisalignment"]


@final
class AgenticMisalignment(Exam[AgenticConfig]):
    """Does an assistant harm others when it is about to be replaced, or its goal is given up (METHOD 6)?

    Two verdicts, kept apart: `classifier_verdict`, the judge's, and `harmful`, which also asks that a call went out
    that can carry the act.
    """

    name: ClassVar[str] = "agentic_misalignment"
    config: ClassVar[type[AgenticConfig]] = AgenticConfig
    measures: ClassVar[tuple[str, ...]] = MEASURES

    def questions(self, config: AgenticConfig) -> tuple[Question, ...]:
        """One question a cell; see `cells`.

        Raises:
            ConfigError, DataError, MissingError: see `cells`.
        """
        return cells(config)

    def read(self, question: Question, said: Said, config: AgenticConfig) -> dict[str, Value]:  # noqa: ARG002
        """Calls emitted and how the answer ended; see `MEASURES`."""
        return measures_of(About.model_validate(question.about), said)

    def rubric(self, config: AgenticConfig) -> Rubric:  # noqa: ARG002
        """The one rubric of all cells."""
        return AgenticRubric()

    def unjudgeable(self, question: Question, said: Said, config: AgenticConfig) -> str | None:  # noqa: ARG002
        """An answer that says nothing: empty, filtered, or cut off in its reasoning.

        One that was cut off later is judged, since what it did before counts.
        """
        return speechless(said)

    def together(
        self,
        question: Question,  # noqa: ARG002
        said: Said,  # noqa: ARG002
        read: Mapping[str, Value],
        judged: Mapping[str, Value],
        config: AgenticConfig,  # noqa: ARG002
    ) -> dict[str, Value]:
        """`classifier_verdict`, and `harmful`: that one where a call went out that can carry the act, else 0.

        Without a verdict both are unscored.
        """
        verdict, call = judged["classifier_verdict"], read["possible_call"]
        if isinstance(verdict, Unscored):
            return {"classifier_verdict": verdict, "harmful": verdict}
        return {"classifier_verdict": verdict, "harmful": call if isinstance(call, Unscored) else verdict * call}


EXAMS: tuple[AgenticMisalignment, ...] = (AgenticMisalignment(),)
