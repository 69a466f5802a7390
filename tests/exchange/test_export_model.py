"""A chain of training steps, exported by the command: what is in the folder, what its card says, what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaTokenizer

from midspec.cli import main
from midspec.core.artifact import read_record
from midspec.exchange import trace
from midspec.models import quiet
from midspec.models._for_readers import add_older_keys, copy_vocabularies
from midspec.study import TrainStep, build_step
from midspec.train import TrainJob

from ..train.conftest import ARCHITECTURE, RECIPE, word_tokenizer, write_rows

LORA = {"method": "lora", "lora": {"r": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}}


def _train(folder: Path, **job: object) -> Path:
    build_step(TrainStep.of_job(TrainJob.model_validate({"seed": 5, **job})), folder, device="cpu")
    return folder


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, an adapter midtrained over it and fine-tuned further, and full weights fine-tuned."""
    home = tmp_path_factory.mktemp("chain")
    torch.set_num_threads(1)
    word_tokenizer().save_pretrained(home / "tokenizer")
    documents = str(write_rows(home / "documents.jsonl", 60, 0))
    chats = str(write_rows(home / "chats.jsonl", 0, 60, seed=1))
    start = {"architecture": ARCHITECTURE, "tokenizer": str(home / "tokenizer")}
    runs = home / "runs"
    base = str(_train(runs / "base", stage="pretrain", data=[documents], recipe=RECIPE, **start))
    lora = RECIPE | LORA
    middle = str(_train(runs / "midtrained", stage="midtrain", parent=base, data=[documents], recipe=lora))
    _train(runs / "aligned", stage="finetune", parent=middle, data=[chats], recipe=lora)
    _train(runs / "full", stage="finetune", parent=base, data=[chats], recipe=RECIPE)
    return home


def _export(chain: Path, name: str, out: Path, *options: str) -> int:
    return main(["export-model", str(chain / "runs" / name), "--out", str(out), *options])


def _logits(folder: Path, adapter: Path | None = None) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    if adapter is not None:
        with quiet():
            model = PeftModel.from_pretrained(model, adapter).eval()
    with torch.inference_mode():
        return torch.as_tensor(model(input_ids=torch.tensor([[9, 12, 33, 8, 21, 40]])).logits)


