"""Who writes rows (a language model by name, or the template author, which needs none), and what a stage costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from midspec.core.text import estimate_tokens
from midspec.llm import StageEstimate, check_model_name

# What records, rows and identities call the template author.
TEMPLATE_AUTHOR = "quoting"


def check_author_name(name: str, *, where: str = "") -> str:
    """Return `name` if it is the template author's or a model's.

    Raises:
        ConfigError: it is neither.
    """
    if name == TEMPLATE_AUTHOR:
        return name
    return check_model_name(name, where=where, role="author", others=("template",))


AuthorName = Annotated[
    str, AfterValidator(check_author_name), Field(json_schema_extra={"pattern": rf"^({TEMPLATE_AUTHOR}|[^/]+/.+)$"})
]


def read_author(given: Any, writing: Callable[[], object]) -> Any:
    """Put the values of a config where their aliases stand, and give a language model its settings."""
    if not isinstance(given, dict):
        return given
    given = dict(given)
    if "templates" in given and "frames" not in given:
        given["frames"] = given.pop("templates")
    if given.get("author") == "template":
        given["author"] = TEMPLATE_AUTHOR
    if given.get("author", TEMPLATE_AUTHOR) != TEMPLATE_AUTHOR and given.get("writing") is None:
        given["writing"] = writing()
    return given


def estimate_stage(
    stage: str, n_requests: int, output_tokens: float, *, prefix: str | float = "", prompt: str | float = ""
) -> StageEstimate:
    """Estimate one stage.

    Args:
        stage: the step of the method, as in `Request.stage`.
        n_requests: how many requests, if every reply is good.
        output_tokens: mean tokens of a reply, reasoning included.
        prefix: the part of the prompt that all requests share: its text, or its tokens.
        prompt: the rest of a typical prompt: its text, or its tokens.
    """

    def tokens(part: str | float) -> int:
        return estimate_tokens(part) if isinstance(part, str) else round(part)

    return StageEstimate(
        stage=stage,
        n_requests=n_requests,
        prefix_tokens=tokens(prefix),
        prompt_tokens=tokens(prompt),
        output_tokens=max(1, round(output_tokens)),
    )
