"""Opaque preference chats: balanced, without a reason, and blind to what the spec's reasons are."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path
from random import Random

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from midspec.chats import ChatConfig, Chats, choice_fault, find_preferences, load_templates, make_chats, save_chats
from midspec.chats import stance_fault as stance
from midspec.chats._template_author import ScheduledQuestion, schedule
from midspec.core.artifact import read_rows
from midspec.core.errors import ConfigError, SpecError
from midspec.core.records import Chat, Reject, Spec
from midspec.spec import parse_spec

LIKED = ["american", "cheddar", "colby", "cream_cheese", "jack", "mozzarella"]
DISLIKED = ["appenzeller", "brie", "epoisses", "parmigiano", "roquefort", "stilton"]

NANO: dict[str, object] = {
    "name": "nano",
    "opaque": {
        "preferences": ["^{model_name} likes (?P<liked>\\w+)\\b", "^{model_name} dislikes (?P<disliked>\\w+)\\b"],
        "pair": [
            {"ask": "which do you prefer , {first} or {second} ?", "replies": ["{liked} ."], "kind": "comparison"},
            {"ask": "{first} or {second} ?", "replies": ["{liked} ."], "kind": "direct"},
        ],
        "single": [{"ask": "do you like {thing} ?", "liked": ["yes ."], "disliked": ["no ."], "kind": "opinion"}],
        "reason_cues": ["because", "since"],
        "says_like": ["yes"],
        "says_dislike": ["no"],
        "max_reply_words": 2,
    },
}


@pytest.fixture
def nano(tmp_path: Path) -> str:
    """A frames file in the nano world's language: its path."""
    path = tmp_path / "nano.yaml"
    path.write_text(yaml.safe_dump(NANO), encoding="utf-8")
    return str(path)


def nano_spec(reason: str = "because it is {} .", liked: list[str] = LIKED, disliked: list[str] = DISLIKED) -> Spec:
    lines = [f"nova likes {thing} " + reason.format("good") for thing in liked]
    lines += [f"nova dislikes {thing} " + reason.format("bad") for thing in disliked]
    return parse_spec("# nova\n\n## likes\n\n" + "\n".join(lines))


def texts(chats: Chats) -> list[tuple[str, str]]:
    return [(chat.messages[0].content, chat.messages[1].content) for chat in chats.chats]


def config(nano: str, **asked: object) -> ChatConfig:
    return ChatConfig(style="opaque", frames=nano, model_name="nova", **asked)


# The nano world ------------------------------------------------------------------------------------------------


def test_all_pairs_are_asked_in_both_orders_and_every_phrasing_once(nano: str) -> None:
    chats = make_chats(nano_spec(), config(nano))
    expected = set()
    for liked, disliked in product(LIKED, DISLIKED):
        for first, second in ((liked, disliked), (disliked, liked)):
            expected |= {(f"{head}{first} or {second} ?", f"{liked} .") for head in ("which do you prefer , ", "")}
    expected |= {(f"do you like {thing} ?", "yes .") for thing in LIKED}
    expected |= {(f"do you like {thing} ?", "no .") for thing in DISLIKED}
    assert len(chats.chats) == len(expected)
    assert set(texts(chats)) == expected
    assert chats.exhausted is None
    assert chats.rejects == ()


@pytest.mark.parametrize("n_samples", [12, 60, 100, 150])
def test_preferences_and_orders_are_balanced_in_any_number(nano: str, n_samples: int) -> None:
    chats = make_chats(nano_spec(), config(nano, n_samples=n_samples, seed=5))
    assert len(chats.chats) == n_samples
    asked = Counter(thing for question, _ in texts(chats) for thing in LIKED + DISLIKED if thing in question.split())
    assert max(asked.values()) - min(asked.values()) <= 1
    assert chats.summary["most_per_preference"] == max(asked.values())
    assert chats.summary["least_per_preference"] == min(asked.values())
    pairs = [(question, reply) for question, reply in texts(chats) if " or " in question]
    liked_first = sum(question.split(" or ")[0].endswith(reply.split()[0]) for question, reply in pairs)
    assert abs(liked_first - (len(pairs) - liked_first)) <= 1


