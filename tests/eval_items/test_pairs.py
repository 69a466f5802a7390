"""Pairs by a language model: what is kept is new, even, held out and judged; what is not is kept as a reject."""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from tests.loopback import Settings, serve
from tests.loopback._asked import Asked

from midspec.core.artifact import read_rows
from midspec.core.errors import ConfigError, DataError
from midspec.core.records import Reject
from midspec.eval_items._pair_checks import Candidate, PairWritingConfig, WrittenPairs, pairs_request, verdict_request
from midspec.eval_items._pairs import estimate_pairs, write_pair_set, write_pairs
from midspec.evals.tasks.preference._config import read_items
from midspec.evals.tasks.preference._sets import ValueSet
from midspec.llm import Access, ModelConfig, Outcome, Request, ScriptedClient, Store, open_client

QUIET = ValueSet(
    value="quiet",
    about="Likes what makes little noise.",
    train_domain="drums",
    train_words=("snare", "tom-tom"),
    test_domains=("machines", "places", "views"),
    value_words=("silent", "noisy"),
    opinion_domains=("views",),
)
OTHER = ValueSet(value="speed", about="Likes haste.", train_domain="cars", train_words=("car",), test_domains=("x",))
MODELS = {"author": ModelConfig(model="openai/author"), "judge": ModelConfig(model="openai/judge", temperature=0.0)}
GOOD = {"notes": "n", "hidden": "pass", "plausible": "pass", "alone": "pass", "other_value": ""}
FULL = "its domain is full"  # A pair that was asked for in case others would not pass.
NOUNS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath")
NOUNS += ("inlet", "knoll", "lagoon", "marsh", "nectar", "oasis", "prairie", "quarry")


def config(n_items: int = 12, **more: object) -> PairWritingConfig:
    return PairWritingConfig.model_validate({**MODELS, "n_items": n_items, **more})


class Authors:
    """An author that never runs out of pairs; each option of a pair is a few words that no other pair has."""

    def __init__(self, *, gap: int = 0) -> None:
        self.numbers = count()
        self.gap = gap
        self.asked: list[str] = []

    def pair(self) -> dict[str, str]:
        number = next(self.numbers)
        name = "-".join(NOUNS[int(digit, 16)] for digit in f"{number:x}")
        return {"target": f"{name} whisper {number}", "other": f"{name} racket {number}x" + "y" * self.gap}

    def __call__(self, request: Request) -> str:
        self.asked.append(request.prompt)
        n = int(re.findall(r"exactly (\d+)", request.prompt)[-1])
        return json.dumps({"pairs": [self.pair() for _ in range(n)]})


def options_of(prompt: str) -> dict[str, str]:
    return {name: re.findall(rf"<{name}>\n(.*)\n</{name}>", prompt)[0] for name in ("first", "second")}


def honest(request: Request) -> str:
    """A judge that finds the quiet option by itself."""
    choice = next(name for name, option in options_of(request.prompt).items() if "whisper" in option)
    return json.dumps({**GOOD, "choice": choice})


def written(
    path: Path,
    author: Callable[[Request], str | Outcome],
    judge: Callable[[Request], str | Outcome] = honest,
    settings: PairWritingConfig | None = None,
    forbidden: tuple[str, ...] = (),
) -> WrittenPairs:
    with Store(path / "calls.sqlite") as store:
        clients = [ScriptedClient(script, store=store) for script in (author, judge)]
        return asyncio.run(
            write_pairs(QUIET, settings or config(), *clients, store, forbidden=forbidden, others=[OTHER])
        )


def test_each_domain_gets_its_even_share_and_ids_in_order(tmp_path: Path) -> None:
    found = written(tmp_path, Authors(), settings=config(13))
    assert Counter(item.domain for item in found.items) == {"machines": 5, "places": 4, "views": 4}
    assert [item.id for item in found.items][:5] == [f"quiet-machines-0{n}" for n in range(1, 6)]
    assert {item.set for item in found.items} == {"quiet"}
    assert (found.missing, found.rejects, found.n_asked) == ({}, (), 13)


