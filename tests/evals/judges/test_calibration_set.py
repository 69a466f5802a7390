"""The calibration set: that it is balanced, that none is like another, and that what needs no judge is as labelled."""

from __future__ import annotations

import pytest

from midspec.evals.exam import Graded
from midspec.evals.judges import read_tag
from midspec.evals.judges._calibration_set import GraderReply, calibration_set, grader_replies

REPLIES = {reply.id: reply for reply in grader_replies()}


def test_each_transcript_has_an_id_of_its_own() -> None:
    ids = [row.id for row in calibration_set()]
    assert len(set(ids)) == len(ids)


def test_held_out_and_open_transcripts_are_the_whole_set() -> None:
    both = {row.id for row in calibration_set(heldout=True)} ^ {row.id for row in calibration_set(heldout=False)}
    assert both == {row.id for row in calibration_set()}


def test_there_are_replies_of_every_outcome_and_each_is_another() -> None:
    assert len(REPLIES) == len(grader_replies()) >= 40
    assert {reply.expected for reply in grader_replies()} == {"yes", "no", "unclear", "unscored"}
    assert len({(reply.text, reply.stop_reason) for reply in grader_replies()}) == len(REPLIES)


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES.keys())
def test_a_judges_reply_is_read_as_labelled(reply: GraderReply) -> None:
    graded = Graded(judge="a judge", rubric="a rubric", text=reply.text, stop_reason=reply.stop_reason)
    found = read_tag(graded, "verdict", ("yes", "no", "unclear"))
    assert (found if isinstance(found, str) else "unscored") == reply.expected
