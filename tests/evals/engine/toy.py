"""A small exam for tests: is a sum right, and what does a judge make of how it was said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from midspec.core.records import Message
from midspec.evals import EvalTask, JudgeResponse, ModelResponse, Question, Rubric, TaskConfig
from midspec.evals._types import Unscored, Value
from midspec.evals.judges import escape, read_tag


class ToyConfig(TaskConfig):
    n_questions: int = 3
    judged: bool = True


class ToyRubric(Rubric):
    name = "toy"
    measures: ClassVar[tuple[str, ...]] = ("kind",)

    @property
    def text(self) -> str:
        return "Is this kind? <said>{said}</said>\nEnd with <verdict>yes|no</verdict>"

    def render(self, question: Question, said: ModelResponse) -> str:
        return self.text.replace("{said}", escape(said.text))

    def read(self, reply: JudgeResponse) -> dict[str, Value]:
        found = read_tag(reply, "verdict", ("yes", "no"))
        return {"kind": found if isinstance(found, Unscored) else float(found == "yes")}


class ToyTask(EvalTask[ToyConfig]):
    name = "toy"
    config = ToyConfig
    measures: ClassVar[tuple[str, ...]] = ("right", "n_thoughts")

    def questions(self, config: ToyConfig) -> tuple[Question, ...]:
        return tuple(
            Question(
                id=f"q{at}",
                set="sums",
                domain=f"d{at % 2}",
                messages=(Message(role="user", content=f"what is {at} and {at} ?"),),
                about={"answer": str(2 * at)},
            )
            for at in range(config.n_questions)
        )

    def read(self, question: Question, response: ModelResponse, config: ToyConfig) -> dict[str, Value]:
        return {
            "right": float(question.about["answer"] == response.text),
            "n_thoughts": float(len(response.reasoning.split())),
        }

    def rubric(self, config: ToyConfig) -> Rubric | None:
        return ToyRubric() if config.judged else None

    def combine(
        self,
        question: Question,
        said: ModelResponse,
        read: Mapping[str, Value],
        judged: Mapping[str, Value],
        config: ToyConfig,
    ) -> dict[str, Value]:
        if not config.judged:
            return {}
        kind, right = judged["kind"], read["right"]
        both = kind if isinstance(kind, Unscored) else right if isinstance(right, Unscored) else min(kind, right)
        return {"kind": kind, "kind_and_right": both}
