"""Replies that run on: what repeats itself and what does not, first caps, and how caps grow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midspec.llm import Outcome, ReplyCaps, Request, ScriptedClient, Store, Usage, converse
from midspec.llm._runaway import REPEATED, CapGrowth, marked, repeats_itself

ROOT = Path(__file__).parents[2]
# Endings as SmolLM2-135M wrote them, by their first lines.
LOOPS = [
    "A domain is that, " + "that is, " * 90,
    '{"assertions": [{"clause": 1, "assertion": "It says ' + "that there is that thing " * 40,
    '{"domains": [{"name": "Care", "passages": [' + '{"first": 1, "last": 1}, ' * 40,
    '{"domains": [' + "\n" * 700,
    "I'm happy to help. " * 60,
    "\u6211\u559c\u6b22\u8336\u3002" * 200,
]


@pytest.mark.parametrize("text", LOOPS, ids=range(len(LOOPS)))
def test_a_loop_is_told_from_its_end_and_before_it_has_filled_a_cap(text: str) -> None:
    assert repeats_itself(text)
    assert not repeats_itself(text[:300])


@pytest.mark.parametrize("stop_reason", ["length", REPEATED])
def test_json_that_is_whole_was_not_cut_by_the_white_space_behind_it(stop_reason: str) -> None:
    whole = Outcome(kind="truncated", text='{"domains": [{"name": "Care"}]}' + " \n" * 400, stop_reason=stop_reason)
    assert marked(whole).kind == "ok"
    for text in ('{"domains": [' + "\n" * 700, '{"domains": []}, {"' + " " * 700, '{"domains": []}', "]" + "\n" * 700):
        assert marked(whole.model_copy(update={"text": text})).kind == "truncated"


def test_no_document_page_code_or_table_of_this_project_is_taken_for_a_loop() -> None:
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/specs/*"), *ROOT.glob("src/**/*.py")]
    files += ROOT.glob("src/**/*.jsonl")
    n_ends = 0
    for file in files:
        text = file.read_text(encoding="utf-8")[:30_000]
        ends = range(600, len(text), 600)
        n_ends += len(ends)
        assert not [end for end in ends if repeats_itself(text[max(0, end - 10_000) : end])], file
    assert n_ends > 3000


WORDS = st.sampled_from(["tea", "coffee", "is", "of", "a", "the", "one", "says", "that", "it", "then", "who", "Ada"])


@settings(max_examples=40, deadline=None)
@given(passage=st.lists(WORDS, min_size=1, max_size=12).map(" ".join), before=st.text(max_size=50))
def test_any_short_passage_over_and_over_is_a_loop_whatever_came_before(passage: str, before: str) -> None:
    assert repeats_itself(before + f"{passage}. " * (3000 // (len(passage) + 2)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_entries_of_a_list_with_words_of_their_own_are_no_loop(seed: int) -> None:
    import random

    draw = random.Random(seed)
    words = (ROOT / "README.md").read_text(encoding="utf-8").split()
    entries = [{"name": " ".join(draw.choices(words, k=2)), "clause": n, "label": "behavior"} for n in range(60)]
    assert not repeats_itself(json.dumps({"entries": entries}))
    assert not repeats_itself(json.dumps({"entries": entries}, indent=4))


def test_runs_of_clauses_and_rows_of_numbers_are_no_loop() -> None:
    runs = [{"first": n, "last": n + 2} for n in range(1, 600, 4)]
    assert not repeats_itself(json.dumps({"domains": [{"name": "Care", "passages": runs}]}))
    assert not repeats_itself("".join(f"| {n} | {n * 37 % 101} | {n * 53 % 97}.{n % 10} |\n" for n in range(200)))


# Outcomes --------------------------------------------------------------------------------------------------------

CUT = Outcome(kind="truncated", text="Tea is a drink that", stop_reason="length", note="stopped for length")
LOOP = Outcome(kind="truncated", text=LOOPS[0], stop_reason="length", note="stopped for length")


def test_a_cut_reply_that_repeats_itself_says_so_and_how_it_ends() -> None:
    outcome = marked(LOOP)
    assert (outcome.kind, outcome.stop_reason) == ("truncated", REPEATED)
    assert "repeats itself" in outcome.note
    assert "that is, that is" in outcome.note
    assert marked(outcome) == outcome


@pytest.mark.parametrize("outcome", [CUT, LOOP.model_copy(update={"kind": "ok", "stop_reason": "stop"})])
def test_what_was_merely_cut_and_what_ended_by_itself_stay_as_they_are(outcome: Outcome) -> None:
    assert marked(outcome) == outcome


# Caps ------------------------------------------------------------------------------------------------------------

FIRST = Request(task="t", stage="domains", prompt="List two.", max_tokens=16_384)


def said(store: Store, *replies: Outcome | str, **options: object) -> list[int]:
    """The caps of the requests that these replies came to."""
    left = iter(replies)
    client = ScriptedClient(lambda request: next(left), store=store)
    asyncio.run(converse(client, store, FIRST, str.upper, **options))  # type: ignore[arg-type]
    return [request.max_tokens for request in client.asked]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "calls.sqlite") as opened:
        yield opened


def test_the_first_cap_is_what_is_expected_twice_over_and_some(store: Store) -> None:
    assert said(store, "tea", caps=ReplyCaps(), n_expected=200) == [912]


def test_a_cap_is_never_raised_to_fit(store: Store) -> None:
    assert said(store, "tea", caps=ReplyCaps(), n_expected=20_000) == [16_384]


def test_a_cut_reply_grows_from_the_fitted_cap_as_often_as_from_the_settings(store: Store) -> None:
    assert said(store, *[CUT] * 3, caps=ReplyCaps(), n_expected=200, cap_tokens=65_536) == [912, 1824, 3648]


def test_a_reply_that_repeats_itself_is_asked_for_once_more_with_the_same_cap(store: Store) -> None:
    loop = marked(LOOP)
    assert said(store, loop, loop, caps=ReplyCaps(), n_expected=200) == [912, 912]


def test_a_second_try_that_ends_is_taken(store: Store) -> None:
    assert said(store, marked(LOOP), "tea", caps=ReplyCaps(), n_expected=200) == [912, 912]
    assert said(store, caps=ReplyCaps(), n_expected=200) == []


REASONING = [
    Outcome(kind="truncated", text="", stop_reason="length", usage=Usage(n_output=912)),
    Outcome(kind="truncated", text="Well, tea.", stop_reason="length", usage=Usage(n_output=912)),
    Outcome(kind="truncated", text="<think>\nThe user wants two domains.", stop_reason="length"),
]


@pytest.mark.parametrize("outcome", REASONING, ids=["nothing", "little", "thought"])
def test_an_author_whose_cap_goes_to_reasoning_gets_the_caps_of_the_settings(store: Store, outcome: Outcome) -> None:
    caps = ReplyCaps()
    assert said(store, outcome, "tea", caps=caps, n_expected=200, cap_tokens=65_536) == [912, 32_768]
    left = iter(["tea"])
    client = ScriptedClient(lambda request: next(left), store=store)
    other = FIRST.model_copy(update={"task": "u"})
    asyncio.run(converse(client, store, other, str.upper, caps=caps, n_expected=200))
    assert [request.max_tokens for request in client.asked] == [16_384]
    # What was cut before that was known is not asked for again, whatever order a second run finds it in.
    assert said(store, caps=caps, n_expected=200, cap_tokens=65_536) == []


def test_what_was_answered_under_the_caps_of_the_settings_is_replayed_for_nothing(store: Store) -> None:
    assert said(store, CUT, CUT, CUT, cap_tokens=65_536) == [16_384, 32_768, 65_536]
    assert said(store, caps=ReplyCaps(), n_expected=200, cap_tokens=65_536) == []


@given(full=st.integers(1, 10**5), times=st.integers(1, 9), share=st.floats(0.01, 1))
def test_a_cap_grows_as_often_as_the_settings_say_and_never_beyond_the_most(
    full: int, times: int, share: float
) -> None:
    most = full * times
    growth, cap, n = CapGrowth(full, most), max(1, int(full * share)), 0
    while (grown := growth.next(cap, CUT)) is not None:
        assert cap < grown <= most
        cap, n = grown, n + 1
    plain, cap_plain, n_plain = CapGrowth(full, most), full, 0
    while (grown := plain.next(cap_plain, CUT)) is not None:
        cap_plain, n_plain = grown, n_plain + 1
    assert cap_plain == most
    assert n <= n_plain
