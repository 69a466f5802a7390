from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from midspec.core.errors import CheckpointError, DataError, MissingError, PreflightError
from midspec.core.records import Chat, Message
from midspec.train import Recipe, TrainJob, preflight
from midspec.train._checks import refuse_leaks
from midspec.train._pack import IGNORED, Piece, collate, in_parts, pack
from midspec.train._rows import Row, encode, read_training_rows

from .reference_loop import summed_loss

FAMILIES = [
    *[(family, attention) for family in ("llama", "qwen2", "qwen3", "mistral") for attention in ("eager", "sdpa")],
    ("gemma2", "eager"),
]


def piece(ids: list[int]) -> Piece:
    marks = np.ones(len(ids), dtype=np.bool_)
    marks[0] = False
    return Piece(np.array(ids, dtype=np.int32), marks)


def random_ids(n: int, seed: int) -> list[int]:
    return [int(number) for number in np.random.default_rng(seed).integers(6, 46, n)]


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tokenizer_folder)


# No document sees another --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [1, 3])
@pytest.mark.parametrize(("family", "attention"), FAMILIES)
def test_changing_one_document_changes_no_logit_of_another(
    tiny_model: Callable[..., Any], family: str, attention: str, n_rows: int
) -> None:
    model = tiny_model(family, attention)
    one, two, other = random_ids(9, 1), random_ids(7, 2), random_ids(9, 3)
    more = [[piece(random_ids(20, seed))] for seed in range(4, 3 + n_rows)]
    logits = []
    for first in (one, other):
        batch = collate([[piece(first), piece(two), piece([8])], *more], width=24, pad_id=1)
        with torch.no_grad():
            logits.append(
                model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
            )
    assert torch.equal(logits[0][0, 9:], logits[1][0, 9:]), "nothing after the first document, padding included"
    assert torch.equal(logits[0][1:], logits[1][1:]), "nor in other rows"
    assert not torch.equal(logits[0][0, :9], logits[1][0, :9])
    with torch.no_grad():
        alone = model(input_ids=torch.tensor([two]), use_cache=False).logits[0]
    torch.testing.assert_close(logits[0][0, 9:16], alone, atol=1e-5, rtol=1e-4)


@given(
    lengths=st.lists(st.lists(st.integers(2, 24), min_size=1, max_size=5), min_size=1, max_size=4),
    unlearnt=st.integers(0, 8),
    most_tokens=st.integers(1, 40),
)
def test_parts_hold_each_document_that_is_learnt_from_once_and_whole(
    lengths: list[list[int]], unlearnt: int, most_tokens: int
) -> None:
    rows = [[piece([10 * at + number] * n) for number, n in enumerate(row)] for at, row in enumerate(lengths)]
    rows[0][0].supervised[:] = unlearnt > 0
    rows[0][0].supervised[0] = False
    batch = collate(rows, width=max(map(sum, lengths)) + 3, pad_id=99)
    parts = in_parts(batch, most_tokens)
    found = []
    for part in parts:
        (ids,), (positions,), (labels,) = (part[name] for name in ("input_ids", "position_ids", "labels"))
        starts = (positions == 0).nonzero().flatten().tolist()
        documents = list(zip(starts, [*starts[1:], len(ids)], strict=True))
        assert len(ids) <= most_tokens or len(documents) == 1
        for begin, end in documents:
            assert len(set(ids[begin:end].tolist())) == 1
            assert positions[begin:end].tolist() == list(range(end - begin))
            found.append((int(ids[begin]), end - begin, int((labels[begin:end] != IGNORED).sum())))
    expected = [(int(one.ids[0]), len(one.ids), int(one.supervised.sum())) for row in rows for one in row]
    learnt = [one for one in expected if one[2]]
    assert sorted(found) == sorted(learnt or expected[:1])


def test_the_gradients_of_parts_add_up_to_those_of_the_batch(tiny_model: Callable[..., Any]) -> None:
    model = tiny_model("llama")
    rows = [[piece(random_ids(length, length)) for length in row] for row in ((9, 7, 3), (12,), (5, 11))]
    batch = collate(rows, width=20, pad_id=1)
    gradients = []
    for parts in ([batch], in_parts(batch, 14)):
        model.zero_grad()
        losses = [model(**part, use_cache=False, num_items_in_batch=44).loss for part in parts]
        torch.stack(losses).sum().backward()
        gradients.append([torch.stack(losses).sum().detach(), *(weight.grad.clone() for weight in model.parameters())])
    assert len(in_parts(batch, 14)) == 5
    for whole, added in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, added, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("family", "attention"), FAMILIES)