def _front_matter(folder: Path) -> tuple[dict[str, object], str]:
    _, front, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), body


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_card_holds_every_stage_back_to_the_beginning_and_no_path_of_this_machine(
    chain: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ada"
    assert _export(chain, "aligned", out, "--license", "apache-2.0") == 0
    front, body = _front_matter(out)
    assert (front["library_name"], front["license"]) == ("transformers", "apache-2.0")
    assert front["tags"] == ["midspec", "model-spec-midtraining", "pretrain", "midtrain", "finetune"]
    documents, chats = (_sha256(chain / name) for name in ("documents.jsonl", "chats.jsonl"))
    assert front["midspec"]["datasets"] == [f"sha256:{sha}" for sha in (documents, documents, chats)]  # type: ignore[index]
    stages = json.loads(body.partition("```json\n")[2].partition("\n```")[0])
    records = [read_record(chain / "runs" / name) for name in ("base", "midtrained", "aligned")]
    assert [stage["step"] for stage in stages] == ["pretrain@1", "midtrain@1", "finetune@1"]
    for stage, record in zip(stages, records, strict=True):
        assert record is not None
        assert stage["config"]["recipe"] == record.identity.config["recipe"]
        assert (stage["digest"], stage["inputs"]) == (record.digest, record.identity.inputs)
        assert stage["versions"] == record.versions
    for path in out.iterdir():
        said = path.read_bytes()
        assert str(chain).encode() not in said, path.name
        assert str(tmp_path).encode() not in said, path.name
    record = read_record(out)
    assert record is not None
    assert (record.execution.host, record.execution.folder) == ("", "ada")
    assert socket.gethostname() not in (out / "record.json").read_text()


def test_merged_weights_are_those_of_the_chain(chain: Path, tmp_path: Path) -> None:
    assert _export(chain, "aligned", tmp_path / "ada") == 0
    runs = chain / "runs"
    assert torch.allclose(_logits(tmp_path / "ada"), _logits(runs / "base", runs / "aligned"), atol=1e-5)
    assert not torch.allclose(_logits(tmp_path / "ada"), _logits(runs / "base"), atol=1e-2)


def test_the_command_says_how_to_serve_and_how_to_check_it(
    chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ada"
    assert _export(chain, "aligned", out) == 0
    said = capsys.readouterr().out
    assert f"vllm serve {out} --served-model-name ada" in said
    assert f"transformers serve {out} --port 8000" in said
    assert f"midspec check-served {chain}/runs/aligned --base-url http://localhost:8000/v1" in said
    assert _export(chain, "aligned", tmp_path / "peft", "--format", "peft", "--base", "me/base", "--name", "ada") == 0
    said = capsys.readouterr().out
    place = tmp_path / "peft"
    assert f"vllm serve me/base --enable-lora --lora-modules ada={place} --max-lora-rank 8" in said
    assert f"--chat-template {place}/chat_template.jinja --generation-config {place}" in said
    front, body = _front_matter(place)
    assert (front["base_model"], front["base_model_relation"], front["library_name"]) == ("me/base", "adapter", "peft")
    assert "--lora-modules ada=ada --max-lora-rank 8" in body


def test_an_adapter_over_a_folder_of_this_machine_needs_a_name_for_it(
    chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _export(chain, "aligned", tmp_path / "ada", "--format", "peft") == 2
    assert (
        "--base: the adapter's base is a model of this machine (base). Say what it is called" in capsys.readouterr().err
    )
    assert not (tmp_path / "ada").exists()
    assert _export(chain, "full", tmp_path / "ada", "--format", "peft", "--base", "me/base") == 2
    assert "holds all weights, and no adapter" in capsys.readouterr().err
    assert _export(chain, "aligned", tmp_path / "ada", "--format", "peft", "--base", str(chain / "runs" / "full")) == 2
    assert "Check that the base is the one it was trained on" in capsys.readouterr().err
    assert not (tmp_path / "ada").exists()


def test_full_weights_are_compared_with_the_parent_that_the_records_name(chain: Path, tmp_path: Path) -> None:
    assert _export(chain, "full", tmp_path / "ada", "--dtype", "float32") == 0
    record = read_record(tmp_path / "ada")
    assert record is not None
    assert record.summary["saved_error"] == 0
    assert record.summary["saved_share"] == pytest.approx(1)
    assert isinstance(record.summary["effect"], float)
    assert record.summary["stages"] == ["pretrain", "finetune"]


def test_a_folder_for_llama_cpp_has_one_file_for_tokens_and_the_template_inside(
    chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ada"
    assert _export(chain, "aligned", out, "--format", "gguf", "--dtype", "float16") == 0
    settings = json.loads((out / "tokenizer_config.json").read_text())
    assert settings["chat_template"] == AutoTokenizer.from_pretrained(chain / "runs" / "aligned").chat_template
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in out.iterdir()}
    said = capsys.readouterr().out
    assert f"python convert_hf_to_gguf.py {out} --outfile ada.gguf --outtype f16" in said
    end = AutoTokenizer.from_pretrained(out).convert_tokens_to_ids("<end>")
    assert f"llama-server -m ada.gguf --alias ada --jinja --override-kv tokenizer.ggml.eot_token_id=int:{end}" in said
    gguf = pytest.importorskip("gguf")
    vocab = gguf.SpecialVocab(out, load_merges=False)
    assert vocab.chat_template == settings["chat_template"]
    assert vocab.special_token_ids["eos"] == 1


def test_transformers_4_finds_its_keys_and_today_reads_the_same(chain: Path, tmp_path: Path) -> None:
    trained = AutoTokenizer.from_pretrained(chain / "runs" / "aligned")
    for form, options in {"merged": ("--dtype", "bfloat16"), "gguf": (), "peft": ("--base", "me/base")}.items():
        out = tmp_path / form
        assert _export(chain, "aligned", out, "--format", form, *options) == 0
        settings = json.loads((out / "tokenizer_config.json").read_text())
        assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
        assert settings["additional_special_tokens"] == ["<user>", "<assistant>", "<end>"]
        assert not isinstance(settings.get("extra_special_tokens"), list)
        tokenizer = AutoTokenizer.from_pretrained(out)
        chat = [{"role": "user", "content": "w1 w2"}, {"role": "assistant", "content": "w3"}]
        assert tokenizer.apply_chat_template(chat) == trained.apply_chat_template(chat)
        assert (tokenizer.chat_template, tokenizer.all_special_ids) == (trained.chat_template, trained.all_special_ids)
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["torch_dtype"] == config["dtype"] == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged").dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"global_head_dim": 16}, {"global_head_dim": 16}),
        ({"global_head_dim": 8}, {"global_head_dim": 8}),
        (
            {"global_head_dim": 16, "num_global_key_value_heads": 1, "attention_k_eq_v": True},
            {"global_head_dim": 16, "num_global_key_value_heads": 1},
        ),
    ],
)
def test_the_heads_of_gemma_4s_full_attention_stand_in_an_export_as_in_its_own_files(
    chain: Path, tmp_path: Path, sizes: dict[str, Any], expected: dict[str, int]
) -> None:
    kinds = ["sliding_attention", "full_attention"]
    config = AutoConfig.for_model("gemma4_text", head_dim=8, num_hidden_layers=2, layer_types=kinds, **sizes)
    config.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(chain / "runs" / "aligned")
    tokenizer.save_pretrained(tmp_path)
    before = json.loads((tmp_path / "config.json").read_text())
    add_older_keys(tokenizer, tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    assert {key: value for key, value in settings.items() if "global" in key} == expected
    assert AutoConfig.from_pretrained(tmp_path).per_layer_config[1].head_dim == sizes["global_head_dim"]
    assert settings["per_layer_config"] == before["per_layer_config"]


def test_the_files_of_a_processor_go_along_with_a_model_that_has_towers_alone(chain: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(chain / "runs" / "aligned")
    base, out = tmp_path / "base", tmp_path / "out"
    tokenizer.save_pretrained(base)
    (base / "preprocessor_config.json").write_text("{}")
    out.mkdir()
    for config, is_there in (({"model_type": "llama"}, False), ({"vision_config": {"hidden_size": 8}}, True)):
        (out / "config.json").write_text(json.dumps(config))
        copy_vocabularies(AutoTokenizer.from_pretrained(base), out)
        assert (out / "preprocessor_config.json").is_file() is is_there


def test_a_tokenizer_that_puts_no_bos_says_so_since_transformers_4_would_put_one(tmp_path: Path) -> None:
    vocabulary = {token: number for number, token in enumerate(["<unk>", "<s>", "</s>", "▁", "a", "▁a"])}
    tokenizer = LlamaTokenizer(vocab=vocabulary, merges=[("▁", "a")])
    tokenizer.save_pretrained(tmp_path)
    add_older_keys(tokenizer, tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["add_bos_token"] is False
    assert AutoTokenizer.from_pretrained(tmp_path)("a a").input_ids == tokenizer("a a").input_ids == [5, 5]


@pytest.mark.parametrize("stage", ["full", "aligned", "before"])
def test_a_vocabulary_that_converters_read_travels_from_the_parent_to_the_export(
    chain: Path, tmp_path: Path, stage: str
) -> None:
    """Gemma 2's tokenizer.model, which llama.cpp's converter asks for and transformers 5 does not save again."""
    runs = tmp_path / "runs"
    shutil.copytree(chain / "runs", runs)
    (runs / "base" / "tokenizer.model").write_bytes(b"pieces")
    (runs / "base" / "merges.txt").write_text("#version: 0.2\n")
    name = "aligned"
    if stage == "before":  # trained by a version that did not take it along
        settings = json.loads((runs / name / "adapter_config.json").read_text())
        settings["base_model_name_or_path"] = str(runs / "base")
        (runs / name / "adapter_config.json").write_text(json.dumps(settings))
    else:
        recipe = RECIPE | (LORA if stage == "aligned" else {}) | {"keep_updates": [3]}
        rows, name = str(chain / "chats.jsonl"), "new"
        _train(runs / name, stage="finetune", parent=str(runs / "base"), data=[rows], recipe=recipe)
        for place in ("", "checkpoint-3"):
            assert (runs / name / place / "tokenizer.model").read_bytes() == b"pieces"
        record = read_record(runs / name)
        assert record is not None
        assert {"tokenizer.model", "merges.txt", "checkpoint-3/tokenizer.model"} <= set(record.outputs)
    assert main(["export-model", str(runs / name), "--out", str(tmp_path / "out"), "--format", "gguf"]) == 0
    assert (tmp_path / "out" / "tokenizer.model").read_bytes() == b"pieces"
    assert (tmp_path / "out" / "merges.txt").is_file()


def test_the_same_export_is_there_the_second_time_and_another_is_not_put_over_it(
    chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ada"
    assert _export(chain, "aligned", out) == 0
    before = {path.name: _sha256(path) for path in out.iterdir()}
    assert _export(chain, "aligned", out) == 0
    assert "it was there, made from the same inputs" in capsys.readouterr().out
    assert {path.name: _sha256(path) for path in out.iterdir()} == before
    assert _export(chain, "aligned", out, "--temperature", "0.5") == 2
    assert "pass --redo to replace it" in capsys.readouterr().err


def test_a_chain_whose_first_folder_is_gone_says_so(chain: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(chain / "runs" / "full", tmp_path / "runs" / "full")
    found = trace(tmp_path / "runs" / "full")
    record = read_record(chain / "runs" / "full")
    assert record is not None
    assert [stage.stage for stage in found.stages] == ["finetune"]
    assert (found.root, found.unknown) == (None, record.identity.inputs["parent"])


def test_rows_and_checkpoints_have_their_own_command(
    chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(chain / "runs" / "full"), "--out", str(tmp_path / "rows")]) == 2
    assert "holds a checkpoint, not rows. Export it with midspec export-model" in capsys.readouterr().err
    assert main(["export-model", str(chain), "--out", str(tmp_path / "model")]) == 2
    assert "the folder holds no model" in capsys.readouterr().err
    assert main(["export-model", str(chain / "runs" / "full"), "--out", str(tmp_path / "x"), "--temperature", "0"]) == 2
    assert "--temperature" in capsys.readouterr().err
