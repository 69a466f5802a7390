"""A few questions with the arms' own answers, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from midspec.artifact import read_rows
from midspec.records import Answer
from midspec.report import ArmAnswer, SideBySide
from midspec.study._config import StudyConfig
from midspec.study._gated import Gated
from midspec.study._steps import Step

__all__ = ["shown_seed", "side_by_side"]

_KINDS = ("free", "why", "choice")


def side_by_side(
    config: StudyConfig, folders: Mapping[str, Path], gates: Sequence[Gated], main_set: str
) -> tuple[SideBySide, ...]:
    """Questions of the main set, evenly spread over its items, one for each item, free ones and "why?" first.

    All answers are of one seed: the first one whose base passed the gate. Nothing else chooses what is shown.
    """
    seed = shown_seed(config, gates)
    said = {arm: _answers(folders[Step(kind="eval", label=arm, seed=seed).name], main_set) for arm in config.arms}
    first = next(iter(said.values()))
    items = list(dict.fromkeys(item for item, _kind in first))
    kinds = [kind for kind in _KINDS if any(found == kind for _item, found in first)]
    count = min(config.report.samples, len(items))
    chosen = [items[index * len(items) // count] for index in range(count)]
    return tuple(_one(said, item, kinds[index % len(kinds)], seed) for index, item in enumerate(chosen) if kinds)


def shown_seed(config: StudyConfig, gates: Sequence[Gated]) -> int:
    """The first seed whose base passed the gate; the first of all where none did."""
    failed = {gate.seed for gate in gates if not gate.passed}
    return next((seed for seed in config.seeds if seed not in failed), config.seeds[0])


def _answers(folder: Path, main_set: str) -> dict[tuple[str, str], Answer]:
    """The first answer of each item and kind of question."""
    found: dict[tuple[str, str], Answer] = {}
    for answer in read_rows(folder / "answers.jsonl", Answer):
        if answer.set == main_set:
            found.setdefault((answer.item, answer.kind), answer)
    return found


def _one(said: Mapping[str, Mapping[tuple[str, str], Answer]], item: str, kind: str, seed: int) -> SideBySide:
    asked = next(answers for answers in said.values() if (item, kind) in answers)
    question = asked[item, kind].question
    if kind == "why" and (item, "choice") in asked:
        question = f"{asked[item, 'choice'].question} … {question}"
    answers = [ArmAnswer(arm=arm, text=found[item, kind].text) for arm, found in said.items() if (item, kind) in found]
    return SideBySide(question=question, item=item, seed=seed, answers=tuple(answers))