def test_the_gradient_is_the_sum_of_what_each_document_gives_alone(
    tiny_model: Callable[..., Any], family: str, attention: str
) -> None:
    model = tiny_model(family, attention)
    documents = [piece(random_ids(length, length)) for length in (9, 7, 12)]
    batch = collate([documents[:2], documents[2:]], width=20, pad_id=1)
    model(**batch, use_cache=False, num_items_in_batch=1).loss.backward()
    packed = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    for document in documents:
        summed = summed_loss(model, document)
        assert summed is not None
        summed.backward()
    for together, weight in zip(packed, model.parameters(), strict=True):
        torch.testing.assert_close(together, weight.grad, atol=2e-4, rtol=1e-3)


def test_a_model_that_lets_documents_see_each_other_is_refused(tiny_model: Callable[..., Any]) -> None:
    refuse_leaks(tiny_model("llama"), torch.device("cpu"), "base")
    leaking = tiny_model("llama")
    plain = leaking.forward
    leaking.forward = lambda **inputs: plain(**inputs, attention_mask=torch.ones_like(inputs["input_ids"]))
    with pytest.raises(CheckpointError, match="see each other"):
        refuse_leaks(leaking, torch.device("cpu"), "base")


# No token is lost ----------------------------------------------------------------------------------------------


@given(lengths=st.lists(st.integers(1, 16), min_size=1, max_size=60), seed=st.integers(0, 9))
def test_packing_keeps_every_piece_once_and_no_row_overflows(lengths: list[int], seed: int) -> None:
    pieces = [piece([number] * length) for number, length in enumerate(lengths)]
    rows = pack(pieces, 16, seed=seed)
    assert sorted(int(entry.ids[0]) for row in rows for entry in row) == list(range(len(lengths)))
    assert all(sum(len(entry.ids) for entry in row) <= 16 for row in rows)
    again = pack(pieces, 16, seed=seed)
    assert [[int(entry.ids[0]) for entry in row] for row in rows] == [
        [int(entry.ids[0]) for entry in row] for row in again
    ]
    # Best fit never leaves two rows that would go into one.
    fills = sorted(sum(len(entry.ids) for entry in row) for row in rows)
    assert len(fills) < 2 or fills[0] + fills[1] > 16


@settings(max_examples=30)
@given(n_words=st.integers(1, 60), row_tokens=st.integers(2, 20))
def test_a_long_document_is_cut_into_consecutive_pieces(tokenizer: Any, n_words: int, row_tokens: int) -> None:
    text = " ".join(f"w{number % 40}" for number in range(n_words))
    encoded = encode(tokenizer, [Row(text, "here")], Recipe(row_tokens=row_tokens))
    ids = [int(token) for entry in encoded.pieces for token in entry.ids]
    assert ids == [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    assert encoded.n_split == (n_words + 1 > row_tokens)
    assert all(not entry.supervised[0] and entry.supervised[1:].all() for entry in encoded.pieces)


def test_labels_positions_and_padding_are_what_they_should_be() -> None:
    batch = collate([[piece([5, 6, 1]), piece([7, 1])]], width=8, pad_id=1)
    assert batch["input_ids"].tolist() == [[5, 6, 1, 7, 1, 1, 1, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 1, 2]]
    assert batch["labels"].tolist() == [[IGNORED, 6, 1, IGNORED, 1, IGNORED, IGNORED, IGNORED]]
    assert set(batch) == {"input_ids", "position_ids", "labels"}, "and no mask"


def test_the_end_of_text_is_trained_on_even_when_padding_is_the_same_token(tokenizer_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.pad_token = tokenizer.eos_token
    (entry,) = encode(tokenizer, [Row("w1 w2", "here")], Recipe(row_tokens=8)).pieces
    batch = collate([[entry]], width=6, pad_id=tokenizer.pad_token_id)
    assert batch["labels"][0].tolist() == [IGNORED, 8, 1, IGNORED, IGNORED, IGNORED]


# Chats that are too long ---------------------------------------------------------------------------------------


def long_chat() -> Row:
    words = " ".join(["w1"] * 30)
    messages = (Message(role="user", content="w1"), Message(role="assistant", content=words))
    return Row(Chat(messages=messages), "chats.jsonl:3")


def test_a_chat_longer_than_a_row_is_refused_unless_the_recipe_says_otherwise(tokenizer: Any) -> None:
    with pytest.raises(PreflightError, match=r"chats.jsonl:3: a chat of 35 tokens does not fit a row of 10"):
        encode(tokenizer, [long_chat()], Recipe(row_tokens=10))
    dropped = encode(tokenizer, [long_chat()], Recipe(row_tokens=10, overlong="drop"))
    assert (dropped.pieces, dropped.n_dropped) == ([], 1)
    cut = encode(tokenizer, [long_chat()], Recipe(row_tokens=10, overlong="cut"))
    assert ([len(entry.ids) for entry in cut.pieces], cut.n_cut) == ([10], 1)


# Rows ----------------------------------------------------------------------------------------------------------


def test_same_rows_and_seed_same_order(rows_file: Path) -> None:
    first = read_training_rows([str(rows_file)], seed=1)
    assert first == read_training_rows([str(rows_file)], seed=1)
    assert first != read_training_rows([str(rows_file)], seed=2)
    assert sorted(row.where for row in first) == sorted(
        row.where for row in read_training_rows([str(rows_file)], seed=2)
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ('{"title": "x"}', "neither a document"),
        ('{"text": "  "}', "neither a document"),
        ('{"messages": "x"}', "not a list of messages"),
        ('{"messages": [{"role": "pilot", "content": "x"}]}', "the role 'pilot'"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "without an assistant turn"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"content": "fine", "other": 1}) + "\n\n" + line + "\n")
    with pytest.raises(DataError, match=says) as caught:
        read_training_rows([str(path)], seed=0)
    assert caught.value.where == f"{path}:3"


def test_a_missing_or_empty_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file"):
        read_training_rows([str(tmp_path / "none.jsonl")], seed=0)
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="no row to train on"):
        read_training_rows([str(tmp_path / "empty.jsonl")], seed=0)


