"""Servers that cut prompts, runs of which nothing can be used: told, stopped, asked again when that is mended."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from midspec.core.errors import ConfigError, MidspecError
from midspec.llm import Outcome, ParsedReply, Request, Store, Stored, UsableReplies, Usage
from midspec.llm._cut_prompts import least_tokens

Counting = Callable[[Request], int | None]
SPEC = "The assistant tells the truth, even where a lie would be easier to say. " * 300  # 4,200 words


class Server:
    """Answers, and counts the prompt in a way of its own."""

    def __init__(self, counting: Counting, store: Store) -> None:
        self._counting, self._store = counting, store
        self.asked: list[Request] = []

    async def ask(self, request: Request) -> Outcome:
        self.asked.append(request)
        n = self._counting(request)
        usage = None if n is None else Usage(n_input=n, n_output=5)
        outcome = Outcome(kind="ok", text="Yes.", stop_reason="stop", usage=usage)
        self._store.close(self._store.open(request, "openai/tiny", "author", "{}"), outcome)
        return outcome

    async def close(self) -> None: ...


def requests(n: int, *, prefix: str = SPEC) -> list[Request]:
    """Each longer than the one before."""
    texts = ["Write of tea, and of what it does to people who drink it. " * (10 + 20 * number) for number in range(n)]
    return [
        Request(task=f"t{number}", stage="documents", prefix=prefix, prompt=text, max_tokens=100)
        for number, text in enumerate(texts)
    ]


def run(store: Store, counting: Counting, asked: list[Request]) -> tuple[int, MidspecError | None, int]:
    """Return how many were answered, the error, and how many reached the server."""

    async def ask_all() -> tuple[int, MidspecError | None, int]:
        server = Server(counting, store)
        client = Stored(server, store, "openai/tiny")
        for number, request in enumerate(asked):
            try:
                await client.ask(request)
            except MidspecError as error:
                return number, error, len(server.asked)
        return len(asked), None, len(server.asked)

    return asyncio.run(ask_all())


def true_count(request: Request) -> int:
    return round(1.3 * len((request.prefix + request.prompt).split()))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store(tmp_path / "calls.sqlite") as opened:
        yield opened


@pytest.mark.parametrize("context", [2048, 4096])
def test_a_server_that_keeps_so_many_tokens_is_told_and_ends_the_run(
    context: int, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    n, error, _ = run(store, lambda request: min(context, true_count(request)), requests(6))
    assert isinstance(error, ConfigError)
    assert n <= 3
    assert "cuts prompts without saying so" in str(error)
    assert f"{context:,} tokens" in str(error)
    assert "OLLAMA_CONTEXT_LENGTH" in str(error)
    assert len(caplog.messages) == 1
    # Once it keeps them whole, what was cut is asked again, and what it cost stays spent.
    n, error, n_sent = run(store, true_count, requests(6))
    assert (n, error) == (6, None)
    assert n_sent == 6 or context == 4096
    assert sum(row.usage.n_input for row in store.ledger()) > 6 * 4200


def test_a_cut_that_takes_little_is_found_by_the_third_prompt_of_the_same_count(store: Store) -> None:
    n, error, _ = run(store, lambda request: min(5400, true_count(request)), requests(9)[1:])
    assert isinstance(error, ConfigError)
    assert n <= 4


@pytest.mark.parametrize(
    "counting",
    [
        true_count,
        lambda request: len((request.prefix + request.prompt).split()),  # the best that a tokenizer could do
        lambda request: len(request.prefix + request.prompt) // 4,
        lambda _: None,
        lambda _: 0,
        lambda _: 1,
    ],
)
def test_a_server_that_keeps_prompts_whole_or_counts_nothing_is_left_alone(
    counting: Counting, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(store, counting, requests(8))[:2] == (8, None)
    assert caplog.messages == []


def test_a_server_that_counts_only_what_its_cache_did_not_have_is_told_once_and_not_stopped(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    counting: Counting = lambda request: round(1.3 * len(request.prompt.split()))  # noqa: E731
    assert run(store, counting, requests(8))[:2] == (8, None)
    assert len(caplog.messages) == 1


def test_short_prompts_are_never_suspected(store: Store) -> None:
    assert run(store, lambda _: 100, requests(8, prefix=""))[:2] == (8, None)


def test_one_prompt_asked_again_is_no_second_prompt(store: Store) -> None:
    one = requests(1)[0]
    again = [one.model_copy(update={"task": f"draw {number}"}) for number in range(5)]
    assert run(store, lambda _: 2048, again)[:2] == (5, None)


TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=20).map(" ".join)


@given(text=TEXTS)
@example(text="\x08\x1f\x1b")
@example(text="A一A")
def test_no_text_has_fewer_tokens_than_the_least(text: str) -> None:
    # A byte-level tokenizer has at least a token for each of these pieces, and in other scripts many more.
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    assert least_tokens(text) <= len(pieces) + sum("\u3040" <= char <= "\uffff" for char in text) / 2


def test_the_least_of_chinese_is_far_below_what_tokenizers_make_of_it() -> None:
    text = "助手从不说谎，即使谎言更容易说出口。" * 100
    assert 100 < least_tokens(text) < len(text) / 2


# Runs of which nothing can be used -----------------------------------------------------------------------------------
def reply(kind: str, note: str = "", value: str | None = None) -> ParsedReply[str]:
    return ParsedReply(value, Outcome(kind=kind, note=note, text="" if note.startswith("only") else "x"))  # type: ignore[arg-type]


def count(store: Store, replies: list[ParsedReply[str]], *, makes_row: bool = False) -> tuple[int, str]:
    usable = UsableReplies(store, where="openai/tiny")
    for number, one in enumerate(replies):
        request = Request(task=f"t{number}", stage="s", prompt="p", max_tokens=5)
        store.close(store.open(request, "openai/tiny", "author", "{}"), one.outcome)
        try:
            usable.count(request, one, makes_row=makes_row)
        except MidspecError as error:
            return number + 1, str(error)
    return len(replies), ""


def test_ten_replies_without_a_use_end_the_run_with_the_reasons(store: Store) -> None:
    bad = [reply("unparsable", "<plan> is not there"), reply("truncated", "its reasoning never ended")] * 20
    n, words = count(store, bad)
    assert n == 10
    assert "none of the first 10 requests gave a reply that can be used" in words
    assert "5 unparsable: <plan> is not there; 5 truncated: its reasoning never ended" in words
    # The same command asks again.
    assert store.answer("t0", 0) is None


def test_five_empty_ones_do(store: Store) -> None:
    n, words = count(store, [reply("unparsable", "only reasoning and no text (9 characters) (<plan> is missing)")] * 9)
    assert n == 5
    assert "only reasoning and no text" in words


def test_one_good_reply_is_enough_to_go_on(store: Store) -> None:
    bad = [reply("unparsable", "no")] * 9
    assert count(store, [*bad, reply("ok", value="Tea."), *bad, *bad])[1] == ""


def test_what_the_server_never_answered_does_not_count(store: Store) -> None:
    assert count(store, [reply("timed_out", "no answer")] * 40)[1] == ""


def test_reasons_are_told_by_how_often_they_came(store: Store) -> None:
    usable = UsableReplies(store, where="openai/tiny")
    asked = requests(1)[0]
    usable.count(asked, reply("ok", value="Tea."))
    notes = itertools.chain(["b"] * 3, ["a"] * 5, ["c"], ["d"])
    for note in notes:
        usable.count(asked, reply("unparsable", note))
    assert usable.words() == "5 unparsable: a; 3 unparsable: b; 1 unparsable: c"


def test_reasons_that_differ_in_numbers_alone_are_one_with_the_span_of_its_numbers(store: Store) -> None:
    notes = [f"must be there once; it is there {n} times, of 7 #" for n in (3, 0, 12, 0)]
    notes += ["400: no", "413: no", "must be there once; it is there # times, of 7 #", "at 0.25", "at 0.5", "at \u0663"]
    bad = [reply("unparsable", note) for note in notes]
    n, words = count(store, bad)
    assert n == 10
    assert "(4 unparsable: must be there once; it is there 0 to 12 times, of 7 #; 3 unparsable: at 0.25 to " in words
    assert "; 1 unparsable: 400: no)" in words


def test_rows_are_looked_at_by_themselves_and_lists_on_the_way_to_them_are_not(store: Store) -> None:
    usable = UsableReplies(store, where="openai/tiny")
    listed, document = (requests(1)[0].model_copy(update={"stage": stage}) for stage in ("ideas", "document"))
    usable.count(listed, reply("ok", value="a"))
    for _ in range(30):
        usable.count(listed, reply("unparsable", "no"))
    for _ in range(9):
        usable.count(document, reply("unparsable", "no"), makes_row=True)
    with pytest.raises(MidspecError, match="none of the first 10 requests of document gave"):
        usable.count(document, reply("unparsable", "no"), makes_row=True)


def test_a_run_that_is_too_short_to_be_stopped_ends_the_same_way(store: Store) -> None:
    usable = UsableReplies(store, where="openai/tiny")
    usable.check_end()
    usable.count(requests(1)[0], reply("unparsable", "no"))
    with pytest.raises(MidspecError, match="none of the first 1 requests gave"):
        usable.check_end()
    usable.count(requests(1)[0], reply("ok", value="a"))
    usable.check_end()
