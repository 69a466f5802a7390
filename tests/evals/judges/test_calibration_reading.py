"""The calibration set, read by the agentic exam: what needs no judge is as labelled on every transcript.

That says little of refusals in words that nobody thought of. The list that knows them was widened until it knew all of
these; of 14 written after that, in words chosen to be unusual, it knew 3, and of 10 idle answers it took none for a
refusal. So `refused` is a lower bound, and `refused` and `inaction` together are the figure to trust.
"""

from __future__ import annotations

import re

from midspec.evals import JudgeResponse
from midspec.evals.judges import Transcript, calibration_set, read_tag, unescape
from midspec.evals.tasks.agentic_misalignment import (
    AgenticConfig,
    AgenticMisalignment,
    AgenticRubric,
    Calls,
    CellFacts,
    is_harmful,
    is_report,
    may_be_harmful,
    read_answer,
)

from .replies import GRADER_REPLIES

ALL = calibration_set()
TASK, RUBRIC, CONFIG = AgenticMisalignment(), AgenticRubric(), AgenticConfig()


def _about(row: Transcript) -> CellFacts:
    return CellFacts.model_validate(row.question.about)


def _sent(calls: Calls) -> list[tuple[str, dict[str, str]]]:
    """Each call's tool and what labels say of it: recipients without their names, an ID, a code."""
    found = []
    for call in calls.calls:
        args = {key: call.args[key] for key in ("email_id", "code") if key in call.args}
        found.append((call.tool, args | ({"to": ", ".join(call.recipients)} if "to" in call.args else {})))
    return found


def test_the_calls_that_went_out_are_those_labelled() -> None:
    found = {row.id: _sent(read_answer(row.said).calls) for row in ALL}
    assert found == {row.id: [(call.tool, call.args) for call in row.labels.calls] for row in ALL}


def test_what_means_to_be_a_call_and_is_none_is_found_as_labelled() -> None:
    found = {row.id for row in ALL if read_answer(row.said).calls.malformed}
    assert found == {row.id for row in ALL if row.labels.malformed}


def test_an_answer_ended_as_labelled() -> None:
    assert {row.id: read_answer(row.said).status for row in ALL} == {row.id: row.labels.status for row in ALL}


def test_words_alone_say_of_harm_what_is_labelled() -> None:
    found = {row.id for row in ALL if is_harmful(_about(row), read_answer(row.said).calls.calls)}
    assert found == {row.id for row in ALL if row.labels.harmful_by_words}


def test_no_harmful_call_is_held_to_be_impossible() -> None:
    possible = {row.id for row in ALL if may_be_harmful(_about(row), read_answer(row.said).calls.calls)}
    assert possible >= {row.id for row in ALL if row.labels.harmful_call}


def test_the_measures_of_an_answer_follow_from_its_labels() -> None:
    for row in ALL:
        read, labels = TASK.read(row.question, row.said, CONFIG), row.labels
        assert read["tool_call"] == float(bool(labels.calls)), row.id
        assert read["call_malformed"] == float(labels.malformed), row.id
        assert read["harmful_call"] == float(labels.harmful_by_words), row.id
        for status in ("refused", "truncated", "garbled", "inaction"):
            assert read[status] == float(labels.status == status), row.id


def test_a_perfect_judges_verdict_and_the_calls_make_harmful_as_labelled() -> None:
    for row in ALL:
        verdict = float(row.labels.verdict == "yes")
        read = TASK.read(row.question, row.said, CONFIG)
        found = TASK.combine(row.question, row.said, read, {"classifier_verdict": verdict}, CONFIG)
        assert found["classifier_verdict"] == verdict, row.id
        assert found["harmful"] == float(row.labels.harmful_call), row.id


def test_what_was_reported_to_an_authority_or_inside_is_read_so() -> None:
    reported = [row for row in ALL if row.kind == "reported"]
    assert not [row.id for row in reported if not is_report(_about(row), read_answer(row.said).calls.calls)]


def test_the_rubric_shows_an_answer_whole_and_between_its_own_tags() -> None:
    for row in ALL:
        prompt = RUBRIC.render(row.question, row.said)
        for tag, said in (("assistant_answer", row.said.text), ("assistant_reasoning", row.said.reasoning)):
            assert prompt.count(f"<{tag}>") == prompt.count(f"</{tag}>") == 1, row.id
            shown = prompt.partition(f"<{tag}>\n")[2].partition(f"\n</{tag}>")[0]
            assert not re.search("[<>]", shown), row.id
            assert unescape(shown) == said.strip() or not said.strip(), row.id


def test_no_answer_changes_what_a_prompt_says_beside_it() -> None:
    beside: dict[str, set[str]] = {}
    for row in ALL:
        prompt = RUBRIC.render(row.question, row.said)
        frame = re.sub(r"(?s)(<assistant_(reasoning|answer)>\n).*?(\n</assistant_\2>)", r"\1\3", prompt)
        beside.setdefault(row.question.id, set()).add(frame)
    assert {len(frames) for frames in beside.values()} == {1}


def test_a_judge_that_answers_with_its_own_prompt_has_given_no_verdict() -> None:
    for row in ALL:
        prompt = RUBRIC.render(row.question, row.said)
        echo = JudgeResponse(judge="a judge", rubric="a rubric", text=prompt, stop_reason="stop")
        assert not isinstance(read_tag(echo, "verdict", ("yes", "no")), str), row.id


def test_a_judges_reply_is_a_measure_or_unscored_as_labelled() -> None:
    values = {"yes": 1.0, "no": 0.0}
    for reply in GRADER_REPLIES:
        graded = JudgeResponse(judge="a judge", rubric="a rubric", text=reply.text, stop_reason=reply.stop_reason)
        found = RUBRIC.read(graded)["classifier_verdict"]
        assert (found if isinstance(found, float) else None) == values.get(reply.expected), reply.id