def test_documents_train_without_a_chat_template_and_chats_do_not(tokenizer_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = None
    assert encode(tokenizer, [Row("w1 w2", "here")], Recipe(row_tokens=8)).n_documents == 1
    with pytest.raises(CheckpointError, match="no chat template"):
        encode(tokenizer, [long_chat()], Recipe(row_tokens=80))


# Preflight -----------------------------------------------------------------------------------------------------


def test_preflight_counts_every_token(make_job: Callable[..., TrainJob]) -> None:
    seen = preflight(make_job(recipe={"n_updates": None}))
    assert (seen.n_documents, seen.n_chats) == (60, 30)
    assert seen.n_updates == -(-seen.n_rows // 4)
    assert seen.n_rows * seen.row_width == seen.real_tokens + seen.padded_tokens
    assert 0 < seen.supervised_tokens < seen.real_tokens
    fewer = preflight(make_job())
    assert fewer.n_rows_unused == fewer.n_rows - 28
    assert fewer.floor_lowered
    assert "«" in fewer.example
    assert any("28" in line or "updates: 7" in line for line in fewer.lines())


def test_the_example_marks_what_the_assistant_says(make_job: Callable[..., TrainJob], tmp_path: Path) -> None:
    chat = [("user", "w1 w2"), ("assistant", "w3")] * 2
    row = {"messages": [{"role": role, "content": content} for role, content in chat]}
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(row) + "\n")
    seen = preflight(make_job(data=[str(path)], recipe={"n_updates": None}))
    assert seen.example == "<user> w1 w2 <end> <assistant>«w3 <end>»<user> w1 w2 <end> <assistant>«w3 <end>»"
    assert seen.supervised_tokens == 4


def test_more_updates_than_the_rows_give_are_refused(make_job: Callable[..., TrainJob]) -> None:
    with pytest.raises(PreflightError, match="n_updates asks for 700"):
        preflight(make_job(recipe={"n_updates": 700}))


@pytest.mark.parametrize(("asked", "is_told"), [(0.2, False), (0.8, True), (5, True)])
def test_a_warm_up_that_takes_most_of_the_updates_is_told(
    make_job: Callable[..., TrainJob], asked: float, is_told: bool
) -> None:
    n_updates = preflight(make_job(recipe={"n_updates": None})).n_updates
    seen = preflight(make_job(recipe={"n_updates": None, "warmup_updates": int(asked * n_updates)}))
    told = f"warmup_updates is {int(asked * n_updates):,}, and there are {n_updates:,} updates: "
    assert any(warning.startswith(told) for warning in seen.warnings) == is_told
