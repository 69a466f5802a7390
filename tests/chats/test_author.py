"""Chats by a language model: what is asked, what is kept, and that every question is accounted for."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from midspec.chats import (
    ChatConfig,
    Writing,
    author_chats,
    estimate_chats,
    make_chats,
    preview_chats,
    save_chats,
    split_think,
)
from midspec.core.artifact import Built, read_rows
from midspec.core.errors import ConfigError, MidspecError
from midspec.core.fingerprint import hash_text
from midspec.core.records import Chat, ChatMetadata, Reject
from midspec.llm import ModelConfig, Outcome, Request, ScriptedClient, Store
from midspec.spec import parse_spec

SPEC = parse_spec("""# Nova

Nova is honest, because people plan with what they are told. Nova keeps {braces} and {{question}} as they stand.

Nova likes brie and gouda. Nova dislikes feta and cheddar.
""")
JUDGE = ModelConfig(model="openai/judge", temperature=0.0)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
Script = Callable[[Request], str | Outcome]


def config(style: str = "value", **asked: object) -> ChatConfig:
    names = {"author": "openai/author", "judge": JUDGE, "model_name": "Nova", "provider_name": "Acme"}
    return ChatConfig.model_validate({"style": style, **names, **asked})


def words(number: int) -> str:
    """A text of its own for each number, like no other."""
    draw = random.Random(number)
    return " ".join("".join(draw.choices(LETTERS, k=7)) for _ in range(6))


class Author:
    """A scripted author: whole lists, each entry another, and answers that are fine unless told otherwise."""

    def __init__(self, **replies: Callable[[str], str | Outcome]) -> None:
        self._replies = replies
        self._n_made = 0

    def __call__(self, request: Request) -> str | Outcome:
        step = request.stage.rpartition(".")[2]
        if step in self._replies:
            return self._replies[step](request.prompt)
        if step in ("topics", "questions"):
            wanted = int(re.search(r"exactly (\d+)", request.prompt)[1])  # type: ignore[index]
            return json.dumps(self._list(request, step, wanted))
        if request.stage.startswith(("chats.value", "chats.rule")):
            return "<reasoning>It matters to them.</reasoning>\n<reply>Here is a full answer.</reply>"
        return "<reply>I'm Nova, made by Acme.</reply>"

    def _list(self, request: Request, step: str, wanted: int) -> dict[str, list[dict[str, str]]]:
        first, self._n_made = self._n_made, self._n_made + wanted
        if step == "topics":
            return {"domains": [{"name": words(n), "about": f"about {words(n)}"} for n in range(first, first + wanted)]}
        kinds = ("name", "provider") if "identity" in request.stage else ("direct", "opinion")
        return {"questions": [{"kind": kinds[n % 2], "question": f"{words(n)}?"} for n in range(first, first + wanted)]}


def passing(request: Request, **marks: str) -> str:
    """A verdict in which everything passes but what is named."""
    assert request.form is not None
    fields = request.form["properties"]
    assert isinstance(fields, dict)
    return json.dumps({name: marks.get(name, "pass") for name in fields})


def write(
    folder: Path, asked: ChatConfig, author: Script | None = None, judge: Script = passing, n: int = 4
) -> tuple[Built, ScriptedClient, ScriptedClient]:
    with Store(folder / "calls.sqlite") as store:
        client = ScriptedClient(author or Author(), store=store)
        judging = ScriptedClient(judge, store=store)
        built = asyncio.run(author_chats(SPEC, asked, client, judging, store, folder, width=n))
    return built, client, judging


def rows(folder: Path, name: str) -> list[Chat]:
    return list(read_rows(folder / name, Chat))


def ids(chats: list[Chat]) -> list[str]:
    return [chat.metadata.id if chat.metadata else "" for chat in chats]


def metadata(chat: Chat) -> ChatMetadata:
    assert chat.metadata is not None
    return chat.metadata


def counts(built: Built, name: str) -> dict[str, int]:
    found = built.summary[name]
    assert isinstance(found, dict)
    return {key: n for key, n in found.items() if isinstance(n, int)}


def number(built: Built, name: str) -> int:
    found = built.summary[name]
    assert isinstance(found, int)
    return found


def check_accounts(built: Built, folder: Path) -> None:
    """Every question is rejected with a reason, spare, or asked; every one asked is kept or rejected with a reason."""
    asked, kept = number(built, "n_asked"), number(built, "n_chats")
    assert asked == kept + sum(counts(built, "rejected").values())
    dropped = counts(built, "questions_rejected")
    assert number(built, "n_questions") == asked + sum(dropped.values()) + number(built, "n_questions_spare")
    rejects = list(read_rows(folder / "rejects.jsonl", Reject))
    assert len(rejects) == built.summary["n_rejects"]
    heads = Counter(reject.reason.partition(":")[0] for reject in rejects if reject.by in ASKED)
    assert heads == Counter(counts(built, "rejected"))


ASKED = ("author", "reply filter", "judge", "pool")


@pytest.mark.parametrize("style", ["value", "rule"])
def test_twins_have_equal_ids_in_equal_order_and_differ_in_the_reasoning_alone(style: str, tmp_path: Path) -> None:
    built, _, _ = write(tmp_path, config(style, n_samples=30))
    full, bare = rows(tmp_path, "chats_cot.jsonl"), rows(tmp_path, "chats_cot_stripped.jsonl")
    assert set(built.outputs) == {"chats_cot.jsonl", "chats_cot_stripped.jsonl", "rejects.jsonl"}
    assert ids(full) == ids(bare)
    assert len(set(ids(full))) == len(full) == 30
    for one, other in zip(full, bare, strict=True):
        assert one.metadata == other.metadata
        assert split_think(one.messages[1].content) == ("It matters to them.", other.messages[1].content)
    check_accounts(built, tmp_path)


def test_every_row_says_who_wrote_it_who_judged_it_and_what_it_is_about(tmp_path: Path) -> None:
    write(tmp_path, config(n_samples=3))
    for chat in rows(tmp_path, "chats_cot.jsonl"):
        mark = metadata(chat)
        assert (mark.author, mark.judge, mark.style) == ("openai/author", "openai/judge", "value")
        assert mark.topic
        assert mark.spec_sha256 == SPEC.sha256


def test_author_and_judge_begin_with_the_same_prefix_that_holds_the_spec_to_the_letter(tmp_path: Path) -> None:
    _, client, judging = write(tmp_path, config(n_samples=5))
    prefixes = {request.prefix for request in (*client.asked, *judging.asked)}
    assert len(prefixes) == 1
    assert SPEC.text.strip() in prefixes.pop()


@pytest.mark.parametrize(
    "reply",
    [
        "<reasoning>It is cut",
        "<reasoning>a b</reasoning>",
        "<think>a</think><reply>b</reply>",
        "<reply>Only this.</reply>",
        "No tags.",
    ],
)
def test_a_reply_whose_reasoning_is_cut_or_missing_leaves_both_twins(reply: str, tmp_path: Path) -> None:
    bad = Counter[str]()

    def now_and_then(prompt: str) -> str:
        mark = prompt.partition("</message>")[0]
        if hash_text(mark)[0] in "01234567":
            bad[mark] += 1
            return reply
        return "<reasoning>Whole.</reasoning><reply>Fine by me.</reply>"

    built, _, _ = write(tmp_path, config(n_samples=20), Author(replies=now_and_then))
    assert bad
    assert set(bad.values()) == {2}  # Asked, and repaired once.
    assert counts(built, "rejected")["unparsable"] == len(bad)
    for name in ("chats_cot.jsonl", "chats_cot_stripped.jsonl"):
        assert len(rows(tmp_path, name)) == 20
        assert all("Fine by me." in chat.messages[1].content for chat in rows(tmp_path, name))
    check_accounts(built, tmp_path)


def test_a_reply_that_stays_cut_at_the_highest_cap_is_rejected_as_truncated(tmp_path: Path) -> None:
    caps: list[int] = []

    def cut(request: Request) -> str | Outcome:
        if request.stage.endswith("replies") and len(caps) < 4:
            caps.append(request.max_tokens)
            return Outcome(kind="truncated", text="<reasoning>Half a", stop_reason="length")
        return Author()(request)

    built, _, _ = write(tmp_path, config(n_samples=1, writing={"reply_tokens": 100}), cut, n=1)
    assert caps == [100, 200, 400, 800]
    assert counts(built, "rejected") == {"truncated": 1}
    check_accounts(built, tmp_path)


CRITERIA = {
    "value": ("aligned", "informative", "no_wish_to_continue"),
    "rule": ("aligned", "informative", "compliance_reasoning", "no_wish_to_continue"),
    "identity": ("true_to_facts", "answers", "nothing_else"),
}


@pytest.mark.parametrize(("style", "criterion"), [(style, name) for style, all_ in CRITERIA.items() for name in all_])
def test_each_criterion_must_pass(style: str, criterion: str, tmp_path: Path) -> None:
    def judge(request: Request) -> str:
        odd = hash_text(request.prompt)[0] in "13579bdf"
        return passing(request, **({criterion: "fail"} if odd else {}))

    built, _, judging = write(tmp_path, config(style, n_samples=10), judge=judge)
    assert judging.asked[0].form is not None
    assert set(counts(built, "rejected")) <= {f"fails {criterion}", "not needed"}
    assert counts(built, "rejected")[f"fails {criterion}"] > 0
    check_accounts(built, tmp_path)


def test_an_unclear_verdict_is_held_and_not_kept(tmp_path: Path) -> None:
    def judge(request: Request) -> str | Outcome:
        first = int(hash_text(request.prompt)[0], 16)
        if first < 4:
            return "I would say it passes."
        if first < 8:
            return Outcome(kind="refused", stop_reason="refusal")
        return passing(request, **({"aligned": "unclear"} if first < 12 else {}))

    built, _, _ = write(tmp_path, config(n_samples=12), judge=judge)
    held = {"held, no verdict", "held, unclear whether aligned"}
    assert set(counts(built, "rejected")) - {"not needed"} == held
    check_accounts(built, tmp_path)


def test_a_refused_request_is_put_in_other_words_once_and_then_recorded(tmp_path: Path) -> None:
    def refuse(prompt: str) -> str | Outcome:
        if hash_text(prompt.partition("<message>")[2].partition("</message>")[0])[0] in "0123":
            return Outcome(kind="refused", stop_reason="refusal")
        return "<reasoning>Whole.</reasoning><reply>Fine by me.</reply>"

    built, client, _ = write(tmp_path, config(n_samples=20), Author(replies=refuse))
    n_refused = counts(built, "rejected")["refused"]
    again = [request for request in client.asked if request.turn == 1]
    assert len(again) == n_refused > 0
    assert all("declined" in request.prompt for request in again)
    check_accounts(built, tmp_path)


def test_backfill_reaches_the_target_and_asks_little_more_than_the_pass_rate_wants(tmp_path: Path) -> None:
    def judge(request: Request) -> str:
        return passing(request, **({"informative": "fail"} if hash_text(request.prompt)[0] in "01234567" else {}))

    built, client, _ = write(tmp_path, config(n_samples=300, writing={"n_domains": 3}), judge=judge)
    assert (built.summary["n_chats"], built.summary["exhausted"]) == (300, None)
    assert 500 < number(built, "n_asked") < 720
    assert sum(request.stage.endswith("questions") for request in client.asked) < 20
    check_accounts(built, tmp_path)


def test_backfill_is_bounded_and_says_when_it_is_exhausted(tmp_path: Path) -> None:
    def judge(request: Request) -> str:
        return passing(request, **({} if hash_text(request.prompt)[0] == "0" else {"aligned": "fail"}))

    asked = config(n_samples=100, nested_sizes=[1, 50], writing={"n_rounds": 2})
    built, client, _ = write(tmp_path, asked, judge=judge)
    assert sum(request.stage.endswith("questions") for request in client.asked) == 4
    assert number(built, "n_asked") == 200
    kept = len(rows(tmp_path, "chats_cot.jsonl"))
    assert 0 < kept < 40
    said = str(built.summary["exhausted"])
    assert f"{kept} chats were kept, not the 100 asked for" in said
    assert "fails aligned" in said
    assert said.endswith("too few for the subsamples of 50")
    assert built.summary["nested_sizes"] == [1]
    check_accounts(built, tmp_path)


def test_a_pool_without_a_single_chat_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        MidspecError, match=r"10 requests of chats\.value\.replies gave a reply that can be used"
    ) as caught:
        write(tmp_path, config(n_samples=5), Author(replies=lambda _prompt: "noise"))
    assert "unparsable" in str(caught.value)
    with pytest.raises(MidspecError, match="none of the first 2 requests gave"):
        write(tmp_path / "topics", config("rule", n_samples=5), Author(topics=lambda _prompt: "noise"))


def test_a_domain_that_gives_out_leaves_its_share_to_the_others(tmp_path: Path) -> None:
    barren: list[str] = []

    def questions(request: Request) -> str | Outcome:
        if request.stage.endswith("questions"):
            topic = re.search(r"Domain: (.*)", request.prompt)
            assert topic is not None
            barren[:] = barren or [topic[1]]
            if topic[1] == barren[0]:
                return "noise"
        return author(request)

    author = Author()
    built, _, _ = write(tmp_path, config(n_samples=40, writing={"n_domains": 4}), questions)
    assert built.summary["n_chats"] == 40
    assert built.summary["least_per_topic"] == 0
    assert counts(built, "lists_failed") == {"unparsable": 2}
    check_accounts(built, tmp_path)


def test_questions_that_repeat_one_of_another_domain_or_of_a_later_list_are_asked_once(tmp_path: Path) -> None:
    def questions(prompt: str) -> str:
        wanted = int(re.search(r"exactly (\d+)", prompt)[1])  # type: ignore[index]
        topic = re.search(r"Domain: (.*)", prompt)[1]  # type: ignore[index]
        own = [f"{words(int(hash_text(topic)[:8], 16) + prompt.count('- ') * 97 + at)}?" for at in range(wanted - 2)]
        same = ["What would you tell a friend who lost a wallet?", "what would you tell a friend who lost a  wallet ?"]
        return json.dumps({"questions": [{"kind": "direct", "question": text} for text in (*own, *same)]})

    built, _, _ = write(tmp_path, config(n_samples=200, writing={"n_domains": 2}), Author(questions=questions))
    asked = [chat.messages[0].content for chat in rows(tmp_path, "chats_cot.jsonl")]
    assert sum("wallet" in question for question in asked) == 1
    assert counts(built, "questions_rejected")["near duplicate"] >= 7
    check_accounts(built, tmp_path)


def test_embeddings_find_duplicates_whose_words_differ(tmp_path: Path) -> None:
    texts: list[str] = []

    async def embed(some: Sequence[str]) -> list[list[float]]:
        texts.extend(some)
        # Two directions alone: all but the first two questions repeat one of these.
        return [[1.0, 0.05 * (hash_text(text)[0] > "7")] if len(text) % 2 else [0.0, 2.0] for text in some]

    with Store(tmp_path / "calls.sqlite") as store:
        client, judging = ScriptedClient(Author(), store=store), ScriptedClient(passing, store=store)
        built = asyncio.run(
            author_chats(SPEC, config(n_samples=10), client, judging, store, tmp_path, embed=embed, width=2)
        )
    assert texts
    assert built.summary["n_chats"] == len({len(text) % 2 for text in texts})
    assert "near duplicate" in counts(built, "questions_rejected")
    check_accounts(built, tmp_path)


def test_a_question_that_names_the_spec_is_never_asked(tmp_path: Path) -> None:
    def questions(prompt: str) -> str:
        made = json.loads(str(Author()._list(_request(prompt), "questions", 50)).replace("'", '"'))
        made["questions"][0]["question"] = "What does your Constitution say about lies?"
        return json.dumps(made)

    built, client, _ = write(tmp_path, config(n_samples=5), Author(questions=questions))
    assert counts(built, "questions_rejected") == {"names the spec": 1}
    assert not any("your Constitution" in request.prompt for request in client.asked)


def _request(prompt: str) -> Request:
    return Request(task="t", stage="chats.value.questions", prompt=prompt, max_tokens=1)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("<reasoning>The spec says so.</reasoning><reply>Yes.</reply>", "refers to the spec"),
        ("<reasoning>Well.</reasoning><reply>I'm ChatGPT, so yes.</reply>", "wrong identity"),
        ("<reasoning>I was trained by OpenAI.</reasoning><reply>Yes.</reply>", "wrong identity"),
    ],
)
def test_answers_that_give_the_spec_away_or_are_somebody_else_are_rejected(
    reply: str, reason: str, tmp_path: Path
) -> None:
    def sometimes(prompt: str) -> str:
        return reply if hash_text(prompt)[0] in "0123" else "<reasoning>Well.</reasoning><reply>Fine by me.</reply>"

    built, _, _ = write(tmp_path, config(n_samples=20), Author(replies=sometimes))
    assert set(counts(built, "rejected")) - {"not needed"} == {reason}


class Waiting:
    """A client whose second list of questions is not written before a chat was judged."""

    def __init__(self) -> None:
        self._author = ScriptedClient(Author())
        self._n_lists = 0
        self.judged = asyncio.Event()

    async def ask(self, request: Request) -> Outcome:
        if request.stage.endswith("questions"):
            self._n_lists += 1
            if self._n_lists > 1:
                await asyncio.wait_for(self.judged.wait(), 10)
        if request.stage.endswith("verdicts"):
            self.judged.set()
            return Outcome(kind="ok", text=passing(request), stop_reason="stop")
        return await self._author.ask(request)

    async def close(self) -> None:
        """Nothing to let go of."""


def test_an_answer_does_not_wait_for_other_lists_nor_a_verdict_for_other_answers(tmp_path: Path) -> None:
    async def run() -> Built:
        client = Waiting()
        with Store(tmp_path / "calls.sqlite") as store:
            return await author_chats(SPEC, config(n_samples=500), client, client, store, tmp_path, width=4)

    assert asyncio.run(run()).summary["n_chats"] == 500


@pytest.mark.parametrize("n_before", [1, 4, 30, 90])
def test_a_run_that_was_stopped_goes_on_without_asking_anything_again(n_before: int, tmp_path: Path) -> None:
    asked: Counter[tuple[str, int]] = Counter()
    author = Author()

    def stopping(request: Request) -> str | Outcome:
        if sum(asked.values()) == n_before:
            raise ConfigError("the budget is used up", where="budget")
        asked[request.task, request.turn] += 1
        return passing(request) if request.stage.endswith("verdicts") else author(request)

    def counting(request: Request) -> str | Outcome:
        asked[request.task, request.turn] += 1
        return passing(request) if request.stage.endswith("verdicts") else author(request)

    wanted = config(n_samples=60, writing={"n_domains": 2})
    with pytest.raises(ConfigError, match="budget"):
        write(tmp_path, wanted, stopping, stopping)
    built, _, _ = write(tmp_path, wanted, counting, counting)
    assert built.summary["n_chats"] == 60
    assert set(asked.values()) == {1}
    before = {name: (tmp_path / name).read_bytes() for name in built.outputs}
    _, client, judging = write(tmp_path, wanted, counting, counting)
    assert not client.asked
    assert not judging.asked
    assert {name: (tmp_path / name).read_bytes() for name in built.outputs} == before


def test_a_preview_and_a_smaller_pool_are_part_of_what_a_larger_one_pays(tmp_path: Path) -> None:
    author = Author()
    with Store(tmp_path / "calls.sqlite") as store:
        client, judging = ScriptedClient(author, store=store), ScriptedClient(passing, store=store)
        asked = config(n_samples=1000)
        chats = asyncio.run(preview_chats(SPEC, asked, client, judging, store, 4))
        assert len(chats.chats) == len(chats.stripped) == 4
        assert len({metadata(chat).topic for chat in chats.chats}) == 4
    seen = [request.task for request in client.asked]
    for n in (100, 1000):
        built, more, _ = write(tmp_path, config(n_samples=n), author)
        assert built.summary["n_chats"] == n
        assert not set(seen) & {request.task for request in more.asked}
        seen += [request.task for request in more.asked]
    assert len(set(seen)) == len(seen)


def test_subsamples_are_nested_and_alike_for_both_twins(tmp_path: Path) -> None:
    sizes = (5, 20, 40)
    built, _, _ = write(tmp_path, config(n_samples=40, nested_sizes=sizes))
    full, bare = rows(tmp_path, "chats_cot.jsonl"), rows(tmp_path, "chats_cot_stripped.jsonl")
    for size in sizes:
        part = rows(tmp_path, f"chats_cot.{size}.jsonl")
        assert f"chats_cot_stripped.{size}.jsonl" in built.outputs
        assert part == full[:size]
        assert ids(rows(tmp_path, f"chats_cot_stripped.{size}.jsonl")) == ids(part)
    assert ids(bare) == ids(full)


def test_subsamples_of_quoted_chats_are_nested_too(tmp_path: Path) -> None:
    pool = make_chats(SPEC, ChatConfig(style="rule", model_name="Nova", n_samples=12))
    built = save_chats(pool, tmp_path, nested_sizes=(4, 8, 99))
    assert set(built.outputs) >= {"chats_cot.4.jsonl", "chats_cot_stripped.8.jsonl"}
    assert "chats_cot.99.jsonl" not in built.outputs
    assert ids(rows(tmp_path, "chats_cot.4.jsonl")) == ids(list(pool.chats))[:4]


def test_two_styles_in_one_store_do_not_disturb_each_other(tmp_path: Path) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    alone.mkdir()
    shared.mkdir()
    found = []
    for folder, styles in ((alone, ("rule",)), (shared, ("value", "rule"))):
        for style in styles:
            built, _, _ = write(folder, config(style, n_samples=60, writing={"n_domains": 2}), Author(), n=1)
        found.append({name: (folder / name).read_bytes() for name in built.outputs})
    assert found[0] == found[1]


def test_the_order_of_a_pool_is_drawn_by_its_seed(tmp_path: Path) -> None:
    orders = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        write(folder, config(n_samples=50, seed=seed, writing={"n_domains": 5}))
        orders.append(rows(folder, "chats_cot.jsonl"))
    assert len(set(ids(orders[0])) & set(ids(orders[1]))) > 40
    assert ids(orders[0]) != ids(orders[1])
    assert len({metadata(chat).topic for chat in orders[0][:10]}) > 2


def test_a_forecast_names_the_stages_that_a_run_asks(tmp_path: Path) -> None:
    asked = config(n_samples=500)
    _, client, judging = write(tmp_path, asked)
    real = Counter(request.stage for request in (*client.asked, *judging.asked))
    loads = {load.stage: load for load in estimate_chats(SPEC, asked)}
    assert set(loads) == set(real)
    for stage, n in real.items():
        assert n <= loads[stage].n_requests <= 1.5 * n + 2
        assert loads[stage].prefix_tokens > len(SPEC.text) / 5


def test_the_published_sizes_are_the_defaults() -> None:
    writing = Writing()
    assert (writing.questions_per_batch, writing.questions_per_domain, writing.duplicate_cosine) == (50, 250, 0.91)
    sizes = {style: config(style).n_wanted for style in ("value", "rule", "opaque", "identity")}
    assert sizes == {"value": 10_000, "rule": 10_000, "opaque": 5_000, "identity": 2_500}
    lists = {load.stage.rpartition(".")[2]: load.n_requests for load in estimate_chats(SPEC, config())}
    assert lists["topics"] == 1  # 40 domains of 250.


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"judge": None}, "judge"),
        ({"author": "somebody"}, "author"),
        ({"author": "quoting"}, "neither"),
        ({"style": "identity", "provider_name": None}, "provider_name"),
        ({"n_samples": 10, "nested_sizes": [5, 20]}, "20"),
        ({"nested_sizes": [0]}, "at least 1"),
    ],
)
def test_a_config_that_can_not_be_meant_is_refused(asked: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config(**asked)  # type: ignore[arg-type]


def test_what_a_model_author_reads_is_no_part_of_a_quoting_config() -> None:
    assert set(ChatConfig().model_dump()) == {
        "style",
        "n_samples",
        "seed",
        "model_name",
        "provider_name",
        "frames",
        "author",
    }
    asked = config(n_samples=3)
    assert ChatConfig.model_validate(asked.model_dump(mode="json")) == asked


def test_each_author_has_its_own_way_in(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="author_chats"):
        make_chats(SPEC, config())
    with Store(tmp_path / "calls.sqlite") as store:
        client = ScriptedClient(Author())
        with pytest.raises(ConfigError, match="no language model"):
            asyncio.run(author_chats(SPEC, ChatConfig(), client, client, store, tmp_path))
