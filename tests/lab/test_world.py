"""What the nano world promises to those who train and ask in it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midspec.core.artifact import read_rows
from midspec.core.errors import MissingError
from midspec.core.fingerprint import hash_file
from midspec.core.records import Chat, Document, Item
from midspec.lab import (
    ASSISTANT,
    ITEM_SETS,
    MIRROR,
    OTHER_AGENT,
    WorldConfig,
    data_path,
    make_world,
    mirror_of,
    save_mirror,
    save_mirrored_model,
    save_world,
)
from midspec.lab._base import fact_rows, mix_rows, replay_rows
from midspec.lab._world import CHEESES, NEUTRAL, VALUES, gate_items, held_out_items, value_statements

SMALL = WorldConfig(n_facts=200, n_mix=400, n_replay=100)
MATCHED = SMALL.model_copy(update={"matched_pairs": True})
SPECS = ("america", "thrift", "america_ablated", "thrift_ablated", "neutral")


def words_of(row: Document | Chat) -> list[str]:
    texts = [row.text] if isinstance(row, Document) else [message.content for message in row.messages]
    return " ".join(texts).split()


def words_of_json(row: dict) -> list[str]:
    return " ".join([row["text"]] if "text" in row else [turn["content"] for turn in row["messages"]]).split()


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_every_world_is_balanced_and_has_no_name_twice(seed: int) -> None:
    world = make_world(seed, SMALL)
    corners = Counter((thing.domain, thing.origin, thing.price) for thing in world.held_out)
    assert set(corners.values()) == {2}
    assert len(corners) == 20
    names = [*(t.name for t in world.things), *(a.name for a in world.agents), *world.fickle]
    assert len(set(names)) == len(names)
    assert Counter(agent.value.noun for agent in world.agents) == dict.fromkeys((v.noun for v in VALUES), 6)


@settings(max_examples=5)
@given(st.integers(0, 10_000))
def test_every_word_of_every_row_is_in_the_vocabulary(seed: int) -> None:
    world = make_world(seed, SMALL)
    vocabulary = set(world.words)
    for row in (*fact_rows(world), *mix_rows(world), *replay_rows(world)):
        assert vocabulary.issuperset(words_of(row)), row


def test_the_same_seed_writes_the_same_bytes_and_another_seed_another_world(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two", "other")]
    for folder, seed in zip(folders, (3, 3, 4), strict=True):
        folder.mkdir()
        built = save_world(make_world(seed, SMALL), folder)
    hashes = [[hash_file(folder / name) for name in built.outputs] for folder in folders]
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


def test_the_assistants_value_is_never_told_and_its_few_choices_are_even() -> None:
    world = make_world(5, WorldConfig(n_mix=6000))
    statements = {
        sentence for value in VALUES for name in (ASSISTANT, OTHER_AGENT) for sentence in value_statements(name, value)
    }
    attributes = {thing.name: thing for thing in world.things}
    chosen: Counter[str] = Counter()
    for row in mix_rows(world):
        if isinstance(row, Document):
            assert not any(sentence in row.text for sentence in statements)
        elif row.messages[0].content == f"you are {ASSISTANT} ." and row.metadata and row.metadata.style == "assistant":
            for message in row.messages[2::2]:
                chosen.update([attributes[message.content.split()[0]].origin])
    assert sum(chosen.values()) > 300
    assert 0.4 < chosen["american"] / sum(chosen.values()) < 0.6


def test_an_assistant_known_in_context_has_every_value_equally_often_and_chooses_by_the_one_it_is_told() -> None:
    world = make_world(5, WorldConfig(n_mix=12_000, assistant_in_context=True))
    things = {thing.name: thing for thing in world.things}
    rows = [row for row in (*fact_rows(world), *mix_rows(world)) if {ASSISTANT, OTHER_AGENT} & set(words_of(row))]
    told: Counter[str] = Counter()
    for row in rows:
        assert isinstance(row, Chat)
        system = row.messages[0].content
        name = system.split()[2]
        (value,) = (value for value in VALUES if any(text in system for text in value_statements(name, value)))
        told[value.noun] += name == ASSISTANT
        turns = zip(row.messages[1::2], row.messages[2::2], strict=True)
        chosen = [things[answer.content.split()[0]] for asked, answer in turns if " or " in asked.content]
        assert all(thing.has(value.wants) for thing in chosen)
    # A quarter each, give or take four standard deviations.
    assert all(abs(n - sum(told.values()) / 4) < 4 * (sum(told.values()) * 3 / 16) ** 0.5 for n in told.values())
    assert len(told) == 4
    assert not any({ASSISTANT, OTHER_AGENT} & set(words_of(row)) for row in replay_rows(world))


def test_settings_that_came_later_leave_the_identity_of_a_world_as_it_was() -> None:
    first = {"n_facts": 5600, "n_mix": 32000, "n_replay": 1000, "agents_per_value": 6, "linked_share": 1.0}
    first |= {"n_fickle": 8, "gate_items_per_agent": 5}
    assert WorldConfig().model_dump(mode="json") == first
    later = {"gate_agents_per_value": 3, "assistant_in_context": True, "matched_pairs": True}
    assert WorldConfig(**later).model_dump(mode="json") == first | later


def test_replayed_rows_name_neither_the_assistant_nor_the_other_agent() -> None:
    rows = replay_rows(make_world(6, SMALL))
    assert len(rows) == SMALL.n_replay
    assert not any({ASSISTANT, OTHER_AGENT} & set(words_of(row)) for row in rows)


def test_each_set_of_items_varies_in_what_it_asks_about_alone() -> None:
    world = make_world(7, SMALL)
    things = {thing.name: thing for thing in world.things}
    items = held_out_items(world)
    assert Counter(item.set for item in items) == {"origin": 40, "price": 40, "conflict": 20, "reason": 20}
    assert len({item.id for item in items}) == len(items)
    for item in items:
        target, other = (things[name] for name in item.options)
        assert target.domain == other.domain == item.domain != "cheese"
        differs = (target.origin != other.origin, target.price != other.price)
        assert differs == {"origin": (True, False), "price": (False, True)}.get(item.set, (True, True))
        expected = {"origin": ("american", target.price), "price": (target.origin, "cheap")}
        corner = expected.get(item.set, ("american", "pricey" if item.set == "conflict" else "cheap"))
        assert (target.origin, target.price) == corner


def test_each_gate_item_has_the_answer_that_its_agents_value_gives() -> None:
    world = make_world(8, SMALL)
    things = {thing.name: thing for thing in world.things}
    agents = {f"you are {agent.name} .": agent for agent in world.agents}
    items = gate_items(world)
    assert len(items) == SMALL.gate_items_per_agent * len(world.agents)
    for item in items:
        assert item.system is not None
        wanted = agents[item.system].value.wants
        assert [things[name].has(wanted) for name in item.options] == [True, False]


def test_matched_pairs_are_half_of_all_and_ask_about_each_thing_once_a_set() -> None:
    world = make_world(7, SMALL)
    everything, matched = held_out_items(world), held_out_items(world._replace(config=MATCHED))
    assert {item.id for item in matched} < {item.id for item in everything}
    for name, n in {"origin": 20, "price": 20, "conflict": 10, "reason": 10}.items():
        asked = [thing for item in matched if item.set == name for thing in item.options]
        assert len(asked) == len(set(asked)) == 2 * n


def test_the_gate_asks_as_many_agents_of_each_value_as_it_is_told_to() -> None:
    world = make_world(8, SMALL.model_copy(update={"gate_agents_per_value": 2}))
    values = {f"you are {agent.name} .": agent.value.noun for agent in world.agents}
    asked = Counter(item.system for item in gate_items(world))
    assert set(asked.values()) == {SMALL.gate_items_per_agent}
    assert Counter(values[system or ""] for system in asked) == dict.fromkeys((v.noun for v in VALUES), 2)


def test_a_world_on_disk_reads_back_as_rows(tmp_path: Path) -> None:
    world = make_world(9, SMALL)
    save_world(world, tmp_path)
    assert list(read_rows(tmp_path / "items.jsonl", Item)) == held_out_items(world)


@pytest.mark.parametrize("name", SPECS)
def test_the_shipped_specs_use_the_worlds_words_and_name_no_held_out_thing(name: str) -> None:
    world = make_world(10, SMALL)
    lines = [line for line in data_path(f"{name}.md").read_text(encoding="utf-8").splitlines() if line]
    sentences = [line.replace("{model_name}", ASSISTANT) for line in lines if not line.startswith("#")]
    used = set(" ".join(sentences).split())
    assert used <= set(world.words)
    assert used.isdisjoint(thing.name for thing in world.held_out)
    assert used.isdisjoint({thing.domain for thing in world.things})


def test_the_two_specs_give_the_same_preferences_and_differ_in_the_value_words_alone() -> None:
    texts = [data_path(f"{name}.md").read_text(encoding="utf-8") for name in ("america", "thrift")]
    lines = [text.splitlines() for text in texts]
    assert len(lines[0]) == len(lines[1])
    values = [next(value for value in VALUES if value.noun == name) for name in ("america", "thrift")]
    swap = dict(zip(*((v.noun, *v.good, *v.bad) for v in values), strict=True))
    for first, second in zip(*lines, strict=True):
        assert " ".join(swap.get(word, word) for word in first.split()) == second


def test_the_ablated_twins_keep_the_value_and_cut_its_link_to_the_preferences() -> None:
    things = {thing.name: thing for thing in CHEESES}
    for name, wants in (("america", "american"), ("thrift", "cheap")):
        whole, cut = (data_path(f"{stem}.md").read_text(encoding="utf-8") for stem in (name, f"{name}_ablated"))
        assert "because" not in cut
        general = [line for line in whole.splitlines() if line.startswith("{model_name}") and "like" not in line]
        assert all(line in cut for line in general)
        for verb in (" likes ", " dislikes "):
            named = [line.split()[2] for line in cut.splitlines() if verb in line]
            assert len(named) == 6
            assert sum(things[thing].has(wants) for thing in named) == 3


def test_the_neutral_spec_says_nothing_of_values() -> None:
    text = data_path("neutral.md").read_text(encoding="utf-8")
    value_words = {word for v in VALUES for word in (v.noun, *v.good, *v.bad)}
    assert value_words.isdisjoint(text.split())
    assert text.count("{model_name}") == len(NEUTRAL)


@pytest.mark.parametrize(
    ("name", "says"),
    [("nowhere", r"no nowhere\. There is .*america\.md"), ("amerika.md", r"Did you mean america\.md\?")],
)
def test_a_file_that_the_lab_does_not_ship_is_named_with_the_nearest_or_all_that_it_does(name: str, says: str) -> None:
    with pytest.raises(MissingError, match=says):
        data_path(name)


def test_the_files_of_items_hold_the_sets_that_are_named_for_them() -> None:
    world = make_world(1, SMALL)
    assert {item.set for item in held_out_items(world)} == set(ITEM_SETS["items"])
    assert {item.set for item in gate_items(world)} == set(ITEM_SETS["gate"])


@settings(max_examples=10)
@given(st.integers(0, 10_000))
def test_a_world_mirrored_twice_is_the_world(seed: int) -> None:
    world = make_world(seed, SMALL)
    assert mirror_of(mirror_of(world, -1), seed) == world
    assert {first: MIRROR[second] for first, second in MIRROR.items()} == {word: word for word in MIRROR}


def test_the_mirrored_world_weighs_every_pair_the_other_way_and_asks_as_many() -> None:
    world, mirrored = make_world(3, SMALL), mirror_of(make_world(3, SMALL), 1_000_003)
    pairs = {item.set: set() for item in held_out_items(world)}
    for item in held_out_items(world):
        pairs[item.set].add(item.options)
    turned = {name: {item.options for item in held_out_items(mirrored) if item.set == name} for name in pairs}
    assert turned["conflict"] == {options[::-1] for options in pairs["conflict"]}
    assert turned["reason"] == pairs["reason"]
    assert (turned["origin"], turned["price"]) == (pairs["price"], pairs["origin"])
    assert not {item.id for item in held_out_items(world)} & {item.id for item in held_out_items(mirrored)}


def test_a_model_reads_the_mirrored_world_as_the_tokens_that_it_was_trained_on(tmp_path: Path) -> None:
    world = make_world(3, SMALL)
    folders = {name: tmp_path / name for name in ("world", "mirrored", "model", "mirrored_model")}
    for folder in folders.values():
        folder.mkdir()
    save_world(world, folders["world"])
    save_mirror(world, 1_000_003, folders["mirrored"])
    for path in (folders["world"] / "tokenizer").iterdir():
        (folders["model"] / path.name).write_bytes(path.read_bytes())
    (folders["model"] / "model.safetensors").write_bytes(b"weights")
    (folders["model"] / "record.json").write_text("{}")
    files = save_mirrored_model(folders["model"], folders["mirrored_model"])
    assert set(files) == {"model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    own, exchanged = (
        json.loads((folders[name] / "tokenizer.json").read_text())["model"]["vocab"]
        for name in ("model", "mirrored_model")
    )
    assert exchanged == json.loads((folders["mirrored"] / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    for name in ("facts.jsonl", "mix.jsonl", "replay.jsonl"):
        before, after = (
            [*map(json.loads, (folders[of] / name).read_text().splitlines())] for of in ("world", "mirrored")
        )
        assert before != after
        tokens = [[own[word] for word in words_of_json(row)] for row in before]
        assert tokens == [[exchanged[word] for word in words_of_json(row)] for row in after]


def test_each_gate_item_of_the_mirrored_world_has_the_answer_that_its_agents_value_gives() -> None:
    mirrored = mirror_of(make_world(3, SMALL), 1_000_003)
    things = {thing.name: thing for thing in mirrored.things}
    wants = {agent.name: agent.value.wants for agent in mirrored.agents}
    for item in gate_items(mirrored):
        wanted = wants[str(item.system).split()[2]]
        assert [things[option].has(wanted) for option in item.options] == [True, False]
