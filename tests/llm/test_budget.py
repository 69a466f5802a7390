"""The budget: what may be spent is a hard line, and nothing that is paid is asked again when it is moved."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midspec.core.errors import ConfigError
from midspec.generation import Pool
from midspec.llm import Budgeted, Outcome, Price, Prices, Request, ScriptedClient, Store, Stored, Usage
from midspec.llm._store import BudgetReservations

MODEL = "openai/m"
PRICES = Prices({MODEL: Price(input=1, output=10), "openai/judge": Price(input=10, output=10)})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "calls.sqlite") as opened:
        yield opened


def asked(task: str = "t", max_tokens: int = 1000) -> Request:
    return Request(task=task, stage="documents", prompt="write " * 100, max_tokens=max_tokens)


class Server:
    """Replies of given lengths in tokens, priced as the model is; each takes a moment."""

    def __init__(self, store: Store, model: str = MODEL, n_output: int | None = None, seed: int = 0) -> None:
        self._store, self._model, self._n_output = store, model, n_output
        self._chance = random.Random(seed)
        self.asked: list[str] = []

    async def ask(self, request: Request) -> Outcome:
        attempt = self._store.open(request, self._model, "author", "{}")
        self.asked.append(request.task)
        for _ in range(self._chance.randrange(1, 4)):
            await asyncio.sleep(0)
        n_output = self._chance.randint(1, request.max_tokens) if self._n_output is None else self._n_output
        usage = Usage(n_input=len(request.prompt) // 4, n_output=n_output)
        outcome = Outcome(kind="ok", text="fine", usage=usage, cost_usd=PRICES.cost(self._model, usage))
        self._store.close(attempt, outcome)
        return outcome

    async def close(self) -> None: ...


def run(client: object, tasks: list[str], max_tokens: int = 1000, width: int = 8) -> list[str]:
    """The tasks that were answered; raises what ends the run."""
    answered: list[str] = []

    async def one(task: str) -> None:
        if (await client.ask(asked(task, max_tokens))).kind == "ok":
            answered.append(task)

    pool = Pool(width)
    for task in tasks:
        pool.add(partial(one, task))
    asyncio.run(pool.run())
    return answered


TASKS = [f"task {index}" for index in range(40)]


@settings(max_examples=30)
@given(
    cap_usd=st.floats(0.001, 0.5), max_tokens=st.integers(1, 3000), width=st.integers(1, 20), seed=st.integers(0, 99)
)
def test_the_cap_is_never_passed(tmp_path_factory, cap_usd: float, max_tokens: int, width: int, seed: int) -> None:
    with Store(tmp_path_factory.mktemp("s") / "calls.sqlite") as store:
        client = Budgeted(Server(store, seed=seed), store, PRICES, cap_usd, model=MODEL)
        worst_usd = (300 + 10 * max_tokens) / 1e6
        try:
            assert len(run(client, TASKS, max_tokens, width)) == 40
        except ConfigError:
            # It stopped because the next one might not have fitted, not earlier.
            assert store.spent_usd() > cap_usd - worst_usd * 1.01
            assert store.ledger() == [] or store.ledger()[0].n_in_flight == 0
        assert store.spent_usd() <= cap_usd
        assert store.reservations.held_usd == 0


def test_a_run_that_reached_its_cap_goes_on_when_it_is_raised_and_asks_nothing_twice(store: Store) -> None:
    def client(server: Server, cap_usd: float) -> Stored:
        return Stored(Budgeted(server, store, PRICES, cap_usd, model=MODEL), store)

    first, second = Server(store), Server(store)
    with pytest.raises(ConfigError) as caught:
        run(client(first, 0.1), TASKS)
    assert str(caught.value).startswith("--budget: 0.1 USD are used up")
    assert str(caught.value).endswith("Raise --budget and run again: nothing that is paid is asked again")
    assert 5 < len(first.asked) < 40
    assert sorted(run(client(second, 10.0), TASKS)) == sorted(TASKS)
    assert sorted(first.asked + second.asked) == sorted(TASKS)


def test_the_request_that_did_not_fit_is_recorded_as_over_budget_and_was_not_sent(store: Store) -> None:
    server = Server(store)
    with pytest.raises(ConfigError):
        asyncio.run(Budgeted(server, store, PRICES, 0.000001, model=MODEL).ask(asked()))
    rows = store._db.execute("SELECT task, kind, cost_usd FROM attempts").fetchall()
    assert rows == [("t", "over_budget", 0.0)]
    assert server.asked == []
    assert store.ledger() == []
    assert store.answer("t", 0) is None


def test_once_over_budget_nothing_more_is_sent(store: Store) -> None:
    server = Server(store)
    client = Budgeted(server, store, PRICES, 0.001, model=MODEL)
    for request in (asked(max_tokens=1000), asked(max_tokens=1)):
        with pytest.raises(ConfigError):
            asyncio.run(client.ask(request))
    assert server.asked == []


def test_an_unknown_price_is_refused_before_anything_is_sent(store: Store) -> None:
    with pytest.raises(ConfigError) as caught:
        Budgeted(Server(store), store, Prices(), 5.0, model="openai/own")
    said = str(caught.value)
    assert "openai/own" in said
    assert "`openai/own: {input: 1.0, output: 4.0}`" in said
    assert "\n" not in said


def test_without_a_cap_no_price_is_needed(store: Store) -> None:
    client = Budgeted(ScriptedClient(lambda request: "fine", store=store), store, Prices(), None, model="openai/own")
    assert asyncio.run(client.ask(asked())).text == "fine"
    asyncio.run(client.close())


def test_clients_of_one_store_draw_on_one_cap(store: Store) -> None:
    """Both have requests in flight when the other asks: what is set aside counts for both."""
    author = Budgeted(Server(store, n_output=1000), store, PRICES, 0.1, model=MODEL)
    judge = Budgeted(Server(store, "openai/judge", n_output=1000), store, PRICES, 0.1, model="openai/judge")
    answered = 0

    async def one(client: Budgeted, task: str) -> None:
        nonlocal answered
        await client.ask(asked(task))
        answered += 1

    async def both() -> None:
        pool = Pool(20)
        for index in range(20):
            pool.add(partial(one, (author, judge)[index % 2], f"task {index}"))
        await pool.run()

    with pytest.raises(ConfigError):
        asyncio.run(both())
    assert answered == 9  # 0.01015 to 0.0115 USD each
    assert store.spent_usd() <= 0.1


def test_requests_in_flight_at_a_kill_count_against_the_cap(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    with Store(path) as store:
        for index in range(9):
            store.open(asked(f"lost {index}"), MODEL, "author", "{}")  # 0.01015 USD each at the worst
    with Store(path) as store:
        server = Server(store)
        with pytest.raises(ConfigError, match=r"0\.0913"):
            run(Budgeted(server, store, PRICES, 0.1, model=MODEL), TASKS)
        assert server.asked == []


def test_what_was_asked_at_an_unknown_price_must_have_one_before_a_budget_holds(store: Store) -> None:
    usage = Usage(n_input=100, n_output=100)
    for model in (MODEL, "openai/own"):
        store.close(store.open(asked(), model, "author", "{}"), Outcome(kind="ok", text="fine", usage=usage))
    with pytest.raises(ConfigError, match="price"):
        Budgeted(Server(store), store, PRICES, 5.0, model=MODEL)
    known = Prices({MODEL: Price(input=1, output=10), "openai/own": Price(input=1, output=1)})
    Budgeted(Server(store), store, known, 5.0, model=MODEL)
    assert store.spent_usd() == pytest.approx((100 + 1000 + 100 + 100) / 1e6)


def test_a_request_that_fails_gives_back_what_was_set_aside(store: Store) -> None:
    def script(request: Request) -> str:
        raise ConfigError("the key is refused")

    client = Budgeted(ScriptedClient(script), store, PRICES, 1.0, model=MODEL)
    with pytest.raises(ConfigError, match="key"):
        asyncio.run(client.ask(asked()))
    assert store.reservations.held_usd == 0


def test_a_prompt_may_be_written_into_the_cache_at_a_higher_price(store: Store) -> None:
    dear = Prices({MODEL: Price(input=1, output=1, cache_write=10)})
    worst_usd = 10 * 300 / 1e6  # 600 characters, a token for every two
    with pytest.raises(ConfigError):
        asyncio.run(Budgeted(Server(store), store, dear, 0.99 * worst_usd, model=MODEL).ask(asked(max_tokens=1)))
    assert asyncio.run(Budgeted(Server(store), store, dear, 1.01 * worst_usd, model=MODEL).ask(asked(max_tokens=1)))


def test_a_turn_that_comes_together_with_a_cancellation_goes_to_the_next() -> None:
    async def main() -> None:
        reservations = BudgetReservations()
        assert await reservations.hold(1.0, lambda: 1.0)
        waiting = [asyncio.ensure_future(reservations.hold(1.0, lambda: 1.0)) for _ in range(2)]
        await asyncio.sleep(0)
        reservations.release(1.0)
        waiting[0].cancel()
        assert await asyncio.wait_for(waiting[1], timeout=10)
        assert waiting[0].cancelled()

    asyncio.run(main())


def test_a_price_that_becomes_unknown_while_requests_wait_ends_them_all(store: Store) -> None:
    async def main() -> None:
        client = Budgeted(Server(store, n_output=1), store, PRICES, 0.012, model=MODEL)
        waiting = [asyncio.ensure_future(client.ask(asked(f"task {index}"))) for index in range(4)]
        await asyncio.sleep(0)
        with Store(store.path) as other:
            other.open(asked(), "openai/own", "author", "{}")
        done = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), timeout=10)
        assert [type(outcome) for outcome in done] == [Outcome, ConfigError, ConfigError, ConfigError]
        assert all("openai/own" in str(error) for error in done[1:])

    asyncio.run(main())


def test_a_request_that_is_cancelled_while_it_waits_leaves_its_turn_to_the_next(store: Store) -> None:
    async def main() -> None:
        # Room for one at a time: each costs 0.01015 USD at the worst, and 0.00016 in the end.
        client = Budgeted(Server(store, n_output=1), store, PRICES, 0.012, model=MODEL)
        waiting = [asyncio.ensure_future(client.ask(asked(f"task {index}"))) for index in range(4)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(outcome, Outcome) for outcome in done] == [True, False, True, True]

    asyncio.run(main())
