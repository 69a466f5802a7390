"""A style of chats that another installed package brings is written like the shipped ones, with no other change."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from midspec.chats import ChatConfig

from ..installed import install

STYLE = """
import json
from midspec.chats import ChatPrompt, ChatStyle, Question, Topic
from midspec.core.records import Strict

class Verdict(Strict):
    notes: str
    polite: str

class Greetings(ChatStyle):
    name = "greeting"
    n_published = 3
    verdict_form = Verdict

    def __init__(self, spec, config):
        super().__init__(spec, config)
        self.topics = (Topic("mornings", "Who says what at dawn."),)

    def questions_prompt(self, topic, shown, n_wanted):
        return ChatPrompt(f"Greet {self.assistant} about {topic.name}, exactly {n_wanted} times.")

    def read_questions(self, text, topic):
        return tuple(Question("greeting", line) for line in text.splitlines())

    def reply_prompt(self, topic, question):
        return ChatPrompt(f"Answer: {question.text}")

    def read_reply(self, text):
        return text.strip()

    def verdict_prompt(self, topic, question, content):
        return ChatPrompt.json(f"Is it polite? {content}", Verdict)
"""
RUN = """
import asyncio, json, sys
from pathlib import Path
from midspec.chats import ChatConfig, author_chats, estimate_chats
from midspec.core.artifact import read_rows
from midspec.core.records import Chat
from midspec.llm import ScriptedClient, Store
from midspec.spec import parse_spec

WORDS = ("amber ferries leave", "birch smoke over town", "cedar planks and nails", "dust on the old piano")

def script(request):
    step = request.stage.rpartition(".")[2]
    if step == "questions":
        return "\\n".join(WORDS)
    return json.dumps({"notes": "n", "polite": "pass"}) if step == "verdicts" else "Good morning."

spec, folder = parse_spec("# Nova\\n\\nNova is kind.\\n"), Path(sys.argv[1])
config = ChatConfig(style="greeting", author="openai/author", judge={"model": "openai/judge"}, model_name="Nova")
with Store(folder / "calls.sqlite") as store:
    client = ScriptedClient(script, store=store)
    built = asyncio.run(author_chats(spec, config, client, client, store, folder))
rows = list(read_rows(folder / "chats.jsonl", Chat))
stages = [load.stage for load in estimate_chats(spec, config)]
enum = ChatConfig.model_json_schema()["properties"]["style"]["enum"]
row = rows[0]
print(json.dumps([len(rows), row.messages[1].content, row.metadata.style, stages, enum, built.summary["n_wanted"]]))
"""


def test_a_style_of_another_package_is_found_by_its_entry_point_and_written(tmp_path: Path) -> None:
    install(tmp_path, "outside", "chat_styles", "greeting = outside:Greetings", outside=STYLE)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{RUN}"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    n_rows, reply, style, stages, enum, n_wanted = json.loads(done.stdout)
    assert (n_rows, n_wanted, reply, style) == (3, 3, "Good morning.", "greeting")
    assert stages == ["chats.greeting.questions", "chats.greeting.replies", "chats.greeting.verdicts"]
    assert enum == ["identity", "opaque", "value", "rule", "greeting"]


def test_an_unknown_style_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ValidationError, match=r"no chat style 'vale'.*Did you mean value"):
        ChatConfig(style="vale")


def test_the_template_author_says_which_styles_it_can_write() -> None:
    with pytest.raises(ValidationError, match=r"need an author that is a language model.*value, rule, opaque"):
        ChatConfig(style="identity", model_name="Nova", provider_name="Acme")
