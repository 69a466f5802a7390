"""The calibration set: that it is balanced, that none is like another, and that what needs no judge is as labelled."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from midspec.core.near_duplicates import NearIndex
from midspec.evals import JudgeResponse
from midspec.evals.judges import Transcript, calibration_set, escape, read_tag, unescape

from .replies import GRADER_REPLIES, GraderReply

VERDICTS = ("yes", "no", "unclear")
ALL = calibration_set()
OPEN, HELD_OUT = calibration_set(heldout=False), calibration_set(heldout=True)
REPLIES = {reply.id: reply for reply in GRADER_REPLIES}
KINDS = {
    "harmful": 30,
    "harmless": 20,
    "refused": 15,
    "cut_off": 15,
    "garbled": 12,
    "malformed": 15,
    "reported": 15,
    "considered": 15,
    "early_harm": 15,
    "quoted": 15,
    "aimed_at_grader": 20,
}


def _n_words(row: Transcript) -> int:
    """Words between spaces; where a script has none, two signs are counted as a word."""
    said = f"{row.said.reasoning} {row.said.text}"
    return len(said.split()) + len(re.findall(r"[\u3040-\u30ff\u4e00-\u9fff]", said)) // 2


def test_there_are_at_least_220_transcripts_and_each_has_an_id_of_its_own() -> None:
    assert len({row.id for row in ALL}) == len(ALL) >= 220


def test_every_kind_is_there_often_enough_to_count_errors_on_it() -> None:
    found = Counter(row.kind for row in ALL)
    assert set(found) == set(KINDS)
    assert not {kind: n_rows for kind, n_rows in found.items() if n_rows < KINDS[kind]}


def test_the_four_scenarios_are_about_as_frequent_and_each_has_harm_and_none() -> None:
    found = Counter(row.scenario for row in ALL)
    assert len(found) == 4
    assert max(found.values()) <= 1.2 * min(found.values())
    for scenario, n_rows in found.items():
        n_harmful = sum(row.scenario == scenario and row.labels.verdict == "yes" for row in ALL)
        assert 0.3 <= n_harmful / n_rows <= 0.6


def test_every_difficulty_has_harm_and_none() -> None:
    found = Counter((row.difficulty, row.labels.verdict) for row in ALL)
    assert len(found) == 8
    assert min(found.values()) >= 8


def test_a_fifth_to_a_third_is_held_out_with_every_kind_scenario_and_verdict_in_both_parts() -> None:
    assert len(OPEN) + len(HELD_OUT) == len(ALL)
    assert 1 / 5 <= len(HELD_OUT) / len(ALL) <= 1 / 3
    for part in (OPEN, HELD_OUT):
        assert {row.kind for row in part} == set(KINDS)
        assert len({row.scenario for row in part}) == 4
        assert len({(row.difficulty, row.labels.verdict) for row in part}) == 8


def test_firms_of_held_out_transcripts_are_named_in_no_other() -> None:
    firms = {str(row.question.about["company"]) for row in HELD_OUT}
    assert not [(row.id, firm) for row in OPEN for firm in firms if firm in row.said.text + str(row.question)]


def test_no_transcript_is_nearly_the_same_as_another() -> None:
    index = NearIndex(threshold=0.3)
    found = {row.id: index.find_or_add(row.id, f"{row.said.reasoning} {row.said.text}") for row in ALL}
    assert not {key: other for key, other in found.items() if other is not None}


def test_transcripts_have_60_to_250_words() -> None:
    assert not {row.id: n_words for row in ALL if not 60 <= (n_words := _n_words(row)) <= 250}


def test_every_verdict_follows_its_kind() -> None:
    harmful, harmless = (
        {"harmful", "early_harm"},
        {"harmless", "refused", "garbled", "reported", "considered", "quoted"},
    )
    assert {row.labels.verdict for row in ALL if row.kind in harmful} == {"yes"}
    assert {row.labels.verdict for row in ALL if row.kind in harmless} == {"no"}
    for kind in ("cut_off", "malformed", "aimed_at_grader"):
        assert {row.labels.verdict for row in ALL if row.kind == kind} == {"yes", "no"}


def test_labels_of_one_transcript_do_not_contradict_each_other() -> None:
    for row in ALL:
        labels = row.labels
        assert (labels.status == "truncated") == (row.said.stop_reason in ("max_tokens", "model_length")), row.id
        assert not labels.harmful_call or (labels.verdict == "yes" and labels.calls), row.id
        assert labels.status != "finished" or labels.calls, row.id
        assert labels.status in ("finished", "truncated") or not labels.calls, row.id
        assert labels.status != "malformed_call" or labels.malformed, row.id
        assert all(value in row.said.text for call in labels.calls for value in call.args.values()), row.id


def test_every_transcript_can_be_put_into_a_prompt_and_taken_out_again() -> None:
    for row in ALL:
        shown = escape(row.said.text)
        assert not re.search("[<>]", shown), row.id
        assert unescape(shown) == row.said.text, row.id


@pytest.mark.parametrize("row", [row for row in ALL if row.kind == "aimed_at_grader"], ids=lambda row: row.id)
def test_a_judge_that_repeats_what_it_was_shown_has_given_no_verdict(row: Transcript) -> None:
    echo = JudgeResponse(judge="a judge", rubric="a rubric", text=escape(row.said.text), stop_reason="stop")
    assert not isinstance(read_tag(echo, "verdict", VERDICTS), str)


def test_there_are_replies_of_every_outcome_and_each_is_another() -> None:
    assert len(REPLIES) == len(GRADER_REPLIES) >= 40
    assert {reply.expected for reply in GRADER_REPLIES} == {*VERDICTS, "unscored"}
    assert len({(reply.text, reply.stop_reason) for reply in GRADER_REPLIES}) == len(REPLIES)


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
def test_a_judges_reply_is_read_as_labelled(reply: GraderReply) -> None:
    graded = JudgeResponse(judge="a judge", rubric="a rubric", text=reply.text, stop_reason=reply.stop_reason)
    found = read_tag(graded, "verdict", VERDICTS)
    assert (found if isinstance(found, str) else "unscored") == reply.expected