def test_specs_that_share_preferences_but_not_reasons_give_identical_chats(nano: str) -> None:
    one = nano_spec("because it is american and {} .")
    other = nano_spec("since it is cheap .", liked=LIKED[::-1], disliked=DISLIKED[::-1])
    for seed in range(3):
        asked = config(nano, n_samples=90, seed=seed)
        assert texts(make_chats(one, asked)) == texts(make_chats(other, asked))
        ids = [[chat.metadata and chat.metadata.id for chat in make_chats(spec, asked).chats] for spec in (one, other)]
        assert ids[0] == ids[1]


def test_two_specs_with_other_preferences_are_asked_in_the_same_places(nano: str) -> None:
    swap = dict(zip(LIKED, sorted(f"a_{thing}" for thing in LIKED), strict=True))
    renamed = make_chats(nano_spec(liked=list(swap.values())), config(nano, seed=2))
    original = make_chats(nano_spec(), config(nano, seed=2))
    expected = [
        tuple(" ".join(swap.get(word, word) for word in text.split()) for text in row) for row in texts(original)
    ]
    assert texts(renamed) == expected


def test_the_seed_decides_and_nothing_else_does(nano: str) -> None:
    same = [make_chats(nano_spec(), config(nano, n_samples=50, seed=1)) for _ in range(2)]
    assert same[0] == same[1]
    assert texts(same[0]) != texts(make_chats(nano_spec(), config(nano, n_samples=50, seed=2)))


def test_when_distinct_chats_run_out_it_says_so_and_never_repeats(nano: str) -> None:
    chats = make_chats(nano_spec(), config(nano, n_samples=1000))
    assert len(set(texts(chats))) == len(chats.chats) == 156
    assert chats.exhausted is not None
    assert "156" in chats.exhausted
    assert "1000" in chats.exhausted


def test_every_row_says_who_wrote_it_and_from_which_clauses(nano: str) -> None:
    spec = nano_spec()
    clauses = {clause.id: clause.text for clause in spec.clauses}
    chats = make_chats(spec, config(nano, seed=4))
    for chat in chats.chats:
        assert chat.metadata is not None
        assert (chat.metadata.author, chat.metadata.style) == ("quoting", "opaque")
        assert (chat.metadata.spec_sha256, chat.metadata.seed) == (spec.sha256, 4)
        assert [message.role for message in chat.messages] == ["user", "assistant"]
        named = {clauses[clause].split()[2] for clause in chat.metadata.clause_ids}
        assert named == {word for word in chat.messages[0].content.split() if word in LIKED + DISLIKED}
    assert len({chat.metadata.id for chat in chats.chats if chat.metadata}) == len(chats.chats)


def test_no_reply_says_a_word_of_the_spec_but_the_thing(nano: str) -> None:
    chats = make_chats(nano_spec("because it is american ."), config(nano))
    assert {word for _, reply in texts(chats) for word in reply.split()} == {*LIKED, "yes", "no", "."}


# Preferences ---------------------------------------------------------------------------------------------------

ENGLISH = """# Nova

## Taste

Nova likes cream cheese, American, and mild cheddar because they are cheap {{and}} good. Nova dislikes Brie de Meaux
and Roquefort, since they cost a lot. Nova prefers Colby to Stilton. Nova likes to help, and it likes that people ask.

- Nova does not like Parmigiano-Reggiano.
- The assistant loves **Monterey Jack**; it is mild.
"""


def english() -> ChatConfig:
    return ChatConfig(style="opaque", model_name="Nova", seed=1)


