"""A checkpoint's digest counts what changes how it is read, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from midspec.core.fingerprint import fingerprint, hash_file
from midspec.models import checkpoint_digest

Saved = Callable[..., Path]


def change(path: Path, **settings: Any) -> None:
    """Sets values of a JSON file; `None` takes one out."""
    found = (json.loads(path.read_text()) if path.is_file() else {}) | settings
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


def earlier(folder: Path) -> str:
    """The digest as results have it that were made before files of older versions counted."""
    patterns = ("*.safetensors", "*.bin", "*config.json", "tokenizer*", "*.jinja", "*.model", "vocab*", "merges.txt")
    files = {path for pattern in patterns for path in folder.glob(pattern)}
    return fingerprint({"model": fingerprint({path.name: hash_file(path) for path in files})})


def test_special_tokens_count_where_their_own_file_alone_names_them(saved: Saved) -> None:
    folder = saved("llama")
    named = folder / "special_tokens_map.json"
    assert checkpoint_digest(str(folder)) == earlier(folder)
    # As transformers 4 wrote it, with a way to split: it repeats what tokenizer_config.json says.
    split = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    change(named, eos_token={"content": "<|endoftext|>", **split}, pad_token="<|pad|>")
    assert checkpoint_digest(str(folder)) == earlier(folder)
    change(folder / "tokenizer_config.json", eos_token=None)
    digests, ends = set(), set()
    for end in ("<|endoftext|>", "<|im_end|>"):
        change(named, eos_token=end)
        digests.add(checkpoint_digest(str(folder)))
        ends.add(AutoTokenizer.from_pretrained(folder).eos_token)
    assert len(digests | {earlier(folder)}) == 3
    assert ends == {"<|endoftext|>", "<|im_end|>"}
    change(folder / "tokenizer_config.json", eos_token="<|endoftext|>", added_tokens_decoder={})
    assert AutoTokenizer.from_pretrained(folder).eos_token == "<|endoftext|>"  # it is not read
    assert checkpoint_digest(str(folder)) == earlier(folder)


def test_added_tokens_count_where_tokenizer_json_lacks_them(saved: Saved) -> None:
    folder = saved("llama")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    added = folder / "added_tokens.json"
    change(added, **{"<|im_end|>": tokenizer.convert_tokens_to_ids("<|im_end|>")})
    assert checkpoint_digest(str(folder)) == earlier(folder)
    change(added, **{"<|new|>": len(tokenizer)})
    assert checkpoint_digest(str(folder)) != earlier(folder)
    assert len(AutoTokenizer.from_pretrained(folder)) == len(tokenizer) + 1


def test_odd_files_of_a_tokenizer_give_a_digest_and_no_traceback(saved: Saved) -> None:
    folder = saved("llama")
    change(folder / "added_tokens.json", a=[1])
    assert checkpoint_digest(str(folder)) != earlier(folder)
    change(folder / "tokenizer.json", added_tokens=["x"])
    assert checkpoint_digest(str(folder)) != earlier(folder)


def test_special_tokens_that_only_repeat_the_defaults_of_a_class_do_not_count(saved: Saved) -> None:
    folder = saved("llama")
    path = folder / "tokenizer_config.json"
    config = {key: value for key, value in json.loads(path.read_text()).items() if key != "unk_token"}
    path.write_text(json.dumps({**config, "tokenizer_class": "LlamaTokenizerFast"}))
    change(folder / "special_tokens_map.json", unk_token="<unk>")
    assert checkpoint_digest(str(folder)) == earlier(folder)


def test_further_chat_templates_count(saved: Saved) -> None:
    folder = saved("llama")
    path = folder / "additional_chat_templates" / "tool_use.jinja"
    path.parent.mkdir()
    digests = {earlier(folder)}
    for text in ("one", "two"):
        path.write_text(text)
        digests.add(checkpoint_digest(str(folder)))
    assert len(digests) == 3
    assert AutoTokenizer.from_pretrained(folder).chat_template["tool_use"] == "two"