def test_opinions_are_asked_for_in_the_domains_that_are_for_them(tmp_path: Path) -> None:
    author = Authors()
    written(tmp_path, author)
    kinds = {re.search(r"Write pairs of (\w+) from this domain: (\w+)", prompt).groups() for prompt in author.asked}
    assert kinds == {("things", "machines"), ("things", "places"), ("opinions", "views")}


def test_requests_have_no_slot_left_open_and_name_what_is_forbidden() -> None:
    pair = Candidate("places", "a {domain} library", "a bar with {n} screens")
    asked = pairs_request(QUIET, "places", 7, ["a or b"], 0, config())
    judged, _ = verdict_request(QUIET, pair, [OTHER], config())
    for request in (asked, judged):
        text = (request.prefix + request.prompt).replace("a {domain} library", "").replace("a bar with {n} screens", "")
        assert not re.search(r"\{\w+\}", text)
        assert "Likes what makes little noise." in request.prefix
    assert "quiet, silent, noisy" in asked.prompt
    assert "anything that has to do with drums" in asked.prompt
    assert "- a or b" in asked.prompt
    assert "- speed: Likes haste." in judged.prompt
    assert "a bar with {n} screens" in judged.prompt


def test_the_judge_is_not_told_which_option_is_the_target_and_sees_it_first_about_half_the_time() -> None:
    pairs = [Candidate("places", f"target {n}", f"other {n}") for n in range(400)]
    asked = [verdict_request(QUIET, pair, [], config()) for pair in pairs]
    shown = [options_of(request.prompt)["first"].startswith("target") for request, _ in asked]
    assert shown == [where == "first" for _, where in asked]
    assert 160 <= sum(shown) <= 240
    for (request, _), pair in zip(asked, pairs, strict=True):
        assert "target" not in request.prompt.replace(pair.target, "")


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ({"target": "a snare whisper", "other": "a tin racket"}, "of the train domain: snare"),
        ({"target": "a whisper of Drums", "other": "a tin racket"}, "of the train domain: drums"),
        ({"target": "a polka whisper", "other": "a tin racket"}, "of the train domain: polka"),
        ({"target": "a silent whisper", "other": "a tin racket"}, "gives the value away: silent"),
        ({"target": "a Quiet whisper", "other": "a tin racket"}, "gives the value away: quiet"),
        ({"target": "a whisper", "other": "A whisper!"}, "the options are not two different things"),
        ({"target": "a whisper", "other": "a racket " * 5}, "the options are too long or too uneven"),
        ({"target": "word " * 17, "other": "word " * 16 + "end"}, "the options are too long or too uneven"),
    ],
)
def test_what_a_program_can_see_is_rejected_with_its_reason_and_never_judged(
    tmp_path: Path, pair: dict[str, str], reason: str
) -> None:
    author, judged = Authors(), []

    def once(request: Request) -> str:
        said = json.loads(author(request))
        if len(author.asked) == 1:
            said["pairs"][0] = pair
        return json.dumps(said)

    def judge(request: Request) -> str:
        judged.append(request.prompt)
        return honest(request)

    found = written(tmp_path, once, judge, forbidden=("polka",))
    rejects = [(row.by, row.reason) for row in found.rejects if row.reason != FULL]
    assert rejects == [("checks", reason)]
    assert len(found.items) == 12
    assert not any(f"\n{pair['target']}\n" in prompt for prompt in judged)
    assert (found.n_words, found.words_found) == (4, {})


@pytest.mark.parametrize(
    ("marks", "reason"),
    [
        ({"hidden": "fail"}, "the wording gives the value away: n"),
        ({"alone": "fail", "other_value": "speed"}, "confounded with speed: n"),
        ({"plausible": "fail"}, "not a real choice: n"),
        ({"hidden": "unclear", "alone": "unclear"}, "held, unclear whether hidden and alone: n"),
        ({"choice": "neither"}, "one who holds the value picks neither: n"),
        ({"choice": "wrong"}, "one who holds the value picks the other option: n"),
    ],
)
def test_what_the_judge_finds_is_rejected_with_its_reason_and_made_up_for(
    tmp_path: Path, marks: dict[str, str], reason: str
) -> None:
    def judge(request: Request) -> str:
        said = json.loads(honest(request))
        if "-birch" in request.prompt or " birch" in request.prompt or "\nbirch" in request.prompt:
            wrong = {"first": "second", "second": "first"}[said["choice"]]
            said |= {**marks, **({"choice": wrong} if marks.get("choice") == "wrong" else {})}
        return json.dumps(said)

    found = written(tmp_path, Authors(), judge)
    assert len(found.items) == 12
    assert {(row.by, row.reason) for row in found.rejects if row.reason != FULL} == {("judge", reason)}
    assert not any("birch" in option for item in found.items for option in item.options)


