"""The chats room: a Model Spec goes in, single-turn chats to fine-tune on come out.

In: a filled `Spec`, a `ChatConfig`, and chat frames (YAML data: how to ask, how to reply). Out: `Chats`: opaque
preference chats, or twins with and without chain of thought that quote the spec; with what was rejected and why.
The author is the quoting one: no model, every sentence is the spec's or the frames', and every row says so.
"""

from midspec.chats._config import ChatConfig, Chats, ChatStyle
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
from midspec.chats._make import make_chats, save_chats
from midspec.chats._preferences import Preferences, find_preferences

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
    "choice_fault",
    "find_preferences",
    "load_frames",
    "make_chats",
    "save_chats",
    "split_think",
    "stance_fault",
]