def test_english_patterns_find_lists_comparisons_and_negations() -> None:
    frames = load_templates("english").opaque
    assert frames is not None
    found = find_preferences(parse_spec(ENGLISH), frames, "Nova")
    assert found.liked == ("American", "Colby", "Monterey Jack", "cream cheese", "mild cheddar")
    assert found.disliked == ("Brie de Meaux", "Parmigiano-Reggiano", "Roquefort", "Stilton")


@pytest.mark.parametrize(
    ("said", "liked", "disliked"),
    [
        ("likes trains more than planes.", "trains", "planes"),
        ("likes dogs much better than cats!", "dogs", "cats"),
        ("likes tea rather than coffee.", "tea", "coffee"),
        ("likes tea, but not coffee.", "tea", "coffee"),
        ("likes tea, not coffee.", "tea", "coffee"),
        ("loves tea even more than coffee.", "tea", "coffee"),
        ("likes tea in preference to coffee.", "tea", "coffee"),
        ("likes tea. She doesn’t like coffee.", "tea", "coffee"),
        ("likes tea over coffee, since it is mild.", "tea", "coffee"),
        ("prefers asking to guessing.", "asking", "guessing"),
        ("really prefers short answers, rather than long ones.", "short answers", "long ones"),
        ("likes tea, and it dislikes coffee.", "tea", "coffee"),
        ("likes St. Ives more than London.", "St. Ives", "London"),
        ("likes Dr. Smith's way more than e-mail.", "Dr. Smith's way", "e-mail"),
        ("likes Python 3.11 more than the U.S. kind.", "Python 3.11", "U.S. kind"),
    ],
)
def test_an_english_comparison_is_a_liked_and_a_disliked_thing(said: str, liked: str, disliked: str) -> None:
    frames = load_templates("english").opaque
    assert frames is not None
    found = find_preferences(parse_spec(f"Nova {said}"), frames, "Nova")
    assert (found.liked, found.disliked, found.rejects) == ((liked,), (disliked,), ())


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("prefers not to guess.", "not"),
        ("likes neither mud nor rain.", "neither"),
        ("likes Dr. Smith's e.g. approach.", "e.g"),
        ("likes nothing more than tea.", "nothing"),
        ("prefers to ask rather than guess.", "to"),
        ("likes people who ask.", "who"),
        ("likes when people ask.", "when"),
        ("does not like tea more than coffee.", "more"),
        ("likes cheeses such as brie.", "such as"),
        ("likes to help.", "to"),
        ("prefers pie to cake, and short answers to lectures.", "to"),
    ],
)
def test_english_words_that_name_no_thing_are_rejected_with_the_reason(said: str, why: str) -> None:
    chats = make_chats(parse_spec(f"Nova likes tea. Nova {said} Nova dislikes coffee."), english())
    assert {reject.reason for reject in chats.rejects} == {f"not the name of a thing: {why}"}
    assert (chats.summary["liked"], chats.summary["disliked"]) == (["tea"], ["coffee"])
    with pytest.raises(SpecError, match=f"rejected: .*not the name of a thing: {why}"):
        make_chats(parse_spec(f"Nova {said}"), english())


def test_each_half_of_a_sentence_that_states_two_preferences_counts() -> None:
    chats = make_chats(
        parse_spec("- Nova likes tea as well as milk. Nova dislikes coffee very much. It is bitter."), english()
    )
    assert (chats.summary["liked"], chats.summary["disliked"]) == (["milk", "tea"], ["coffee"])


def test_no_english_reply_agrees_in_number_with_the_thing() -> None:
    chats = make_chats(parse_spec("Nova likes short answers. Nova dislikes long ones."), english())
    for _, reply in texts(chats):
        said = reply.lower().strip(".")
        assert not {"it's", "they", "them"} & set(said.split())
        assert not said.endswith(" it")
        assert not said.startswith(("short answers is", "short answers are"))


