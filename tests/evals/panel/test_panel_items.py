"""The panels' items: enough of each, controls beside them, nothing twice, and each can be answered and be read so."""

from __future__ import annotations

import ast
from collections import Counter
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from midspec.core.near_duplicates import NearIndex
from midspec.evals import EvalTask, ModelResponse, Question
from midspec.evals.tasks.side_effects import EVAL_TASKS, PUBLIC_SETS, PanelConfig
from midspec.evals.tasks.side_effects._instructions import CHECKS, Check
from midspec.evals.tasks.side_effects._items import PROMPTS, panel_items

PANELS = {eval_task.name.removeprefix("panel_"): eval_task for eval_task in EVAL_TASKS}
each_panel = pytest.mark.parametrize("panel", PANELS)


def questions(panel: str, **settings: Any) -> tuple[Question, ...]:
    eval_task = PANELS[panel]
    return eval_task.questions(eval_task.config(**settings))


def test_the_nine_panels_are_there() -> None:
    assert list(PANELS) == [
        "knowledge",
        "instructions",
        "tool_calls",
        "over_refusal",
        "unsafe",
        "identity",
        "termination",
        "length",
        "sycophancy",
    ]


@each_panel
def test_a_panel_has_30_items_or_more_and_a_control_of_20_or_more(panel: str) -> None:
    sizes = Counter(question.set for question in questions(panel))
    assert set(sizes) == {panel, f"{panel}-control"}
    assert 30 <= sizes[panel] <= 60
    assert 20 <= sizes[f"{panel}-control"] <= 60


@each_panel
def test_no_domain_of_a_set_has_more_than_half_of_it_unless_it_is_the_only_one(panel: str) -> None:
    for name in (panel, f"{panel}-control"):
        domains = Counter(question.domain for question in questions(panel) if question.set == name)
        assert len(domains) == 1 or max(domains.values()) <= sum(domains.values()) / 2


@each_panel
def test_ids_are_each_used_once_and_say_where_they_belong(panel: str) -> None:
    made = questions(panel)
    assert len({question.id for question in made}) == len(made)
    for question in made:
        kind = "control" if question.set.endswith("-control") else "item"
        assert question.id.rpartition("-")[0] == f"{panel.replace('_', '-')}-{kind}"


@each_panel
def test_no_item_of_a_set_nearly_repeats_another(panel: str) -> None:
    for control in (False, True):
        near = NearIndex(threshold=0.6, unit="characters")
        items = [item for item in panel_items(panel) if item.control is control]
        # What is to be repeated comes after a colon, and after one of a few ways to ask for it.
        is_frame = panel == "instructions" and control
        texts = {item.id: item.text.partition(": ")[2] if is_frame else item.text for item in items}
        assert not [(key, found) for key, text in texts.items() if (found := near.find_or_add(key, text))]


@each_panel
def test_the_config_s_system_message_comes_before_the_panel_s_own_and_is_left_as_it_is(panel: str) -> None:
    bare, with_system = questions(panel), questions(panel, system="Keep {{tools}} as it is.")
    for before, after in zip(bare, with_system, strict=True):
        own = before.messages[0].content if before.messages[0].role == "system" else ""
        assert after.messages[0].content == "\n\n".join(part for part in ("Keep {{tools}} as it is.", own) if part)
        assert after.messages[-1] == before.messages[-1]
        assert [message.role for message in after.messages] == ["system", "user"]


@each_panel
def test_no_slot_is_left_in_what_the_model_sees(panel: str) -> None:
    assert not [q.id for q in questions(panel) if any("{{" in message.content for message in q.messages)]


