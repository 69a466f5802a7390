"""What an analysis of reasons will ask, before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from midspec.evals.reasons._clusters import STAGE as CLUSTER_STAGE
from midspec.evals.reasons._extract import STAGE as EXTRACT_STAGE
from midspec.evals.reasons._label import STAGE as LABEL_STAGE
from midspec.evals.reasons._prompt_files import render, seeds, shown
from midspec.evals.reasons._types import ReasonsConfig, Transcript
from midspec.llm import StageLoad

__all__ = ["reasons_loads"]

_LETTERS_A_TOKEN = 4
_REASONS_EACH = 3
_REASON_TOKENS, _EXTRACTED_TOKENS, _ANSWER_TOKENS = 25, 70, 35
# Some clusters are new, some seeds are empty.
_N_CLUSTERS = len(seeds())


def reasons_loads(
    transcripts: Sequence[Transcript], config: ReasonsConfig, *, n_clusters: int = _N_CLUSTERS, is_first: bool = True
) -> list[StageLoad]:
    """What one judge will ask: an estimate, by 4 letters a token and 3 reasons a transcript, no two of them one.

    Args:
        transcripts: of all arms.
        config: see `ReasonsConfig`.
        n_clusters: how many clusters transcripts are judged by.
        is_first: whether it is the judge who also lists and sorts reasons.
    """
    asked = [each for each in transcripts if each.words]
    if not asked:
        return []
    prompt = round(fmean(len(shown(each)) for each in asked) / _LETTERS_A_TOKEN)
    found = []
    if is_first:
        n_lots = math.ceil(len(asked) * _REASONS_EACH / config.lot)
        sorting = config.lot * _REASON_TOKENS
        found.append(_load(EXTRACT_STAGE, len(asked), _tokens("extract"), prompt, _REASONS_EACH * _EXTRACTED_TOKENS))
        found.append(_load(CLUSTER_STAGE, n_lots, _tokens("propose") + n_clusters * 40, sorting, sorting // 3))
    if config.classify:
        n_parts = math.ceil(n_clusters / config.at_once)
        each_part = math.ceil(n_clusters / n_parts)
        prefix = _tokens("classify") + each_part * 40
        found.append(_load(LABEL_STAGE, len(asked) * n_parts, prefix, prompt, each_part * _ANSWER_TOKENS))
    return found


def _tokens(name: str) -> int:
    slots = {"known": "", "reasons": ""}
    return len(render(name, slots)) // _LETTERS_A_TOKEN


def _load(stage: str, n_requests: int, prefix: int, prompt: int, output: int) -> StageLoad:
    return StageLoad(
        stage=stage, n_requests=n_requests, prefix_tokens=prefix, prompt_tokens=prompt, output_tokens=output
    )
