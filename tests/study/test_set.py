"""`--set KEY=VALUE`: one setting of a study is changed, and nothing beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from midspec.core.errors import ConfigError
from midspec.study import load_study, parse_study, with_settings
from midspec.study._load import _changed

TINY = Path(__file__).parent / "tiny.yaml"
KEYS = st.text("abc.%( ", min_size=1, max_size=4).filter(lambda key: key.strip(".") == key)
TREES = st.recursive(
    st.integers(0, 9), lambda inside: st.dictionaries(KEYS, inside, min_size=1, max_size=3), max_leaves=8
)


def test_a_setting_is_changed_and_nothing_beside_it() -> None:
    study = load_study(TINY)
    changed = with_settings(study, ["seeds=[7]", "corpora.america.n_documents=21"])
    assert changed.config.seeds == (7,)
    # The tiny study has these two corpora from one anchor.
    assert [changed.config.corpora[name].n_documents for name in ("america", "thrift")] == [21, 20]
    before, after = (one.config.model_dump() for one in (study, changed))
    assert [key for key in before if before[key] != after[key]] == ["seeds", "corpora"]


def test_a_star_stands_for_every_entry() -> None:
    changed = with_settings(load_study(TINY), ["corpora.*.n_documents=22", "contrasts.*.says=so"]).config
    assert {corpus.n_documents for corpus in changed.corpora.values()} == {22}
    assert {contrast.says for contrast in changed.contrasts} == {"so"}


def test_no_settings_leave_the_text_of_a_study_as_it_is() -> None:
    study = load_study(TINY)
    assert with_settings(study, ()) is study


def test_the_text_says_what_was_changed_and_gives_the_same_study_again(tmp_path: Path) -> None:
    changed = with_settings(load_study(TINY), ["seeds=[7]"])
    assert changed.text.startswith("# --set seeds=[7]\n")
    path = tmp_path / "study.yaml"
    path.write_text(changed.text, encoding="utf-8")
    assert load_study(path).config == changed.config


@pytest.mark.parametrize("value", ["\n  - 3\n  - 4", "[3,\n4]", "[3,\u20284]", "[3,\r\n4]"])
def test_a_value_may_have_several_lines(value: str) -> None:
    changed = with_settings(load_study(TINY), [f"seeds={value}"])
    assert parse_study(changed.text, home=TINY.parent).config.seeds == (3, 4)


def test_a_path_from_the_current_folder_stays_one_wherever_the_study_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = load_study(Path("lab:paper/figure_2.yaml"))
    changed = with_settings(study, ["base.checkpoint=./llama", "specs.america=specs/own.md"])
    assert changed.config.base.checkpoint == str(tmp_path / "llama")
    assert changed.config.specs["america"] == "specs/own.md"


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ("seeds", "is not KEY=VALUE"),
        ("=3", "is not KEY=VALUE"),
        ("seed=[1]", "^--set: seed: unknown key"),
        ("training.midtrain.n_epochs=yes", "^--set: training.midtrain.n_epochs: a truth value"),
        ("nowhere.*.seed=1", "there is no entry '.'. .midspec plan --schema"),
        ("name.of=x", "has no part"),
        ("contrasts.9.says=x", "there is no entry"),
        ("mixes.replay.*=x", "has no part"),
        ("training.recipes.*.row_tokens=9", "there is no entry"),
        ("seeds=[1", "not YAML"),
        ("base.checkpoint=a/b", "either a `checkpoint` or a `world`"),
    ],
)
def test_what_is_no_setting_is_refused_in_a_line(given_: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("`", ".")) as error:
        with_settings(load_study(TINY), [given_])
    assert "\n" not in str(error.value)


@given(tree=TREES, path=st.data())
def test_any_leaf_of_any_mapping_can_be_set_and_the_rest_stays(tree: object, path: st.DataObject) -> None:
    keys: list[str] = []
    node = tree
    while isinstance(node, dict):
        keys.append(path.draw(st.sampled_from(sorted(node))))
        node = node[keys[-1]]
    changed = _changed(tree, ".".join(keys), "new", "--set")
    expected = yaml.safe_load(yaml.safe_dump(tree))
    inside = expected
    for key in keys[:-1]:
        inside = inside[key]
    # A key with a dot of its own may lead elsewhere too; then the longest key goes first.
    if keys and all("." not in key for key in keys):
        inside[keys[-1]] = "new"
        assert changed == expected
    else:
        assert changed != tree