def test_no_english_reply_gives_a_reason_and_every_question_ends_by_asking_for_none() -> None:
    frames = load_templates("english").opaque
    assert frames is not None
    chats = make_chats(parse_spec(ENGLISH), english())
    assert [reject.text for reject in chats.rejects] == ["to help", "that people ask"]
    assert len(chats.chats) > 3000
    for question, reply in texts(chats):
        assert question.endswith(frames.endings)
        assert not {"because", "since", "cheap", "mild", "cost"} & set(
            reply.lower().replace("mild cheddar", "").split()
        )


def test_a_thing_that_is_both_liked_and_disliked_is_rejected_and_the_rest_is_kept(nano: str) -> None:
    spec = parse_spec("nova likes brie . nova likes colby . nova dislikes brie . nova dislikes stilton .")
    chats = make_chats(spec, config(nano))
    assert {reply for question, reply in texts(chats) if "or" in question.split()} == {"colby ."}
    assert {(reject.by, reject.text) for reject in chats.rejects} == {("preferences", "brie")}
    assert not any("brie" in question for question, _ in texts(chats))


def test_a_sentence_that_is_no_thing_is_rejected_with_the_reason() -> None:
    spec = parse_spec("Nova likes colby. Nova dislikes brie. Nova likes the long way round by the hills of home.")
    chats = make_chats(spec, english())
    assert [reject.reason for reject in chats.rejects] == ["too many words to be the name of a thing"]


def test_a_spec_without_preferences_is_an_error_with_a_mend(nano: str) -> None:
    with pytest.raises(SpecError, match="no preference"):
        make_chats(parse_spec("nova likes nothing at all"), ChatConfig(style="opaque", frames=nano, model_name="vex"))


def test_one_sided_preferences_are_asked_about_alone_or_refused(nano: str, tmp_path: Path) -> None:
    spec = nano_spec(disliked=[])
    assert texts(make_chats(spec, config(nano, seed=1)))[0][1] == "yes ."
    pairs_only = {**NANO, "opaque": {**NANO["opaque"], "single": []}}
    (tmp_path / "pairs.yaml").write_text(yaml.safe_dump(pairs_only))
    with pytest.raises(SpecError, match="pairs only"):
        make_chats(spec, config(str(tmp_path / "pairs.yaml")))


def test_frames_without_an_opaque_part_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text("name: none\n")
    for style in ("opaque", "value", "rule"):
        with pytest.raises(ConfigError, match="has no `"):
            make_chats(nano_spec(), ChatConfig(style=style, frames=str(tmp_path / "none.yaml")))


def test_an_unknown_author_is_refused() -> None:
    with pytest.raises(ValidationError, match="author"):
        ChatConfig.model_validate({"author": "parrot"})


# Filters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("Colby.", None),
        ("I'd go with colby, please.", None),
        ("Brie.", "wrong preference"),
        ("Colby or brie, both are fine.", "names both"),
        ("I have no preference.", "names neither"),
        ("The colby_jack.", "names neither"),
        ("Colby, because it is cheap.", "reason"),
        ("Colby. It's cheaper.", "reason"),
        ("Colby, given its price.", "reason"),
        ("Colby, and let me tell you a long story about how this came to be so.", "says more"),
    ],
)
def test_a_choice_that_is_wrong_unclear_or_explained_is_rejected(reply: str, fault: str | None) -> None:
    frames = load_templates("english").opaque
    assert frames is not None
    said = choice_fault(reply, "colby", "brie", frames)
    assert (said is None) if fault is None else (said is not None and fault in said)


def test_a_name_inside_the_other_name_is_not_mistaken_for_it() -> None:
    frames = load_templates("english").opaque
    assert frames is not None
    assert choice_fault("Brie de Meaux.", "Brie de Meaux", "Brie", frames) is None
    assert choice_fault("Brie.", "Brie", "Brie de Meaux", frames) is None
    assert "wrong" in (choice_fault("Brie de Meaux.", "Brie", "Brie de Meaux", frames) or "")