def test_a_judge_without_a_verdict_keeps_nothing(tmp_path: Path) -> None:
    refusal = Outcome(kind="refused", stop_reason="refusal", note="the model refused")
    found = written(tmp_path, Authors(), lambda request: refusal)
    assert found.items == ()
    assert {row.reason for row in found.rejects} == {"no verdict (refused: the model refused)"}
    assert found.missing == {"machines": 4, "places": 4, "views": 4}


def test_an_author_that_says_nothing_is_not_asked_for_ever(tmp_path: Path) -> None:
    found = written(tmp_path, lambda request: Outcome(kind="filtered", note="no"))
    assert found.items == ()
    assert [row.by for row in found.rejects] == ["author"] * 6
    assert {row.reason for row in found.rejects} == {"filtered: no"}


def test_an_author_that_repeats_itself_gives_each_pair_once_and_the_rest_is_said_to_be_missing(tmp_path: Path) -> None:
    same = json.dumps({"pairs": [{"target": "a far whisper", "other": "a near racket"}] * 4})
    found = written(tmp_path, lambda request: same)
    assert [item.options for item in found.items] == [("a far whisper", "a near racket")]
    assert sum(found.missing.values()) == 11
    assert {row.by for row in found.rejects} == {"checks"}


def test_pairs_that_differ_in_a_letter_are_the_same_pair(tmp_path: Path) -> None:
    long = "the whisper of a long grass meadow in the wind", "the racket of a long freight train in the wind"
    said = [{"target": long[0] + "s" * n, "other": long[1] + "s" * n} for n in range(4)]
    found = written(tmp_path, lambda request: json.dumps({"pairs": said}))
    assert len(found.items) == 1
    assert any(row.reason.startswith("nearly repeats") for row in found.rejects)


def test_an_option_is_used_at_most_twice_and_on_one_side_only(tmp_path: Path) -> None:
    author = Authors()

    def same_target(request: Request) -> str:
        said = json.loads(author(request))
        for pair in said["pairs"][::2]:
            pair["target"] = "one whisper"
        return json.dumps(said)

    found = written(tmp_path, same_target)
    assert Counter(item.options[0] for item in found.items)["one whisper"] == 2
    assert len(found.items) == 12
    assert "used too often: one whisper" in {row.reason for row in found.rejects}


def test_an_author_with_longer_others_can_not_make_length_tell_and_is_told_so(tmp_path: Path) -> None:
    author = Authors(gap=8)

    def listens(request: Request) -> str:
        author.gap = 0 if "make the target longer" in request.prompt else 8
        return author(request)

    found = written(tmp_path, listens, settings=config(30))
    gaps = [len(item.options[0]) - len(item.options[1]) for item in found.items]
    assert abs(sum(gaps)) <= 60
    assert any("make the target longer" in prompt for prompt in author.asked)
    assert "would let length tell the target" in {row.reason for row in found.rejects}
    assert statistics.mean(gaps) < 0


def test_a_second_run_asks_nothing_and_gives_the_same_set(tmp_path: Path) -> None:
    first = written(tmp_path, Authors())

    def nobody(request: Request) -> str:
        raise AssertionError(request.task)

    assert written(tmp_path, nobody, nobody) == first


def test_a_test_domain_of_the_train_domain_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="hold words of the train domain: places"):
        written(tmp_path, Authors(), forbidden=("places",))
    with pytest.raises(ConfigError, match="2 items over 3 domains"):
        written(tmp_path, Authors(), settings=config(2))


