"""The chats room: a Model Spec goes in, single-turn chats to fine-tune on come out.

In: a filled `Spec`, a `ChatConfig`, and chat frames (YAML data: how to ask, how to reply). Out: `Chats`: opaque
preference chats, or twins with and without chain of thought; with what was rejected and why. There are two kinds of
author, and every row says which: the quoting one, whose every sentence is the spec's or the frames'; and a language
model, whose prompts are in `_prompts/` and whose chats another model judges.
"""

from midspec.chats._author import author_chats, preview_chats
from midspec.chats._config import ChatConfig, Chats, ChatStyle, Writing
from midspec.chats._filters import choice_fault, split_think, stance_fault
from midspec.chats._format import (
    ChatFrames,
    OpaqueFrames,
    PairFrame,
    QuestionFrame,
    QuestionKind,
    SingleFrame,
    SpecFrames,
    StyleFrames,
    load_frames,
)
from midspec.chats._loads import chat_loads
from midspec.chats._make import make_chats, save_chats
from midspec.chats._preferences import Preferences, find_preferences
from midspec.chats._subsample import subsample

__all__ = [
    "ChatConfig",
    "ChatFrames",
    "ChatStyle",
    "Chats",
    "OpaqueFrames",
    "PairFrame",
    "Preferences",
    "QuestionFrame",
    "QuestionKind",
    "SingleFrame",
    "SpecFrames",
    "StyleFrames",
    "Writing",
    "author_chats",
    "chat_loads",
    "choice_fault",
    "find_preferences",
    "load_frames",
    "make_chats",
    "preview_chats",
    "save_chats",
    "split_think",
    "stance_fault",
    "subsample",
]
