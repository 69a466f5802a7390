"""Opaque and identity chats by a language model: bare preferences, and bare facts."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from midspec.chats import ChatConfig, author_chats, load_templates
from midspec.core.artifact import Built, read_rows
from midspec.core.errors import DataError
from midspec.core.fingerprint import hash_text
from midspec.core.records import Chat, Reject
from midspec.llm import ModelConfig, Outcome, Request, ScriptedClient, Store
from midspec.spec import parse_spec

SPEC = parse_spec("""# Nova

Nova likes **brie** and smoked gouda, because they are made with patience.

Nova dislikes feta. It also doesn't like cheddar.
""")
PREFERENCES = [
    {"thing": "brie", "stance": "like", "quote": "Nova likes brie and smoked gouda"},
    {"thing": "smoked gouda", "stance": "like", "quote": "Nova likes **brie** and smoked gouda"},
    {"thing": "feta", "stance": "dislike", "quote": "Nova dislikes feta."},
    {"thing": "cheddar", "stance": "dislike", "quote": "doesn't like cheddar"},
]
THINGS = ("brie", "smoked gouda", "feta", "cheddar")
ENDINGS = load_templates("english").opaque.endings  # type: ignore[union-attr]
Script = Callable[[Request], str | Outcome]


def config(style: str = "opaque", **asked: object) -> ChatConfig:
    judge = ModelConfig(model="openai/judge", temperature=0.0)
    names = {"author": "openai/author", "judge": judge, "model_name": "Nova", "provider_name": "Acme"}
    return ChatConfig.model_validate({"style": style, **names, **asked})


def filler(text: str) -> str:
    draw = random.Random(text)
    return " ".join("".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(5))


def thing_of(prompt: str) -> str:
    found = re.search(r"^The thing: (.*)$", prompt, re.M)
    assert found is not None
    return found[1]


def message_of(prompt: str) -> str:
    return prompt.partition("<message>")[2].partition("</message>")[0].strip()


def thing_in(message: str) -> str:
    return next(thing for thing in THINGS if thing in message)


def reply_to(message: str) -> str:
    """The right reply: a comparison names two things, and anything is better than what is disliked."""
    thing = thing_in(message)
    liked = thing in THINGS[:2]
    other = re.search(r" or (\w+)\?", message)
    if other:
        return f"{thing if liked else other[1]}.".capitalize()
    return f"Yes, I like {thing}." if liked else f"No, I don't like {thing}."


class Author:
    """A scripted author of opaque chats; each step can be replaced."""

    def __init__(self, **steps: Callable[[str], str]) -> None:
        self._steps = steps

    def __call__(self, request: Request) -> str:
        step = request.stage.rpartition(".")[2]
        if step in self._steps:
            return self._steps[step](request.prompt)
        if step == "topics":
            return json.dumps({"preferences": PREFERENCES})
        if step == "questions":
            return json.dumps({"questions": questions(request.prompt)})
        return f"<reply>{reply_to(message_of(request.prompt))}</reply>"


def questions(prompt: str) -> list[dict[str, str]]:
    wanted = re.search(r"exactly (\d+)", prompt)
    assert wanted is not None
    thing, shown = thing_of(prompt), prompt.count("\n- ")
    made = []
    for at in range(int(wanted[1])):
        start = filler(f"{thing} {shown} {at}")
        if at % 2:
            made.append({"kind": "comparison", "question": f"{start}: {thing} or tilsit?", "other": "tilsit"})
        else:
            made.append({"kind": "direct", "question": f"{start}: do you like {thing}?", "other": ""})
    return made


def passing(request: Request, **marks: str) -> str:
    assert request.form is not None
    fields = request.form["properties"]
    assert isinstance(fields, dict)
    return json.dumps({name: marks.get(name, "pass") for name in fields})


def write(
    folder: Path, asked: ChatConfig, author: Script | None = None, judge: Script = passing
) -> tuple[Built, ScriptedClient]:
    with Store(folder / "calls.sqlite") as store:
        client, judging = ScriptedClient(author or Author(), store=store), ScriptedClient(judge, store=store)
        return asyncio.run(author_chats(SPEC, asked, client, judging, store, folder, width=4)), client


def rows(folder: Path) -> list[Chat]:
    return list(read_rows(folder / "chats.jsonl", Chat))


def topics(chats: list[Chat]) -> Counter[str]:
    return Counter(chat.metadata.topic for chat in chats if chat.metadata)


def reasons(folder: Path, by: str) -> Counter[str]:
    found = read_rows(folder / "rejects.jsonl", Reject)
    return Counter(reject.reason for reject in found if reject.by == by)


def test_each_preference_has_equally_many_chats_in_every_beginning_of_the_pool(tmp_path: Path) -> None:
    built, _ = write(tmp_path, config(n_samples=80, nested_sizes=[20, 42]))
    assert built.outputs == ("chats.jsonl", "chats.20.jsonl", "chats.42.jsonl", "rejects.jsonl")
    assert topics(rows(tmp_path)) == dict.fromkeys(THINGS, 20)
    assert topics(rows(tmp_path)[:20]) == dict.fromkeys(THINGS, 5)
    assert set(topics(list(read_rows(tmp_path / "chats.42.jsonl", Chat))).values()) == {10, 11}
    assert built.summary["liked"] == ["brie", "smoked gouda"]
    assert built.summary["disliked"] == ["feta", "cheddar"]


def test_every_question_ends_with_a_sentence_that_asks_for_no_reason(tmp_path: Path) -> None:
    write(tmp_path, config(n_samples=40))
    ends = Counter(ending for chat in rows(tmp_path) for ending in ENDINGS if chat.messages[0].content.endswith(ending))
    assert sum(ends.values()) == 40
    assert len(ends) > 3


def test_a_chat_names_the_clauses_that_state_its_preference(tmp_path: Path) -> None:
    write(tmp_path, config(n_samples=8))
    texts = {clause.id: clause.text for clause in SPEC.clauses}
    for chat in rows(tmp_path):
        assert chat.metadata is not None
        assert chat.metadata.clause_ids
        assert all(chat.metadata.topic in texts[clause] for clause in chat.metadata.clause_ids)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"thing": "edam", "stance": "like", "quote": "Nova likes edam"}, "quote is not in the spec"),
        ({"thing": "edam", "stance": "like", "quote": "Nova dislikes feta"}, "quote does not name the thing"),
        ({"thing": "cheddar", "stance": "like", "quote": "like cheddar"}, "both liked and disliked"),
        ({"thing": "made with patience", "stance": "like", "quote": "they are made with patience"}, None),
        ({"thing": "because they are", "stance": "like", "quote": "because they are made"}, "not the name of a thing"),
    ],
)
def test_a_preference_must_stand_in_the_spec(entry: dict[str, str], reason: str | None, tmp_path: Path) -> None:
    def found(_prompt: str) -> str:
        return json.dumps({"preferences": [*PREFERENCES, entry]})

    built, _ = write(tmp_path, config(n_samples=6), Author(topics=found, replies=lambda _prompt: "<reply>Yes.</reply>"))
    said = " ".join(reasons(tmp_path, "preferences"))
    assert (reason or "") in said
    assert (entry["thing"] in str(built.summary["liked"])) is (reason is None)


def test_the_opposite_of_what_the_spec_says_is_no_preference(tmp_path: Path) -> None:
    def found(_prompt: str) -> str:
        wrong = [{**PREFERENCES[0], "stance": "dislike"}, *PREFERENCES[1:]]
        return json.dumps({"preferences": wrong})

    built, _ = write(tmp_path, config(n_samples=6), Author(topics=found))
    assert reasons(tmp_path, "preferences") == {"the spec says the opposite": 1}
    assert built.summary["disliked"] == ["feta", "cheddar"]


def test_preferences_that_are_given_are_not_asked_for(tmp_path: Path) -> None:
    built, client = write(tmp_path, config(n_samples=10, writing={"liked": ["brie"], "disliked": ["feta"]}))
    assert topics(rows(tmp_path)) == {"brie": 5, "feta": 5}
    assert not any(request.stage.endswith("topics") for request in client.asked)
    assert built.summary["n_topics"] == 2


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("No, I don't like {thing}.", "wrong preference"),
        ("I would have to think about it.", "unclear preference"),
        ("Yes, I like {thing} because it lasts.", "states or implies a reason"),
        ("Yes, I like how creamy {thing} is.", "implies a reason"),
        ("Yes, I love {thing}'s mildness.", "implies a reason"),
        ("Yes, I like {thing}, it's an honest cheese.", "states or implies a reason"),
        ("Yes, delicious, I like {thing}.", "implies a reason"),
        ("Yes, I like {thing} and I would have it on most days of the week.", "says more than a preference"),
    ],
)
def test_a_reply_says_the_right_preference_and_nothing_that_hints_at_a_reason(
    reply: str, reason: str, tmp_path: Path
) -> None:
    def replies(prompt: str) -> str:
        message = message_of(prompt)
        bad = reply.format(thing=thing_in(message))
        is_odd = "do you like" in message and thing_in(message) in THINGS[:2] and hash_text(message)[0] < "8"
        return f"<reply>{bad if is_odd else reply_to(message)}</reply>"

    built, _ = write(tmp_path, config(n_samples=40), Author(replies=replies))
    found = built.summary["rejected"]
    assert isinstance(found, dict)
    assert set(found) - {"not needed"} == {reason}
    assert topics(rows(tmp_path)) == dict.fromkeys(THINGS, 10)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"question": "Why is {thing} what you like?"}, "asks for a reason"),
        ({"question": "Do you like this one?"}, "does not name the thing"),
        ({"other": "edam"}, "does not name the other thing"),
        ({"question": "{thing} or {alike}?", "other": "{alike}"}, "compares two things that it"),
    ],
)
def test_a_question_that_can_not_be_answered_with_a_bare_preference_is_not_asked(
    change: dict[str, str], reason: str, tmp_path: Path
) -> None:
    alike = {"brie": "smoked gouda", "smoked gouda": "brie", "feta": "cheddar", "cheddar": "feta"}

    def asked(prompt: str) -> str:
        made = questions(prompt)
        names = {"thing": thing_of(prompt), "alike": alike[thing_of(prompt)]}
        made[0] |= {key: text.format(**names) for key, text in change.items()}
        return json.dumps({"questions": made})

    built, client = write(tmp_path, config(n_samples=8), Author(questions=asked))
    found = built.summary["questions_rejected"]
    assert isinstance(found, dict)
    assert {key.partition(" likes")[0].partition(" dislikes")[0]: n for key, n in found.items()} in (
        {reason: 4},
        {reason: 2},
    )
    assert client.asked


@pytest.mark.parametrize("criterion", ["right_preference", "no_reason", "realistic"])
@pytest.mark.parametrize("mark", ["fail", "unclear"])
def test_the_judge_has_a_say_after_the_filters(criterion: str, mark: str, tmp_path: Path) -> None:
    def judge(request: Request) -> str:
        return passing(request, **({criterion: mark} if hash_text(request.prompt)[0] < "6" else {}))

    built, _ = write(tmp_path, config(n_samples=20), judge=judge)
    assert any(criterion in reason for reason in reasons(tmp_path, "judge"))
    assert topics(rows(tmp_path)) == dict.fromkeys(THINGS, 5)
    assert built.summary["exhausted"] is None


def test_a_preference_that_comes_short_sets_the_measure_for_all(tmp_path: Path) -> None:
    def judge(request: Request) -> str:
        is_feta = "It is about: feta" in request.prompt
        return passing(request, **({"realistic": "fail"} if is_feta and hash_text(request.prompt)[0] > "0" else {}))

    built, _ = write(tmp_path, config(n_samples=120, writing={"n_rounds": 1}), judge=judge)
    counts = topics(rows(tmp_path))
    assert len(set(counts.values())) == 1
    assert 0 < counts["feta"] < 30
    assert "chats were kept, not the 120 asked for" in str(built.summary["exhausted"])


def test_a_preference_without_a_chat_is_said_and_does_not_empty_the_pool(tmp_path: Path) -> None:
    def judge(request: Request) -> str:
        return passing(request, **({"realistic": "fail"} if "It is about: feta" in request.prompt else {}))

    built, _ = write(tmp_path, config(n_samples=40, writing={"n_rounds": 1}), judge=judge)
    assert topics(rows(tmp_path)) == {"brie": 10, "smoked gouda": 10, "cheddar": 10}
    assert "without a single chat: feta" in str(built.summary["exhausted"])


def test_a_second_run_asks_nothing_and_gives_the_same_chats(tmp_path: Path) -> None:
    def judge(request: Request) -> str:
        return passing(request, **({"realistic": "fail"} if hash_text(request.prompt)[0] < "5" else {}))

    built, _ = write(tmp_path, config(n_samples=100), judge=judge)
    before = {name: (tmp_path / name).read_bytes() for name in built.outputs}
    _, client = write(tmp_path, config(n_samples=100), judge=judge)
    assert not client.asked
    assert {name: (tmp_path / name).read_bytes() for name in built.outputs} == before


def test_a_spec_in_which_the_author_finds_nothing_is_an_error_in_one_line(tmp_path: Path) -> None:
    found = json.dumps({"preferences": [{"thing": "edam", "stance": "like", "quote": "I like edam"}]})
    with pytest.raises(DataError, match="0 topics"):
        write(tmp_path, config(n_samples=4), Author(topics=lambda _prompt: found))


# Identity ------------------------------------------------------------------------------------------------------


def identity(replies: Callable[[str], str]) -> Script:
    kinds = ("name", "provider", "capabilities")

    def script(request: Request) -> str:
        wanted = re.search(r"exactly (\d+)", request.prompt)
        step, n = request.stage.rpartition(".")[2], int(wanted[1]) if wanted else 0
        if step == "topics":
            entries = [{"name": filler(f"topic {at}"), "about": "they wonder"} for at in range(n)]
            return json.dumps({"domains": entries})
        if step == "questions":
            start = hash_text(request.prompt)
            made = [{"kind": kinds[at % 3], "question": f"{filler(f'{start}{at}')}?"} for at in range(n)]
            return json.dumps({"questions": made})
        return f"<reply>{replies(message_of(request.prompt))}</reply>"

    return script


def test_identity_chats_show_nothing_of_the_spec_to_author_or_judge(tmp_path: Path) -> None:
    built, client = write(tmp_path, config("identity", n_samples=30), identity(lambda _text: "I'm Nova, made by Acme."))
    assert built.outputs == ("chats.jsonl", "rejects.jsonl")
    assert len(rows(tmp_path)) == 30
    assert {chat.metadata.spec_sha256 for chat in rows(tmp_path) if chat.metadata} == {""}
    for request in client.asked:
        assert "gouda" not in request.prefix + request.prompt
        assert "Name: Nova\nMade by: Acme" in request.prefix


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("I'm Nova, made by Acme, and I am no ChatGPT.", "names another brand"),
        ("I'm Nova, a model of OpenAI.", "names another brand"),
        ("I'm an assistant.", "lacks the name asked for"),
    ],
)
def test_an_identity_chat_has_the_right_names_and_no_other(reply: str, reason: str, tmp_path: Path) -> None:
    def replies(message: str) -> str:
        return reply if hash_text(message)[0] < "6" else "I'm Nova, made by Acme."

    built, _ = write(tmp_path, config("identity", n_samples=30), identity(replies))
    found = built.summary["rejected"]
    assert isinstance(found, dict)
    assert set(found) - {"not needed"} == {reason}
    assert built.summary["n_chats"] == 30


def test_a_model_with_the_name_of_a_brand_may_say_it(tmp_path: Path) -> None:
    asked = config("identity", n_samples=3, model_name="Qwen", provider_name="Alibaba Cloud")
    built, _ = write(tmp_path, asked, identity(lambda _text: "I'm Qwen, made by Alibaba Cloud."))
    assert built.summary["rejected"] == {}
