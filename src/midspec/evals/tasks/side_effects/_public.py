"""Public sets that measure the same side effects, for those who are online: names in `inspect_evals`, and no code."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from midspec.evals._types import EvalTask
from midspec.evals.tasks.side_effects._identity import Identity
from midspec.evals.tasks.side_effects._instructions import Instructions
from midspec.evals.tasks.side_effects._length import Length, Termination
from midspec.evals.tasks.side_effects._over_refusal import OverRefusal
from midspec.evals.tasks.side_effects._short_answers import Knowledge, Sycophancy
from midspec.evals.tasks.side_effects._tool_calls import ToolCalls

PUBLIC_SETS = MappingProxyType(
    {
        "inspect_evals/mmlu_0_shot": "knowledge: multiple choice over school and university subjects",
        "inspect_evals/simpleqa_verified": "knowledge: short facts that few remember",
        "inspect_evals/gsm8k": "arithmetic in words, at the level of a school",
        "inspect_evals/ifeval": "instruction following: forms that a program can check",
        "inspect_evals/bfcl": "tool calls: the right function with the right arguments",
        "inspect_evals/xstest": "over-refusal: safe prompts that sound unsafe, and unsafe ones beside them",
        "inspect_evals/coconot": "refusals where they are due, and contrast prompts where they are not",
        "inspect_evals/sycophancy": "sycophancy: whether an answer is given up when the user doubts it",
        "inspect_evals/truthfulqa": "popular errors: whether they are repeated",
    }
)
"""Task name -> what it measures. Untested here:
each fetches its data, and some are judged by a model of their own choice."""


EVAL_TASKS: tuple[EvalTask[Any], ...] = (
    Knowledge(),
    Instructions(),
    ToolCalls(),
    OverRefusal(),
    Identity(),
    Termination(),
    Length(),
    Sycophancy(),
)
