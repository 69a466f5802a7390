"""Clusters that overlap are merged: a partition, the same in any order, and done when it is done."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from midspec.reasons import merge_overlapping
from midspec.reasons._label import any_drove

Labels = dict[str, dict[str, bool | None]]


@st.composite
def labelled(draw: st.DrawFn) -> Labels:
    """Clusters that often drive nearly the same transcripts."""
    n_transcripts = draw(st.integers(1, 8))
    row = st.lists(st.sampled_from([True, True, False, None]), min_size=n_transcripts, max_size=n_transcripts)
    rows = draw(st.lists(row, min_size=1, max_size=6))
    copied = draw(st.lists(st.tuples(st.integers(0, len(rows) - 1), st.integers(0, n_transcripts - 1)), max_size=4))
    for source, changed in copied:
        rows.append([None if at == changed else value for at, value in enumerate(rows[source])])
    return {f"c{at}": {f"t{n}": value for n, value in enumerate(row)} for at, row in enumerate(rows)}


def jaccard(one: dict[str, bool | None], other: dict[str, bool | None]) -> float:
    """By sets, as the definition reads."""
    known = {name for name in one if one[name] is not None and other[name] is not None}
    first, second = ({name for name in known if labels[name]} for labels in (one, other))
    return len(first & second) / len(first | second) if first | second else 0.0


@given(labelled(), st.sampled_from([0.5, 0.75, 0.9]))
def test_groups_are_a_partition(drove: Labels, share: float) -> None:
    groups = merge_overlapping(drove, share=share)
    assert sorted(name for group in groups for name in group) == sorted(drove)


@given(labelled())
def test_groups_of_groups_are_the_groups(drove: Labels) -> None:
    groups = merge_overlapping(drove)
    merged = {group[0]: any_drove(drove[name] for name in group) for group in groups}
    assert all(len(group) == 1 for group in merge_overlapping(merged))


@given(labelled())
def test_clusters_that_overlap_are_in_one_group_and_groups_that_are_left_do_not_overlap(drove: Labels) -> None:
    groups = merge_overlapping(drove, share=0.75)
    home = {name: group for group in groups for name in group}
    for one, other in combinations(drove, 2):
        if jaccard(drove[one], drove[other]) > 0.75:
            assert home[one] == home[other]
    whole = [any_drove(drove[name] for name in group) for group in groups]
    assert all(jaccard(one, other) <= 0.75 for one, other in combinations(whole, 2))


@given(labelled(), st.randoms(use_true_random=False))
def test_neither_order_nor_names_of_transcripts_matter(drove: Labels, random) -> None:
    names = list(drove)
    random.shuffle(names)
    shuffled = {name: dict(reversed(drove[name].items())) for name in names}
    before, after = ({frozenset(group) for group in merge_overlapping(each)} for each in (drove, shuffled))
    assert before == after


@given(labelled())
def test_sides_are_never_mixed(drove: Labels) -> None:
    sides = {name: "aligned" if at % 2 else "misaligned" for at, name in enumerate(drove)}
    assert all(len({sides[name] for name in group}) == 1 for group in merge_overlapping(drove, sides=sides))


def driving(*transcripts: str) -> dict[str, bool | None]:
    return {name: name in transcripts for name in "abcdefgh"}


def test_three_quarters_are_not_more_than_three_quarters() -> None:
    assert merge_overlapping({"x": driving(*"abcd"), "y": driving(*"abc")}) == (("x",), ("y",))
    assert merge_overlapping({"x": driving(*"abcde"), "y": driving(*"abcd")}) == (("x", "y"),)


def test_a_rare_cluster_inside_of_a_common_one_stays_by_itself() -> None:
    assert merge_overlapping({"x": driving(*"abcdefgh"), "y": driving("a")}) == (("x",), ("y",))


def test_overlap_goes_on_from_neighbour_to_neighbour() -> None:
    drove = {"x": driving(*"abcde"), "y": driving(*"abcdef"), "z": driving(*"abcdefg")}
    assert merge_overlapping(drove) == (("z", "y", "x"),)


def test_clusters_that_drove_nothing_are_not_one() -> None:
    assert merge_overlapping({"x": driving(), "y": driving()}) == (("x",), ("y",))


def test_few_transcripts_in_common_say_nothing() -> None:
    assert merge_overlapping({"x": driving("a"), "y": driving("a")}, least_shared=3) == (("x",), ("y",))


def test_a_merged_cluster_drove_what_any_of_it_drove_and_is_unknown_where_one_of_it_is() -> None:
    one: dict[str, bool | None] = {"a": True, "b": None, "c": None, "d": False}
    other: dict[str, bool | None] = {"a": None, "b": True, "c": False, "d": False}
    assert any_drove([one, other]) == {"a": True, "b": True, "c": None, "d": False}