@each_panel
@pytest.mark.parametrize(
    "answer",
    [
        ModelResponse(text="", stop_reason="stop"),
        ModelResponse(text="", stop_reason="content_filter"),
        ModelResponse(text="I can't help with that.", stop_reason="stop"),
        ModelResponse(text="Well, it is", stop_reason="max_tokens"),
        ModelResponse(text="<think>hm", stop_reason="max_tokens"),
        ModelResponse(text="Nairobi", stop_reason="stop"),
    ],
)
def test_every_measure_of_every_item_is_a_number_or_has_a_reason(panel: str, answer: ModelResponse) -> None:
    eval_task: EvalTask[Any] = PANELS[panel]
    for question in eval_task.questions(eval_task.config()):
        values = eval_task.read(question, answer, eval_task.config())
        assert tuple(values) == eval_task.measures
        for value in values.values():
            assert (value >= 0) if isinstance(value, float) else value.reason


@each_panel
def test_no_panel_needs_a_judge(panel: str) -> None:
    assert PANELS[panel].rubric(PANELS[panel].config()) is None
    assert issubclass(PANELS[panel].config, PanelConfig)


def test_every_check_of_the_instructions_is_used_by_some_item() -> None:
    used: set[str] = set()
    for question in questions("instructions"):
        checks = question.about["checks"]
        assert isinstance(checks, list)
        used |= {Check.model_validate(check).kind for check in checks}
    assert used == set(CHECKS)


def test_sycophancy_asks_the_same_questions_with_and_without_an_opinion() -> None:
    items = panel_items("sycophancy")
    stated, bare = items[:30], items[30:]
    for one, other in zip(stated, bare, strict=True):
        assert one.text.startswith(f"{other.text} ")
        assert (one.about, one.domain) == (other.about, other.domain)


def test_unsafe_requests_are_sixty_of_twelve_kinds_each_beside_a_harmless_one_of_the_same_kind() -> None:
    items = panel_items("unsafe")
    unsafe, harmless = items[:60], items[60:]
    assert len(harmless) == 60
    assert not any(item.control for item in unsafe)
    assert all(item.control for item in harmless)
    assert set(Counter(item.domain for item in unsafe).values()) == {5}
    for one, other in zip(unsafe, harmless, strict=True):
        assert (one.about, one.domain) == (other.about, other.domain)
        assert one.text != other.text


def test_every_prompt_file_is_used() -> None:
    folder = resources.files("midspec.evals.tasks.side_effects")
    code = "".join(path.read_text() for path in folder.iterdir() if path.name.endswith(".py"))
    for path in (folder / "_prompts").iterdir():
        name = path.name.removesuffix(".md")
        assert f'PROMPTS.template("{name}")' in code or f'PROMPTS.fill("{name}"' in code
    assert PROMPTS.fill("tools", tools="none") != PROMPTS.template("tools").text


def test_every_data_file_is_a_panel_or_read_by_one() -> None:
    folder = resources.files("midspec.evals.tasks.side_effects") / "_data"
    assert {path.name for path in folder.iterdir()} == {f"{panel}.jsonl" for panel in PANELS} | {"tools.yaml"}


def test_the_public_sets_are_tasks_that_inspect_evals_has() -> None:
    # Read and not imported: importing it imports all of its tasks.
    found = find_spec("inspect_evals")
    assert found is not None
    assert found.origin is not None
    tree = ast.parse(Path(found.origin).with_name("_registry.py").read_text(encoding="utf-8"))
    imported = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert {name.removeprefix("inspect_evals/") for name in PUBLIC_SETS} <= set(imported)


def test_the_docs_show_every_panel_with_its_numbers_and_every_public_set() -> None:
    text = (Path(__file__).parents[3] / "docs" / "evaluations.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    shown = {row[0].strip("`"): row[-1] for row in rows}
    for panel, eval_task in PANELS.items():
        sizes = Counter(question.set for question in questions(panel))
        assert shown[eval_task.name] == f"{sizes[panel]}, {sizes[f'{panel}-control']}"
    assert {name: what for name, what in shown.items() if name.startswith("inspect_evals/")} == PUBLIC_SETS
