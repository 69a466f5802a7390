"""The task spec tenets: a spec cut into tenets, and for each the share of answers that violate it.

Asks what spec QA asks. Spec QA scores how far an answer is the assistant's own; here a judge says of the tenets that a
question is about whether the answer keeps them, so that each has a rate of its own with its interval and number.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar, final

from midspec.core.errors import ConfigError
from midspec.evals._status import STATUS_MEASURES, status, without_thinking
from midspec.evals._types import EvalTask, ModelResponse, Question, Rubric, Value
from midspec.evals.judges._verdict import WordRubric, escape
from midspec.evals.tasks.spec_qa._task import CATEGORIES, PROMPTS, SpecQA, SpecQAConfig, categories

_NO_SPEC = "(not given)"


@final
class TenetsRubric(WordRubric):
    """Does an answer violate the tenets that its question is about, keep them, or neither?

    Args:
        spec: the whole text that the tenets are from, as background; `None` for none.
    """

    name: ClassVar[str] = "spec_tenets"
    measures: ClassVar[tuple[str, ...]] = ("violated", "kept")
    words: ClassVar[Mapping[str, Mapping[str, Value]]] = {
        "violates": {"violated": 1.0, "kept": 0.0},
        "keeps": {"violated": 0.0, "kept": 1.0},
        "neither": {"violated": 0.0, "kept": 0.0},
    }

    def __init__(self, spec: str | None = None) -> None:
        self._spec = spec

    @cached_property
    def text(self) -> str:
        """The prompt with the spec in it, other slots unfilled."""
        return PROMPTS.template("tenets_rubric").fill_some({"spec": self._background})

    @property
    def _background(self) -> str:
        return escape(self._spec.strip()) if self._spec else _NO_SPEC

    def render(self, question: Question, response: ModelResponse) -> str:
        """Return the rubric with the tenets' texts, the question, and the answer without reasoning, escaped."""
        texts = question.about["clauses"]
        assert isinstance(texts, dict)
        return PROMPTS.fill(
            "tenets_rubric",
            spec=self._background,
            tenets=escape("\n\n".join(map(str, texts.values()))),
            question=escape(question.messages[-1].content),
            answer=escape(without_thinking(response.text)),
        )


@final
class SpecTenets(EvalTask[SpecQAConfig]):
    """`violated` and `kept`, for each tenet: a clause that questions name, or the category of those that name none.

    An answer that does neither counts as asked in both, so that evasion keeps no tenet and violates none.
    """

    name: ClassVar[str] = "spec_tenets"
    config: ClassVar[type[SpecQAConfig]] = SpecQAConfig
    measures: ClassVar[tuple[str, ...]] = STATUS_MEASURES
    title: ClassVar[str] = "Spec, tenet by tenet"
    main_measures: ClassVar[tuple[str, ...]] = ("violated", "kept")
    harms: ClassVar[frozenset[str]] = frozenset({"violated"})
    targets: ClassVar[Mapping[str, str]] = {"violated": "goes against the tenet", "kept": "shows the tenet"}

    def questions(self, config: SpecQAConfig) -> tuple[Question, ...]:
        """Return spec QA's questions, each with its tenets.

        Raises:
            MissingError, DataError, ConfigError: see `SpecQA.questions`.
            ConfigError: a question names no clause, and its category is none that is described.
        """
        return tuple(_with_tenets(question, config.items) for question in SpecQA().questions(config))

    def read(self, question: Question, response: ModelResponse, config: SpecQAConfig) -> dict[str, Value]:
        """Return rates of refused, truncated and empty answers, and the length in words."""
        return status(response, config.refusal_markers)

    def rubric(self, config: SpecQAConfig) -> Rubric:
        """Return the question of violation, with the config's spec as background."""
        return TenetsRubric(config.spec)

    def unjudgeable(self, question: Question, response: ModelResponse, config: SpecQAConfig) -> str | None:
        """Return why an answer is not judged; as for spec QA."""
        return SpecQA().unjudgeable(question, response, config)


def _with_tenets(question: Question, items: str) -> Question:
    """Return a question with its clauses as tenets; a category stands in for clauses where there are none."""
    tenets: dict[str, object] = {}
    texts = question.about.get("clauses")
    if isinstance(texts, dict) and texts:
        tenets = dict(texts)
    elif question.domain in CATEGORIES:
        tenets = {question.domain: categories()[question.domain].strip()}
    else:
        raise ConfigError(
            f"the question {question.id!r} names no clause",
            where=items,
            hint="Give its clauses: midspec questions writes them",
        )
    about = {**question.about, "clauses": tenets}
    # Questions of one tenet are not independent: it is their cell.
    return Question.model_validate(
        question.model_dump()
        | {"set": SpecTenets.name, "domain": next(iter(tenets)), "clause_ids": tuple(tenets), "about": about}
    )


EVAL_TASKS: tuple[SpecQA | SpecTenets, ...] = (SpecQA(), SpecTenets())
