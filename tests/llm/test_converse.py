"""The policy: each kind of failure is answered once, recorded, and never paid for again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midspec.core.errors import ConfigError
from midspec.llm import Outcome, ParsedReply, Request, ScriptedClient, Store, UnreadableReplyError, converse, parse_tags

Reply = str | Outcome
GOOD = "<document>Tea is a drink.</document>"
TRUNCATED = Outcome(kind="truncated", text="<document>Tea is", stop_reason="length")
REFUSED = Outcome(kind="refused", text="I can't.", stop_reason="refusal")
FILTERED = Outcome(kind="filtered", stop_reason="content_filter")
FAILED = Outcome(kind="failed", note="400 unknown field")
TIMED_OUT = Outcome(kind="timed_out")
FIRST = Request(task="t", stage="documents", prompt="Write of tea.", prefix="The spec.", max_tokens=100)


def read(text: str) -> str:
    return parse_tags(text, "document")[0]


def rephrased(request: Request) -> Request:
    return request.model_copy(update={"prompt": "Please write of tea, for a study.", "task": "another", "turn": 7})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "calls.sqlite") as opened:
        yield opened


def said(store: Store, *replies: Reply, **options: object) -> tuple[ParsedReply[str], list[Request]]:
    """What comes of a conversation with these replies in turn, and what was asked; a reply too few is an error."""
    left = iter(replies)
    client = ScriptedClient(lambda request: next(left), store=store)
    found = asyncio.run(converse(client, store, FIRST, read, **options))
    assert list(left) == []
    return found, client.asked


def replayed(store: Store, **options: object) -> ParsedReply[str]:
    """The same conversation by a process that may not ask anything."""

    def never(request: Request) -> str:
        raise ConfigError(f"asked again: {request}")

    client = ScriptedClient(never, store=store)
    with Store(store.path) as reopened:
        return asyncio.run(converse(client, reopened, FIRST, read, **options))


def test_a_good_reply_is_asked_for_once(store: Store) -> None:
    found, asked = said(store, GOOD)
    assert found.value == "Tea is a drink."
    assert asked == [FIRST]
    assert replayed(store) == found


def test_a_truncated_reply_is_asked_again_with_a_doubled_cap(store: Store) -> None:
    found, asked = said(store, TRUNCATED, TRUNCATED, GOOD)
    assert found.value == "Tea is a drink."
    assert [(request.turn, request.max_tokens) for request in asked] == [(0, 100), (1, 200), (2, 400)]
    assert {request.prompt for request in asked} == {FIRST.prompt}
    assert replayed(store) == found


def test_a_reply_that_is_truncated_at_the_highest_cap_is_recorded_as_that(store: Store) -> None:
    found, asked = said(store, *[TRUNCATED] * 4)
    assert found == ParsedReply(None, TRUNCATED)
    assert [request.max_tokens for request in asked] == [100, 200, 400, 800]
    assert replayed(store) == found


def test_the_highest_cap_can_be_given(store: Store) -> None:
    _, asked = said(store, TRUNCATED, TRUNCATED, cap_tokens=150)
    assert [request.max_tokens for request in asked] == [100, 150]


def test_a_document_that_was_cut_at_the_highest_cap_is_asked_again_when_that_is_raised(store: Store) -> None:
    said(store, TRUNCATED, TRUNCATED, cap_tokens=200)
    found, asked = said(store, GOOD, cap_tokens=400)
    assert found.value == "Tea is a drink."
    # What was cut at 100 and at 200 is not asked for again.
    assert [request.max_tokens for request in asked] == [400]


def test_a_refusal_is_rephrased_once_and_then_recorded(store: Store) -> None:
    found, asked = said(store, REFUSED, REFUSED, rephrase=rephrased)
    assert found == ParsedReply(None, REFUSED)
    assert [request.prompt for request in asked] == [FIRST.prompt, "Please write of tea, for a study."]
    # The task is the same: what was paid for it is found under its own name.
    assert [(request.task, request.turn) for request in asked] == [("t", 0), ("t", 1)]
    assert replayed(store, rephrase=rephrased) == found


def test_a_refusal_without_other_words_for_it_is_final(store: Store) -> None:
    found, asked = said(store, REFUSED)
    assert found == ParsedReply(None, REFUSED)
    assert len(asked) == 1


def test_a_rephrased_request_that_is_answered_gives_the_value(store: Store) -> None:
    found, _ = said(store, REFUSED, GOOD, rephrase=rephrased)
    assert found.value == "Tea is a drink."
    assert replayed(store, rephrase=rephrased) == found


def test_an_unreadable_reply_is_sent_back_once_with_what_was_wrong(store: Store) -> None:
    found, asked = said(store, "<document>Tea", GOOD)
    assert found.value == "Tea is a drink."
    reply, complaint = asked[1].turns
    assert (reply.role, reply.content) == ("assistant", "<document>Tea")
    assert complaint.role == "user"
    assert "</document> must be there exactly once; it is there 0 times" in complaint.content
    assert store.answer("t", 0).kind == "unparsable"
    assert replayed(store) == found


def test_a_reply_that_stays_unreadable_is_recorded_with_the_reason(store: Store) -> None:
    found, asked = said(store, "nothing", "nothing again")
    assert found.value is None
    assert found.outcome.kind == "unparsable"
    assert "exactly once" in found.outcome.note
    assert found.outcome.text == "nothing again"
    assert len(asked) == 2
    assert store.ledger()[0].kinds == {"unparsable": 2}
    assert replayed(store) == found


def test_an_empty_reply_is_repaired_without_an_empty_turn(store: Store) -> None:
    _, asked = said(store, "", GOOD)
    assert all(turn.content for turn in asked[1].turns)


def test_a_reply_with_a_nul_character_is_repaired_and_the_character_not_sent_back(store: Store) -> None:
    found, asked = said(store, GOOD.replace("drink", "dr\0ink"), GOOD)
    assert found.value == "Tea is a drink."
    assert "NUL" in asked[1].turns[1].content
    assert "\0" not in asked[1].turns[0].content
    assert replayed(store) == found


def test_a_repair_that_is_cut_gets_more_room_and_keeps_its_turns(store: Store) -> None:
    found, asked = said(store, "nothing", TRUNCATED, GOOD)
    assert found.value == "Tea is a drink."
    assert [(request.max_tokens, len(request.turns)) for request in asked] == [(100, 0), (100, 2), (200, 2)]
    assert replayed(store) == found


def test_room_that_was_needed_is_kept_when_a_request_is_rephrased(store: Store) -> None:
    _, asked = said(store, TRUNCATED, REFUSED, GOOD, rephrase=rephrased)
    assert [request.max_tokens for request in asked] == [100, 200, 200]


@pytest.mark.parametrize("outcome", [FILTERED, FAILED], ids=lambda outcome: outcome.kind)
def test_what_would_only_fail_again_is_final(store: Store, outcome: Outcome) -> None:
    found, _ = said(store, outcome, rephrase=rephrased)
    assert found == ParsedReply(None, outcome)
    assert replayed(store, rephrase=rephrased) == found


def test_a_failure_of_a_wrong_setting_is_not_held_against_a_right_one(store: Store) -> None:
    said(store, FAILED)
    client = ScriptedClient(lambda request: GOOD, store=store)
    mended = FIRST.model_copy(update={"max_tokens": 50})
    assert asyncio.run(converse(client, store, mended, read)).value == "Tea is a drink."
    assert asyncio.run(converse(client, store, mended, read)).value == "Tea is a drink."
    assert client.asked == [mended]


def test_a_deadline_ends_the_conversation_for_now_and_the_next_run_asks_again(store: Store) -> None:
    found, _ = said(store, TIMED_OUT)
    assert found == ParsedReply(None, TIMED_OUT)
    again, asked = said(store, GOOD)
    assert again.value == "Tea is a drink."
    assert asked == [FIRST]


def test_a_run_that_stopped_between_two_turns_goes_on_with_the_second(store: Store) -> None:
    said(store, REFUSED)
    found, asked = said(store, GOOD, rephrase=rephrased)
    assert found.value == "Tea is a drink."
    assert [request.turn for request in asked] == [1]


def test_a_better_reader_reads_what_is_on_record_and_asks_nothing(store: Store) -> None:
    said(store, "nothing", "nothing again")
    client = ScriptedClient(lambda request: GOOD, store=store)
    found = asyncio.run(converse(client, store, FIRST, str.upper))
    assert (found.value, found.outcome.kind) == ("NOTHING", "ok")
    assert client.asked == []
    assert store.final("t").text == "nothing"


def test_an_error_in_a_reader_that_is_not_about_the_reply_is_ours(store: Store) -> None:
    def broken(text: str) -> str:
        raise KeyError("a fault of ours")

    client = ScriptedClient(lambda request: GOOD, store=store)
    with pytest.raises(KeyError):
        asyncio.run(converse(client, store, FIRST, broken))
    assert store.answer("t", 0).kind == "ok"


REPLIES = st.lists(
    st.sampled_from([GOOD, "nothing", TRUNCATED, REFUSED, FILTERED, FAILED, TIMED_OUT]), min_size=8, max_size=8
)


@settings(max_examples=60)
@given(replies=REPLIES, may_rephrase=st.booleans(), cap_tokens=st.sampled_from([None, 100, 250]))
def test_whatever_the_replies_each_step_is_taken_once_and_a_replay_is_free(
    tmp_path_factory: pytest.TempPathFactory, replies: list[Reply], may_rephrase: bool, cap_tokens: int | None
) -> None:
    options = {"rephrase": rephrased if may_rephrase else None, "cap_tokens": cap_tokens}
    left = iter(replies)
    with Store(tmp_path_factory.mktemp("s") / "calls.sqlite") as store:
        client = ScriptedClient(lambda request: next(left), store=store)
        found = asyncio.run(converse(client, store, FIRST, read, **options))
        asked = client.asked
        assert (found.value is None) == (found.outcome.kind != "ok")
        assert [request.turn for request in asked] == list(range(len(asked)))
        assert {(request.task, request.stage) for request in asked} == {("t", "documents")}
        assert max(request.max_tokens for request in asked) <= (cap_tokens or 800)
        assert len({request.prompt for request in asked}) <= 1 + may_rephrase
        assert sum(len(request.turns) == 2 and not before.turns for before, request in pairwise(asked)) <= 1
        # No step repeats the one before it unchanged.
        assert all(_without_turn(before) != _without_turn(after) for before, after in pairwise(asked))
        if found.outcome.kind != "timed_out":
            assert replayed(store, **options) == found


def _without_turn(request: Request) -> Request:
    return request.model_copy(update={"turn": 0})


def test_many_conversations_share_a_store_and_none_takes_anothers_reply(store: Store) -> None:
    def script(request: Request) -> str:
        return f"<document>On {request.task}.</document>" if request.turn else "nothing"

    client = ScriptedClient(script, store=store)

    def one(task: str) -> Callable[[str], str]:
        return lambda text: text if f"On {task}." in text else _refuse(text)

    async def all_of_them() -> list[ParsedReply[str]]:
        tasks = [f"task {index}" for index in range(50)]
        requests = [FIRST.model_copy(update={"task": task}) for task in tasks]
        work = (converse(client, store, request, one(request.task)) for request in requests)
        return await asyncio.gather(*work)

    assert all(found.outcome.kind == "ok" for found in asyncio.run(all_of_them()))
    assert len(client.asked) == 100


def _refuse(text: str) -> str:
    raise UnreadableReplyError("another task's reply")