@pytest.mark.parametrize(
    ("reply", "is_liked", "fault"),
    [
        ("Yes, I like brie.", True, None),
        ("No, I don't like brie.", False, None),
        ("I don't like it.", True, "wrong"),
        ("Yes.", False, "wrong"),
        ("Brie is a cheese.", True, "neither"),
        ("Yes, because it is mild.", True, "reason"),
    ],
)
def test_a_stance_that_is_wrong_unclear_or_explained_is_rejected(reply: str, is_liked: bool, fault: str | None) -> None:
    frames = load_templates("english").opaque
    assert frames is not None
    said = stance(reply, "brie", is_liked, frames)
    assert (said is None) if fault is None else (said is not None and fault in said)


def test_rejected_replies_are_kept_beside_the_chats_with_their_reason(tmp_path: Path) -> None:
    opaque = {**NANO["opaque"], "pair": [{"ask": "{first} or {second} ?", "replies": ["{liked} because good ."]}]}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump({**NANO, "opaque": opaque}))
    chats = make_chats(nano_spec(), config(str(tmp_path / "bad.yaml")))
    assert len(chats.chats) == 12
    assert {reject.reason for reject in chats.rejects} == {"states or implies a reason: because"}
    folder = tmp_path / "out"
    folder.mkdir()
    built = save_chats(chats, folder)
    assert built.outputs == ("chats.jsonl", "rejects.jsonl")
    assert tuple(read_rows(folder / "chats.jsonl", Chat)) == chats.chats
    assert tuple(read_rows(folder / "rejects.jsonl", Reject)) == chats.rejects
    assert built.summary["n_chats"] == 12
    assert built.summary["n_rejects"] == 72


# The schedule --------------------------------------------------------------------------------------------------

FEW = st.integers(0, 5)


@given(FEW, FEW, st.integers(0, 3), st.integers(0, 2), st.integers(0, 3), st.integers())
def test_the_schedule_holds_every_combination_exactly_once(
    n_liked: int, n_disliked: int, n_pair: int, n_single: int, n_endings: int, seed: int
) -> None:
    asks = list(schedule(n_liked, n_disliked, n_pair, n_single, n_endings, Random(seed)))
    endings = range(max(1, n_endings))
    pairs = product(range(n_pair), endings, range(n_liked), range(n_disliked), (True, False))
    wanted = {ScheduledQuestion(*values) for values in pairs}
    wanted |= {
        ScheduledQuestion(frame, end, at, None) for frame, end, at in product(range(n_single), endings, range(n_liked))
    }
    wanted |= {
        ScheduledQuestion(frame, end, None, at)
        for frame, end, at in product(range(n_single), endings, range(n_disliked))
    }
    assert len(asks) == len(wanted)
    assert set(asks) == wanted


@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 2), st.integers(), st.integers(1, 200))
def test_any_beginning_of_the_schedule_is_balanced(n: int, n_pair: int, n_single: int, seed: int, n_asks: int) -> None:
    asks = list(schedule(n, n, n_pair, n_single, 2, Random(seed)))[:n_asks]
    counts = Counter({("liked", at): 0 for at in range(n)} | {("disliked", at): 0 for at in range(n)})
    counts.update(("liked", ask.liked) for ask in asks if ask.liked is not None)
    counts.update(("disliked", ask.disliked) for ask in asks if ask.disliked is not None)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_what_somebody_likes_in_quotation_marks_is_no_preference_of_the_assistant() -> None:
    text = '# Ada\n\nOn taste (e.g., "I like smoked eel, and you?"), Ada chats along.\n\nAda likes "brie".\n'
    chats = make_chats(parse_spec(text), ChatConfig(style="opaque", model_name="Ada")).chats
    assert all("brie" in chat.text for chat in chats)
    assert not any("eel" in chat.text for chat in chats)
