"""A server that answers nothing of use: told on standard error within seconds, and no day is slept through."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from midspec.core.errors import MidspecError
from midspec.llm import Access, ModelConfig, Outcome, Request, Store, open_client
from midspec.llm._attempts import Limited, Timed
from midspec.llm._client import Retrying
from midspec.llm._errors import RateLimitError, RetryableError
from midspec.llm._limits import Refusal
from midspec.llm._server import Silence, in_words
from midspec.llm.providers._openai import OpenAIClient

from .outside import OPENAI, Answer, Carrier, answering, on_a_skipping_clock, said, wish, wrong

KEY = "sk-test-0123456789abcdef"


def page(_seen: object) -> web.Response:
    """A login page with status 200, which repeats the key that it was sent."""
    return web.Response(text=f"<!doctype html><title>Sign in</title> {KEY}", content_type="text/html")


async def asked_for(seconds: float, answer: Answer, folder: Path, role: str = "author", n: int = 4) -> None:
    async with answering(answer) as small:
        with Store(folder / "s") as store:
            async with open_client(OPENAI, small.access(), store, role=role) as client:  # type: ignore[arg-type]
                tasks = [asyncio.create_task(client.ask(wish(f"t{i}"))) for i in range(n)]
                await asyncio.wait(tasks, timeout=seconds)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("role", "answer", "words"),
    [
        ("author", page, "Sign in"),
        ("judge", lambda _seen: wrong(500, "the model is loading"), "500: the model is"),
    ],
)
def test_what_a_failing_server_answers_is_told_within_seconds(
    role: str,
    answer: Answer,
    words: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    asyncio.run(asked_for(6.0, answer, tmp_path, role))
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) <= 2
    assert lines[-1].startswith(f"{role} openai/tiny: nothing answered since ")
    assert words in lines[-1]
    assert "tried again in" in lines[-1]
    assert not any(KEY in line or "\n" in line for line in lines)


class Failing:
    """Raises what `error` gives; answers from the `n`-th attempt on."""

    def __init__(self, error: RetryableError, n: int = 1_000_000) -> None:
        self.error, self.n, self.n_asked = error, n, 0

    async def ask(self, request: Request) -> Outcome:
        await asyncio.sleep(0.01)
        self.n_asked += 1
        if self.n_asked > self.n:
            return Outcome(kind="ok", text="Yes.")
        error = self.error
        if isinstance(error, RateLimitError):
            raise RateLimitError(error.reason, wait_s=error.wait_s, refusal=error.refusal)
        raise RetryableError(error.reason, wait_s=error.wait_s)

    async def close(self) -> None: ...


def chain(server: Failing, wanted: int = 4) -> Retrying:
    return Retrying(Limited(server, wanted, where="openai/tiny"), where="openai/tiny", patience_s=1800.0)


async def all_of(client: Retrying, n: int) -> list[Outcome]:
    return list(await asyncio.gather(*(client.ask(wish(f"t{i}")) for i in range(n))))


def test_a_long_wait_that_the_server_asks_for_is_told_when_it_begins_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    server = Failing(RateLimitError("429: later", wait_s=600.0), n=2)
    _, seconds = on_a_skipping_clock(all_of(chain(server, 1), 1))
    assert seconds >= 2 * 600
    assert "tried again in 10 min, at " in caplog.records[0].getMessage()
    assert "answers again, after" in caplog.records[-1].getMessage()


LIMITS_OF_A_DAY = [
    RateLimitError("429: used up", wait_s=86_400.0),
    RateLimitError("429: requests per day", refusal=Refusal("requests", 86_400.0)),
    RateLimitError("429: tokens per day", wait_s=578.0, refusal=Refusal("tokens", 86_400.0, 100_000)),
    RateLimitError("429: used up", wait_s=1.8e9),
]


@pytest.mark.parametrize("error", LIMITS_OF_A_DAY)
@pytest.mark.parametrize("wanted", [1, 50])
def test_a_limit_of_a_day_ends_the_run_in_one_line(error: RateLimitError, wanted: int) -> None:
    server = Failing(error)

    async def run() -> list[BaseException]:
        client = chain(server, wanted)
        tasks = [asyncio.create_task(client.ask(wish(f"t{i}"))) for i in range(2 * wanted)]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()
        return [each for each in found if isinstance(each, BaseException)]

    found, seconds = on_a_skipping_clock(run())
    assert len(found) == 2 * wanted
    assert all(isinstance(each, MidspecError) for each in found)
    assert "a limit of the account is used up" in str(found[0])
    assert error.reason in str(found[0])
    assert "The same command goes on from here" in str(found[0])
    assert seconds < 30.0
    assert server.n_asked < 20 + 3 * wanted


def test_a_request_that_is_larger_than_the_limit_is_not_asked_for_ever() -> None:
    error = RateLimitError("429: Limit 7000, Requested 12903", refusal=Refusal("tokens", 60.0, 7000, 50.0, 12_903))
    with pytest.raises(MidspecError, match=r"more than the server's limit allows.*12903.*Lower the caps"):
        on_a_skipping_clock(all_of(chain(Failing(error), 2), 1))


def test_a_limit_of_a_day_that_is_free_again_in_a_moment_is_waited_for() -> None:
    error = RateLimitError("429: requests per day", wait_s=20.0, refusal=Refusal("requests", 86_400.0, 200))
    outcomes, seconds = on_a_skipping_clock(all_of(chain(Failing(error, n=6), 2), 3))
    assert [outcome.kind for outcome in outcomes] == ["ok"] * 3
    assert seconds >= 20.0


def test_one_odd_wait_of_a_day_among_good_answers_ends_nothing() -> None:
    server = Carrier(lambda _: 0.2, rejects=frozenset(range(3, 2000, 20)), retry_after_s=86_400.0)

    async def run() -> list[Outcome]:
        client = Retrying(Limited(server, 10), where="openai/tiny", patience_s=1800.0)
        try:
            return list(await asyncio.gather(*(client.ask(wish(f"t{i}")) for i in range(600))))
        finally:
            await client.close()

    outcomes, seconds = on_a_skipping_clock(run())
    assert len(outcomes) == 600
    assert seconds < 1.3 * 600 * 0.2 / 10


@pytest.mark.parametrize(
    ("value", "least_s"),
    [
        (lambda: "0.6", 0.6),
        (lambda: str(int(time.time()) + 2), 0.5),
        (lambda: str(int(time.time() * 1000) + 800), 0.5),
        (lambda: "99999999999999999999", 0.0),
        (lambda: "after the break", 0.0),
    ],
)
def test_a_retry_after_of_any_form_is_waited_for_as_it_is_meant(value: Callable[[], str], least_s: float) -> None:
    async def run() -> list[float]:
        def answer(_seen: object) -> web.Response:
            times.append(time.monotonic())
            return wrong(429, "wait", Retry_After=value()) if len(times) < 2 else said("Yes.")

        times: list[float] = []
        async with answering(answer) as small:
            client = Retrying(Limited(OpenAIClient(OPENAI, small.access()), 1), where="openai/tiny", patience_s=60.0)
            await client.ask(wish())
            await client.close()
        return times

    times = asyncio.run(asyncio.wait_for(run(), 20))
    assert times[1] - times[0] >= least_s


def test_answers_that_take_long_are_told_of_with_what_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        client = Timed(Carrier(lambda _: 90.0), 600.0, Silence("author openai/tiny"))
        await client.ask(wish())
        await client.close()

    on_a_skipping_clock(run())
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("author openai/tiny: no answer for 10 s; 1 in flight, ")
    assert lines[0].endswith("the longest for a request of documents, at most 4,000 tokens")
    assert len(lines) == 2


def test_a_payment_that_is_asked_for_says_so(tmp_path: Path) -> None:
    async def run() -> None:
        async with answering(lambda _seen: wrong(402, "no funds")) as small:
            with Store(tmp_path / "s") as store:
                access = Access(base_url=small.url)
                async with open_client(ModelConfig(model="openai/tiny"), access, store, role="author") as client:
                    await client.ask(wish())

    with pytest.raises(MidspecError, match=r"wants to be paid first \(402: no funds\).*credit and limits"):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (4.0, "4 s"), (600.0, "10 min"), (83_400.0, "23 h 10 min")]
)
def test_lengths_of_time_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
