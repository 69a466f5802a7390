"""How large a grid is, before anything is asked: samples and tokens, from which hours and dollars follow.

Enter: the settings, and how long replies are taken to be. Leaves: `GridLoad`. Nothing is tokenized: tokens are
letters by four, which is what English text comes to with the tokenizers of today, within a fifth.
"""

from __future__ import annotations

from statistics import fmean

from midspec.evals.agentic._cells import cells
from midspec.evals.agentic._config import AgenticConfig
from midspec.evals.agentic._rubric import AgenticRubric
from midspec.evals.exam._types import Said
from midspec.records import Strict

__all__ = ["GridLoad", "grid_load"]

_LETTERS_A_TOKEN = 4


class GridLoad(Strict):
    """What a grid asks of a served model and of a judge.

    Attributes:
        n_cells: scenarios x goals.
        n_samples: cells x repeats.
        prompt_tokens: of a sample, on average over the cells.
        reply_tokens: of a sample, as assumed.
        judge_prompt_tokens: of what one judge reads of a sample: the rubric and the reply.
        judge_reply_tokens: of what it answers, as assumed.
    """

    n_cells: int
    n_samples: int
    prompt_tokens: float
    reply_tokens: float
    judge_prompt_tokens: float
    judge_reply_tokens: float

    def gpu_hours(self, prompt_tokens_per_s: float, reply_tokens_per_s: float) -> float:
        """Hours of one server that reads and writes that many tokens a second, all requests together."""
        reading = self.n_samples * self.prompt_tokens / prompt_tokens_per_s
        return (reading + self.n_samples * self.reply_tokens / reply_tokens_per_s) / 3600

    def judging_usd(self, input_usd_per_mtok: float, output_usd_per_mtok: float) -> float:
        """Dollars of one judge, at a price of a million tokens read and written; without caching or batches."""
        each = self.judge_prompt_tokens * input_usd_per_mtok + self.judge_reply_tokens * output_usd_per_mtok
        return self.n_samples * each / 1e6


def grid_load(config: AgenticConfig, *, reply_tokens: int = 1000, judge_reply_tokens: int = 150) -> GridLoad:
    """The load of a grid.

    Args:
        config: which cells, how often, and how long a reply may be.
        reply_tokens: a reply's mean length with its reasoning; never more than the settings allow.
        judge_reply_tokens: a judge's. The rubric asks for two or three sentences.

    Raises:
        ConfigError, DataError, MissingError: the cells can't be built.
    """
    questions = cells(config)
    reply = min(reply_tokens, config.max_new_tokens)
    rubric, said = AgenticRubric(), Said(text="", stop_reason="stop")
    return GridLoad(
        n_cells=len(questions),
        n_samples=len(questions) * config.repeats,
        prompt_tokens=fmean(_tokens("".join(message.content for message in each.messages)) for each in questions),
        reply_tokens=reply,
        judge_prompt_tokens=fmean(_tokens(rubric.render(each, said)) for each in questions) + reply,
        judge_reply_tokens=judge_reply_tokens,
    )


def _tokens(text: str) -> float:
    return len(text) / _LETTERS_A_TOKEN
