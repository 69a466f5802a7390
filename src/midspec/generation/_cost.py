"""The size of a stage before anything is sent: texts in, the estimate that `midspec.llm.forecast` prices out."""

from __future__ import annotations

from midspec.core.text import estimate_tokens
from midspec.llm import StageEstimate


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
