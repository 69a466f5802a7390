"""Models: opens a checkpoint (base, adapter, tokenizer, template), scores options, generates.

In: the name of a folder or of a model on the hub, and messages. Out: log-probabilities, texts, and chats as tokens.
torch, transformers and PEFT live here and in `train`; they are imported when something is opened, not before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from midspec.models._device import check_device
from midspec.models._find import checkpoint_digest, files_digest, find_checkpoint

if TYPE_CHECKING:
    from midspec.models._chat import ChatTemplate, Tokens, tokenize_chat
    from midspec.models._hub import only_here
    from midspec.models._language_model import Generation, LanguageModel, OptionScore, open_checkpoint
    from midspec.models._open import (
        load_model,
        load_tokenizer,
        pick_device,
        refuse_second_adapter,
        tokenizer_of,
        use_threads,
    )
    from midspec.models._quiet import quiet

__all__ = [
    "ChatTemplate",
    "Generation",
    "LanguageModel",
    "OptionScore",
    "Tokens",
    "check_device",
    "checkpoint_digest",
    "files_digest",
    "find_checkpoint",
    "load_model",
    "load_tokenizer",
    "only_here",
    "open_checkpoint",
    "pick_device",
    "quiet",
    "refuse_second_adapter",
    "tokenize_chat",
    "tokenizer_of",
    "use_threads",
]

_HOMES = {
    "ChatTemplate": "_chat",
    "Generation": "_language_model",
    "LanguageModel": "_language_model",
    "OptionScore": "_language_model",
    "Tokens": "_chat",
    "load_model": "_open",
    "load_tokenizer": "_open",
    "only_here": "_hub",
    "open_checkpoint": "_language_model",
    "pick_device": "_open",
    "quiet": "_quiet",
    "refuse_second_adapter": "_open",
    "tokenize_chat": "_chat",
    "tokenizer_of": "_open",
    "use_threads": "_open",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
