#!/usr/bin/env bash
# JSON in a system message reaches the model with other braces: {"grade": 1} is {{"grade"}: 1}.
#
# Versions: inspect_ai 0.3.285
#
# Guess from memory: system_message("...") puts the text before the chat as it is, since no parameter was given; at worst
#   it fails at a brace, as str.format does.
# Behaviour: system_message, user_message and prompt_template format their text always, with a formatter that leaves
#   unknown names alone. It takes what stands behind a colon for a format, and puts braces around the name anew: JSON
#   objects in a prompt, and the objects in them, are shown to the model as broken JSON (those in a third level raise
#   ValueError). "{{" becomes "{", "{}" becomes "{0}", and \boxed{1:2} loses what stands behind its colon. {name} and
#   \frac{1}{2} pass, so that a first look shows nothing. No warning.
# Fix: double each brace of the text, or put ChatMessageSystem(content=text) into the sample's input.
#
# Output seen:
#   system_message        Reply {"grade": 1}              -> Reply {{"grade"}: 1}
#   system_message        Call {"f": {"x": [1, 2]}}       -> Call {{"f"}: {{"x"}: [1, 2]}}
#   system_message        f"{score:.2f}"                  -> f"{{score}:.2f}"
#   system_message        a dict {}                       -> a dict {0}
#   system_message        \frac{1}{2}, {name}             -> as it was
#   system_message        \boxed{1:2}                     -> \boxed{1}
#   system_message        Reply {{"grade": 1}}            -> Reply {"grade": 1}
#   user_message          Reply {"grade": 1}              -> Reply {{"grade"}: 1}
#   prompt_template       Reply {"grade": 1}              -> Reply {{"grade"}: 1}
#   ChatMessageSystem     Reply {"grade": 1}              -> as it was
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet inspect_ai==0.3.285
cd "$work"

cat > show.py <<'EOF'
import sys

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, ModelOutput, ModelUsage, get_model
from inspect_ai.solver import generate, prompt_template, system_message, user_message

SAME = "as it was"
EXPECTED = [
    (system_message, 'Reply {"grade": 1}', 'Reply {{"grade"}: 1}'),
    (system_message, 'Call {"f": {"x": [1, 2]}}', 'Call {{"f"}: {{"x"}: [1, 2]}}'),
    (system_message, 'f"{score:.2f}"', 'f"{{score}:.2f}"'),
    (system_message, "a dict {}", "a dict {0}"),
    (system_message, r"\frac{1}{2}, {name}", SAME),
    (system_message, r"\boxed{1:2}", r"\boxed{1}"),
    (system_message, 'Reply {{"grade": 1}}', 'Reply {"grade": 1}'),
    (user_message, 'Reply {"grade": 1}', 'Reply {{"grade"}: 1}'),
    (prompt_template, 'Reply {"grade": 1}', 'Reply {{"grade"}: 1}'),
    (ChatMessageSystem, 'Reply {"grade": 1}', SAME),
]
tasks = []
for way, text, _ in EXPECTED:
    if way is ChatMessageSystem:
        tasks.append(Task(dataset=[Sample(input=[ChatMessageSystem(content=text), ChatMessageUser(content="Go.")])]))
    else:
        tasks.append(Task(dataset=[Sample(input="Go.")], solver=[way(text), generate()]))
reply = ModelOutput.from_content("mockllm/model", "yes")
reply.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
model = get_model("mockllm/model", custom_outputs=lambda *_: reply)
for (way, text, expected), task in zip(EXPECTED, tasks, strict=True):
    (log,) = eval(task, model=model, display="none", log_dir="logs")
    (shown,) = (m.text for m in log.samples[0].messages if m.role != "assistant" and m.text != "Go.")
    seen = SAME if shown == text else shown
    print(f"{way.__name__:<21} {text:<31} -> {seen}")
    if log.status != "success" or seen != expected:
        sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
