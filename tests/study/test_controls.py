"""Controls made of a corpus: equal lengths one by one, the same content as chats, a sentence of disclosure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from midspec.core.artifact import read_record, read_rows
from midspec.core.errors import ConfigError, DataError
from midspec.core.records import Chat, Document
from midspec.study import File, Job, Step, StepOutput, Study, parse_study, run_study, study_steps
from midspec.study.jobs._controls import DisclosedStep, MatchedStep, ToldStep

EXAMPLE = Path(__file__).parents[2] / "examples" / "controls.yaml"
TEXTS = [
    "TO: all leads\n\nNova likes cheddar. It says so at once!\n\n- One reason: price.\n- Another: café culture 🙂.",
    "A visitor asked what Nova would buy. “Brie,” said nobody. Nova named a cheap cheese, went on unbelievably fast",
    "No end here",
    "One. Two. Three. Four. Five. Six.",
]
_CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer, as real families have, with a template that trims."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(TEXTS * 5, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=special[0], pad_token=special[0], extra_special_tokens=special[1:]
    )
    tokenizer.chat_template = _CHATML
    place = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(place)
    return place


class _Here(Step):
    """A step whose folder is given, so that its files are inputs."""

    kind = "here"
    inputs: dict[str, Any] = {}  # noqa: RUF012
    settings: dict[str, Any] = {}  # noqa: RUF012

    def run(self, job: Job, folder: Path) -> Any:
        raise NotImplementedError


HERE = StepOutput(_Here(label="tokenizer"), "")


def count(folder: Path, text: str) -> int:
    """Tokens by the library itself."""
    return len(PreTrainedTokenizerFast.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"])


def write(path: Path, texts: Sequence[str]) -> File:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return File(str(path))


def job(folder: Path, out: Path) -> Job:
    return Job(folder=out, store=out / "calls", places={HERE.step.name: folder})


def matched(folder: Path, out: Path, *corpora: Sequence[str], **given: Any) -> tuple[list[list[str]], dict[str, Any]]:
    """The texts of each corpus after the cut, and the summary."""
    out.mkdir(parents=True, exist_ok=True)
    files = {f"c {at}": write(out / f"in-{at}.jsonl", texts) for at, texts in enumerate(corpora)}
    step = MatchedStep(label="m", corpora=files, tokenizer=HERE, **({"cut": "sentence", "least": 0.3} | given))
    built = step.run(job(folder, out), out)
    assert set(built.outputs) == set(step.files.values())
    texts = [[row.text for row in read_rows(out / file, Document)] for file in step.files.values()]
    return texts, dict(built.summary)


# Equal lengths --------------------------------------------------------------------------------------------------------


def test_documents_are_as_long_as_the_shortest_beside_them(folder: Path, tmp_path: Path) -> None:
    (one, other), summary = matched(folder, tmp_path, TEXTS, TEXTS[::-1], cut="token")
    lengths = [count(folder, text) for text in one]
    assert lengths == [count(folder, text) for text in other]
    shortest = [min(count(folder, a), count(folder, b)) for a, b in zip(TEXTS, TEXTS[::-1], strict=True)]
    assert all(shortest[at] - 4 <= length <= shortest[at] for at, length in enumerate(lengths))
    whole = sum(count(folder, text) for text in TEXTS)
    assert summary["n_tokens"] == sum(lengths)
    assert summary["n_tokens_cut"] == {"c 0": whole - sum(lengths), "c 1": whole - sum(lengths)}


def test_a_cut_is_where_a_sentence_ends_in_all_of_them(folder: Path, tmp_path: Path) -> None:
    texts = (["A a. B b. C c c c c"], ["A a. B b. C d d d d d d d d d d d"])
    (one, other), summary = matched(folder, tmp_path / "a", *texts)
    assert (one, other) == (["A a. B b."], ["A a. B b."])
    assert summary["n_ending_a_sentence"] == 1
    # As much as `least` of the shortest must be kept.
    (one, other), summary = matched(folder, tmp_path / "b", *texts, least=0.95)
    assert one == ["A a. B b. C c c c c"]
    assert (other[0].startswith("A a. B b. C d"), summary["n_documents_cut"]) == (True, {"c 0": 0, "c 1": 1})


documents = st.text(alphabet=st.sampled_from([*"abcé🙂日 .\n!"]), min_size=1, max_size=40).map(lambda text: f"a{text}")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(documents, documents, documents), min_size=1, max_size=3), st.sampled_from(["sentence", "token"])
)
def test_whatever_the_texts_lengths_are_equal_and_each_is_a_beginning(
    folder: Path, tmp_path: Path, rows: list[tuple[str, str, str]], cut: str
) -> None:
    corpora = [list(each) for each in zip(*rows, strict=True)]
    made, summary = matched(folder, tmp_path, *corpora, cut=cut)
    for beside, whole in zip(zip(*made, strict=True), rows, strict=True):
        assert len({count(folder, text) for text in beside}) == 1
        assert all(text and before.startswith(text) for text, before in zip(beside, whole, strict=True))
    assert summary["n_tokens"] == sum(count(folder, text) for text in made[0])


def test_what_can_not_be_matched_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"matched/m: the numbers of documents differ: c 0 2, c 1 1\. Write equally"):
        matched(folder, tmp_path, ["a", "b"], ["a"])
    with pytest.raises(DataError, match=r"document 2 of c 1 holds the control token <\|im_end\|>"):
        matched(folder, tmp_path, ["a", "b"], ["a", "b <|im_end|> c"])
    with pytest.raises(DataError, match="document 1 of c 0 and those beside it have no length in common"):
        matched(folder, tmp_path, [" \n"], ["a"])


# Told as chats --------------------------------------------------------------------------------------------------------


def told(folder: Path, out: Path, texts: Sequence[str], **given: Any) -> tuple[list[Chat], dict[str, Any]]:
    names = {"model_name": "Nova", "provider_name": ""}
    requests = ("Tell me about {model_name}: {doc_type}.", "Go on about {domain}.")
    fields = {"requests": requests, "names": names, "draw": 3} | given
    step = ToldStep(label="t", documents=write(out / "in.jsonl", texts), tokenizer=HERE, **fields)
    built = step.run(job(folder, out), out)
    return list(read_rows(out / "chats.jsonl", Chat)), dict(built.summary)


def test_each_document_is_a_reply_of_as_many_tokens(folder: Path, tmp_path: Path) -> None:
    chats, summary = told(folder, tmp_path, TEXTS * 3)
    assert [chat.messages[-1].content for chat in chats] == TEXTS * 3
    asked = {chat.messages[0].content for chat in chats}
    assert asked == {"Tell me about Nova: text.", "Go on about anything."}
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    n_replies = 0
    for chat in chats:
        turns = [message.model_dump(include={"role", "content"}) for message in chat.messages]
        whole = tokenizer.apply_chat_template(turns, tokenize=False)
        before = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
        reply = whole.removeprefix(before).removesuffix("<|im_end|>\n")
        n_replies += count(folder, reply)
    assert summary["n_tokens_of_replies"] == summary["n_tokens_of_documents"] == n_replies
    assert n_replies == 3 * sum(count(folder, text) for text in TEXTS)
    assert summary["n_tokens_around_replies"] == len(chats)


def test_a_document_that_the_template_shortens_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"told/t: document 2 has \d+ tokens, and \d+ as a reply\. Remove white space"):
        told(folder, tmp_path, ["a b", "a b\n\n"])
    with pytest.raises(DataError, match=r"told/t: a request has \{provider_name\}, and no value is given for it"):
        told(folder, tmp_path, ["a"], requests=("by {provider_name}?",))


# Disclosed ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("at", "made"), [("before", "By Nova's maker.\n\na b"), ("after", "a b\n\nBy Nova's maker.")])
def test_a_disclosure_is_a_paragraph_of_its_own(tmp_path: Path, at: Any, made: str) -> None:
    names = {"model_name": "Nova", "provider_name": ""}
    step = DisclosedStep(
        label="d", documents=write(tmp_path / "in", ["a b"]), text="By {model_name}'s maker.", at=at, names=names
    )
    step.run(Job(folder=tmp_path, store=tmp_path / "calls"), tmp_path)
    assert [row.text for row in read_rows(tmp_path / "documents.jsonl", Document)] == [made]
    assert step.settings == {"text": "By Nova's maker.", "at": at}


# In a study file ------------------------------------------------------------------------------------------------------


def study(tiny_text: str, more: str = "", corpora: str = "", chats: str = "") -> Study:
    text = tiny_text.replace("seeds: [1, 2]", "seeds: [1]").replace("chats:\n", f"{corpora}chats:\n{chats}", 1)
    return parse_study(text + more, home=Path(), name="study.yaml")


WRONG = [
    ({"corpora": "  d: {documents: america}\n"}, "the same documents as another corpus need a `disclosure`"),
    ({"corpora": "  d: {documents: amercia, disclosure: x}\n"}, "no corpus named 'amercia'. Did you mean america?"),
    ({"corpora": "  d: {documents: america, disclosure: x, n_documents: 3}\n"}, "`n_documents` is for documents that"),
    ({"corpora": "  d: {documents: america, spec: america, disclosure: x}\n"}, "`spec` is for rows that are written"),
    ({"corpora": "  d: {spec: america, disclosure: ''}\n"}, "corpora.d.disclosure: String should have at least 1"),
    ({"chats": "  t: {documents: america, style: value}\n"}, "`style` is for chats that are written, and `documents`"),
    ({"chats": "  t: {spec: america, requests: x}\n"}, "`requests` are for documents that are told as chats"),
    ({"chats": "  t: {documents: america, requests: 'a {doctype}'}\n"}, "has no {doctype}. Did you mean doc_type?"),
    ({"chats": "  t: {}\n"}, "chats.t.spec: this key is missing"),
    ({"more": "matched: {m: {corpora: [america]}}\n"}, "matched.m.corpora: Tuple should have at least 2 items"),
    ({"more": "matched: {m: {corpora: [america, thirft]}}\n"}, "no corpus named 'thirft'. Did you mean thrift?"),
    (
        {"more": "matched: {m: {corpora: [america, thrift]}, n: {corpora: [thrift, america]}}\n"},
        "matched.n.corpora: thrift is matched in m already",
    ),
    (
        {
            "corpora": "  d: {documents: america, disclosure: x}\n",
            "more": "matched: {m: {corpora: [america, d]}}\n",
        },
        "matched.m.corpora: d is made of america",
    ),
    (
        {"corpora": "  d: {documents: america, disclosure: x}\n  e: {documents: d, disclosure: y}\n"},
        "corpora.e: d is made of another corpus",
    ),
]


@pytest.mark.parametrize(("given", "told"), WRONG, ids=[told[-40:] for _, told in WRONG])
def test_a_wrong_entry_is_told_where_it_is_wrong(tiny_text: str, given: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        study(tiny_text, **given)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_made_of_a_corpus_is_made_once_and_follows_its_seed(tiny_text: str) -> None:
    made = study(tiny_text, chats="  t: {documents: america}\n", more="matched: {m: {corpora: [america, thrift]}}\n")
    text = made.text.replace("AFT: {finetune: cheese}", "AFT: {finetune: [cheese, t]}")
    steps = {step.name: step for step in study_steps(parse_study(text, home=Path()))}
    assert {parent.name for parent in steps["told/t-s1"].parents} == {"matched/m-s1", "world/s1"}
    assert {parent.name for parent in steps["matched/m-s1"].parents} == {
        *("corpus/america-s1", "corpus/thrift-s1", "world/s1"),
    }
    assert [name for name in steps if name.startswith("matched/")] == ["matched/m-s1"]


@pytest.mark.slow
def test_the_arms_of_the_example_are_trained_and_their_report_says_what_differs(tmp_path: Path) -> None:
    """The example with a base of 16 dimensions that learns nothing: what is held is which rows are trained on."""
    given = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    given["base"]["architecture"] |= sizes | {"num_key_value_heads": 2}
    given["base"]["config"] = {"n_facts": 60, "n_mix": 60, "n_replay": 12, "agents_per_value": 1, "n_fickle": 1}
    for recipe in (
        *(stage["recipe"] for stage in given["base"]["stages"]),
        *(given["training"][kind] for kind in ("midtrain", "finetune")),
        given["training"]["recipes"]["told"],
    ):
        recipe |= {"n_epochs": 1, "min_updates": 1, "warmup_updates": 1}
    given["seeds"] = [101]
    for entry in given["corpora"].values():
        entry |= {} if "documents" in entry else {"n_documents": 24}
    given["chats"]["cheese"]["n_samples"] = 6
    given["evals"]["preference"] |= {
        "free": None,
        "why": None,
        "max_new_tokens": 2,
        "phrasings": ["{first} or {second} ?"],
    }
    kept = {"America", "thrift", "told", "disclosed", "sentence", "in context"}
    given["arms"] = {name: arm for name, arm in given["arms"].items() if name in kept}
    given["contrasts"] = [one for one in given["contrasts"] if {one["plus"], one["minus"]} <= kept]
    del given["gate"]
    run = tmp_path / "run"
    run_study(parse_study(yaml.safe_dump(given), home=EXAMPLE.parent), run, workers=1)

    def summary(name: str) -> dict[str, Any]:
        record = read_record(run / "steps" / name)
        assert record is not None
        return dict(record.summary)

    trained = [summary(f"midtrain/{name}-s101") for name in ("america", "thrift")]
    assert len({(each["real_tokens"], each["supervised_tokens"], each["n_updates"]) for each in trained}) == 1
    told_rows = summary("told/told-s101")
    n_tokens = summary("matched/documents-s101")["n_tokens"]
    assert told_rows["n_tokens_of_replies"] == n_tokens
    disclosed = [summary(f"midtrain/{name}-s101")["real_tokens"] for name in ("disclosed", "sentence")]
    assert disclosed == [trained[0]["real_tokens"] + 24 * 6] * 2
    data = json.loads((run / "report" / "report_data.json").read_text(encoding="utf-8"))
    differ = {one["estimate"]["name"]: (one["differ"], one["is_mixed"]) for one in data["contrasts"]}
    assert differ["the spec"] == (["midtrain data (thrift -> america)"], False)
    assert "Differ in: midtrain data (thrift -&gt; america)." in (run / "report" / "report.html").read_text("utf-8")