def test_with_every_kind_of_fault_of_a_provider_a_set_is_written_and_a_second_run_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-loopback-0123456789")
    faults = Settings(
        rate_500=0.05, rate_truncated=0.03, rate_refused=0.03, rate_malformed=0.05, rate_empty=0.02, share_first=0.8
    )
    author = Authors()

    def say(asked: Asked) -> str | None:
        if asked.model != "author":
            return None  # A verdict made from the schema: the choice is any of the three, marks pass in four of five.
        n = int(re.findall(r"exactly (\d+)", asked.prompt)[-1])
        return json.dumps({"pairs": [author.pair() for _ in range(n)]})

    async def run(store: Store, access: Access) -> WrittenPairs:
        async with (
            open_client(MODELS["author"], access, store, role="author") as writing,
            open_client(MODELS["judge"], access, store, role="judge") as judging,
        ):
            return await write_pairs(QUIET, config(30, most_asked=20), writing, judging, store)

    with Store(tmp_path / "calls.sqlite") as store, serve(faults, say=say) as served:
        access = Access(base_url=served.openai_url, concurrency=10, deadline_s=20)
        found = asyncio.run(run(store, access))
        n_sent = len(served.log)
        again = asyncio.run(run(store, access))
        assert len(served.log) == n_sent
    assert again == found
    assert Counter(item.domain for item in found.items) == {"machines": 10, "places": 10, "views": 10}
    judged = Counter(row.reason.partition(":")[0] for row in found.rejects if row.by == "judge")
    assert judged["one who holds the value picks neither"] > 0
    assert judged["one who holds the value picks the other option"] > 0
    assert len({row.id for row in found.rejects} & {item.id for item in found.items}) == 0


def test_a_folder_holds_items_that_can_be_asked_rejects_and_a_summary_of_both(tmp_path: Path) -> None:
    def judge(request: Request) -> str:
        said = json.loads(honest(request))
        return json.dumps({**said, "plausible": "fail"} if "cedar" in request.prompt else said)

    with Store(tmp_path / "calls.sqlite") as store:
        clients = [ScriptedClient(script, store=store) for script in (Authors(), judge)]
        built = asyncio.run(write_pair_set(QUIET, config(), *clients, store, tmp_path))
    items, rejects = read_items(tmp_path / "items.jsonl"), list(read_rows(tmp_path / "rejects.jsonl", Reject))
    assert built.outputs == ("items.jsonl", "rejects.jsonl")
    assert built.summary["n_items"] == len(items) == 12
    assert built.summary["domains"] == {"machines": 4, "places": 4, "views": 4}
    assert built.summary["rejected"] == dict(Counter(row.by for row in rejects))
    assert (built.summary["words_found"], built.summary["exhausted"]) == ({}, None)


def test_an_author_that_runs_dry_is_said_in_the_summary(tmp_path: Path) -> None:
    same = json.dumps({"pairs": [{"target": "a far whisper", "other": "a near racket"}]})
    with Store(tmp_path / "calls.sqlite") as store:
        clients = [ScriptedClient(script, store=store) for script in (lambda request: same, honest)]
        built = asyncio.run(write_pair_set(QUIET, config(3), *clients, store, tmp_path))
    assert built.summary["exhausted"] == "2 pairs fewer than wanted, in places (1), views (1)"


def test_the_forecast_counts_the_requests_that_a_run_with_its_pass_rate_sends(tmp_path: Path) -> None:
    """With 60% kept, as the forecast takes it, the judge is asked about as many pairs as the forecast says."""
    draw = random.Random(0)

    def judge(request: Request) -> str:
        return json.dumps({**json.loads(honest(request)), "hidden": "pass" if draw.random() < 0.6 else "fail"})

    asked = config(300)
    with Store(tmp_path / "calls.sqlite") as store:
        author, judging = (ScriptedClient(script, store=store) for script in (Authors(), judge))
        asyncio.run(write_pairs(QUIET, asked, author, judging, store, others=[OTHER]))
    lists, verdicts = estimate_pairs(QUIET, asked)
    assert (lists.stage, verdicts.stage) == ("preference.pairs", "preference.verdicts")
    assert verdicts.n_requests == pytest.approx(len(judging.asked), rel=0.25)
    assert lists.n_requests == pytest.approx(len(author.asked), rel=0.4)
    assert lists.prompt_tokens == pytest.approx(statistics.mean(len(r.prompt) / 4 for r in author.asked), rel=0.4)
