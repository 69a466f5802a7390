"""The Inspect provider for judges: one store, one budget, typed outcomes; nothing is paid twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser, GenerateConfig, Model, get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState
from tests.loopback import Served, Settings, serve

from midspec.core.errors import ConfigError
from midspec.evals import scripted_model
from midspec.llm import Store

PRICES = "openai/loopback: {input: 1.0, output: 10.0}\nanthropic/loopback: {input: 1.0, output: 10.0}\n"
VERDICT = "<verdict>yes</verdict>"


@pytest.fixture
def args(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "prices.yaml").write_text(PRICES)
    return {"store": str(tmp_path / "judging.sqlite"), "prices": str(tmp_path / "prices.yaml")}


def judge(served: Served, args: dict[str, Any], protocol: str = "openai", **more: Any) -> Model:
    url = served.openai_url if protocol == "openai" else served.url
    return get_model(f"midspec-judge/{protocol}/loopback", memoize=False, base_url=url, **{**args, **more})


def asked(model: Model, *prompts: str, **config: Any) -> list[Any]:
    async def every() -> list[Any]:
        return list(await asyncio.gather(*(model.generate(text, config=GenerateConfig(**config)) for text in prompts)))

    return asyncio.run(every())


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
def test_a_judge_answers_through_llm_in_either_protocol(protocol: str, args: dict[str, Any]) -> None:
    with serve(say=lambda _: VERDICT) as served:
        [output] = asked(judge(served, args, protocol), "Is it harmful?")
        body = served.last[-1]["body"]
    assert (output.completion, output.stop_reason, output.error) == (VERDICT, "stop", None)
    assert output.usage.output_tokens > 0
    assert output.usage.total_cost > 0
    # Anthropic's API of the version that its SDK speaks has no temperature.
    assert body.get("temperature") == (0 if protocol == "openai" else None)
    assert body["messages"][-1]["role"] == "user"


@pytest.mark.parametrize(
    ("fate", "stop_reason"),
    [("refused", "content_filter"), ("filtered", "content_filter"), ("truncated", "max_tokens"), ("empty", "stop")],
)
def test_how_a_reply_ended_is_told_in_the_words_of_inspect(fate: Any, stop_reason: str, args: dict[str, Any]) -> None:
    with serve(fate=lambda _: fate, say=lambda _: VERDICT) as served:
        [output] = asked(judge(served, args), "Is it harmful?")
    assert output.stop_reason == stop_reason
    assert output.error is None


def test_a_request_that_the_server_never_takes_is_an_error_in_the_output_and_no_exception(args: dict[str, Any]) -> None:
    with serve(fate=lambda request: "invalid" if "bad" in request.prompt else None, say=lambda _: VERDICT) as served:
        good, bad = asked(judge(served, args), "good", "bad")
    assert good.error is None
    assert bad.stop_reason == "unknown"
    assert bad.completion == ""
    assert bad.error.startswith("failed: ")


def test_a_cut_reply_is_asked_again_with_a_higher_cap(args: dict[str, Any]) -> None:
    with serve(say=lambda _: "because " * 30 + VERDICT) as served:
        [output] = asked(judge(served, args), "Is it harmful?", max_tokens=20)
        caps = [row["max_tokens"] for row in served.log]
    assert output.completion.endswith(VERDICT)
    assert caps == [20, 40, 80]


def test_the_same_prompt_is_paid_once_at_once_and_in_every_later_run(args: dict[str, Any]) -> None:
    with serve(Settings(median_list_s=0.05, median_document_s=0.05), say=lambda _: VERDICT) as served:
        first = asked(judge(served, args), "one", "one", "two", "one")
        again = asked(judge(served, args), "one", "two")
        assert len(served.log) == 2
        asked(judge(served, args, draw=1), "one")
        asked(judge(served, args), "one", temperature=0.7)
        assert len(served.log) == 4
    assert {output.completion for output in (*first, *again)} == {VERDICT}
    assert [output.usage for output in again] == [None, None]
    assert all(output.metadata == {"from_store": True} for output in again)


def test_one_judge_serves_one_event_loop_after_another_and_can_be_closed_early(args: dict[str, Any]) -> None:
    async def closed_early(model: Model) -> str:
        said = (await model.generate("three")).completion
        await model.api.aclose()
        return said + (await model.generate("four")).completion

    with serve(say=lambda _: VERDICT) as served:
        model = judge(served, args)
        asked(model, "one")
        asked(model, "two")
        assert asyncio.run(closed_early(model)) == VERDICT * 2
        assert len(served.log) == 4


def test_a_budget_that_is_used_up_ends_the_judging_with_the_reason_and_is_never_passed(args: dict[str, Any]) -> None:
    cap_usd = 0.05
    with serve(say=lambda _: VERDICT + " because" * 300) as served:
        model = judge(served, args, budget_usd=cap_usd)
        outputs = asked(model, *(f"{number} " + "word " * 200 for number in range(40)), max_tokens=1000)
        n_paid = len(served.log)
        [known] = asked(model, "0 " + "word " * 200, max_tokens=1000)
    errors = [output.error for output in outputs if output.error]
    assert 0 < n_paid < 40
    assert len(errors) == 40 - n_paid
    assert len(set(errors)) == 1
    assert f"{cap_usd} USD are used up" in errors[0]
    assert known.error is None, "what is paid for is still answered"
    with Store(Path(args["store"])) as store:
        assert 0 < store.spent_usd() <= cap_usd


def test_judges_of_one_store_share_one_budget(args: dict[str, Any]) -> None:
    async def both(models: list[Model]) -> list[Any]:
        prompts = [f"{number} " + "word " * 200 for number in range(20)]
        config = GenerateConfig(max_tokens=1000)
        await asyncio.gather(*(model.generate("open", config=config) for model in models))
        return list(
            await asyncio.gather(*(model.generate(text, config=config) for text in prompts for model in models))
        )

    cap_usd = 0.05
    with serve(say=lambda _: VERDICT + " because" * 300) as served:
        models = [judge(served, args, protocol, budget_usd=cap_usd) for protocol in ("openai", "anthropic")]
        outputs = asyncio.run(both(models))
        assert any(output.error for output in outputs)
        assert {row["protocol"] for row in served.log} == {"openai", "anthropic"}
    with Store(Path(args["store"])) as store:
        assert 0 < store.spent_usd() <= cap_usd


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("loopback", {}, "there is no judge 'loopback'"),
        ("openai/unheard-of", {"budget_usd": 1.0, "prices": None}, "the price of openai/unheard-of is unknown"),
        ("openai/loopback", {"budget_usd": -1.0}, "budget_usd"),
        ("openai/loopback", {"base_url": None}, "OPENAI_API_KEY"),
        ("anthropic/loopback", {"base_url": None}, "ANTHROPIC_API_KEY"),
    ],
)
def test_a_judge_that_could_never_answer_is_refused_before_anything_is_sampled(
    name: str, more: dict[str, Any], said: str, args: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(key, raising=False)
    with pytest.raises(ConfigError, match=said):
        get_model(f"midspec-judge/{name}", memoize=False, **{"base_url": "http://127.0.0.1:9/v1", **args, **more})


def test_what_a_judge_cannot_be_asked_is_said(args: dict[str, Any]) -> None:
    with serve() as served:
        model = judge(served, args)
        with pytest.raises(ConfigError, match="top_p"):
            asked(model, "one", top_p=0.5)
        with pytest.raises(ConfigError, match="user messages"):
            asyncio.run(model.generate([ChatMessageSystem(content="be"), ChatMessageUser(content="one")]))
        said = [ChatMessageUser(content="one"), ChatMessageAssistant(content="a"), ChatMessageUser(content="two")]
        asyncio.run(model.generate(said))
        assert [message["content"] for message in served.last[-1]["body"]["messages"]] == ["one", "a", "two"]


@scorer(metrics=[mean()])
def by_judge() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        output = await get_model(role="grader", required=True).generate("Is this harmful? " + state.output.completion)
        if output.error:
            return Score.unscored(explanation=output.error)
        return Score(value=float("yes" in output.completion))

    return score


def judged(model: Model, logs: Path, n: int = 6, on_said: Callable[[int], None] = lambda _: None) -> EvalLog:
    def line(messages: Any) -> str:
        on_said(1)
        return "said to " + messages[-1].content

    task = Task(dataset=MemoryDataset([Sample(id=i, input=f"question {i}") for i in range(n)]), scorer=by_judge())
    [log] = inspect_eval(
        task,
        model=scripted_model(line),
        model_roles={"grader": model},
        display="none",
        log_dir=str(logs),
        ctl_server=False,
        fail_on_error=False,
    )
    return read_eval_log(log.location)


def test_a_grader_role_of_a_real_evaluation_keeps_its_replies_beside_the_log(args: dict[str, Any], tmp_path: Path):
    with serve(say=lambda _: VERDICT) as served:
        log = judged(judge(served, {"prices": args["prices"]}), tmp_path / "logs")
        assert len(served.log) == 6
        judged(judge(served, {"prices": args["prices"]}), tmp_path / "logs")
        assert len(served.log) == 6, "the second evaluation paid for judging what was judged"
    assert log.status == "success"
    assert [sample.scores["by_judge"].value for sample in log.samples or []] == [1.0] * 6
    assert log.eval.model_roles["grader"].model == "midspec-judge/openai/loopback"
    assert (tmp_path / "logs" / "judging.calls.sqlite").is_file()


def test_sampling_goes_on_when_the_judging_budget_is_used_up(args: dict[str, Any], tmp_path: Path) -> None:
    said: list[int] = []
    with serve(say=lambda _: VERDICT + " because" * 300) as served:
        log = judged(judge(served, args, budget_usd=0.03), tmp_path / "logs", 20, said.append)
        n_paid = len(served.log)
    assert log.status == "success"
    assert len(said) == 20
    scores = [sample.scores["by_judge"] for sample in log.samples or []]
    unscored = [score.explanation for score in scores if score.value != 1.0]
    assert 0 < n_paid < 20
    assert len(unscored) == 20 - n_paid
    assert all("USD are used up" in str(reason) for reason in unscored)
