#!/usr/bin/env bash
# timeout=1 does not end a request after a second, as long as the server sends a line break now and then.
#
# Versions: openai 3.54.0, anthropic 2.12.0 (with the httpx that they bring)
#
# Guess from memory: timeout is how long a request may take.
# Behaviour: it is how long the line may be silent, for connecting and for each read by itself. Some providers send
#   empty lines while a request waits in a queue (DeepSeek's documentation says so), and JSON allows them before the
#   answer. Each one starts the clock anew: no error, no retry, and a pool of workers fills with requests that wait.
# Fix: a deadline around the call, such as asyncio.wait_for with the asynchronous client.
#
# Output seen (seconds vary a little):
#   openai, a silent server            APITimeoutError  1.4 s
#   openai, line breaks                late             6.1 s
#   anthropic, line breaks             late             6.3 s
#   openai, asyncio.wait_for(..., 1)   TimeoutError     1.3 s
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet openai==3.54.0 anthropic==2.12.0
cd "$work"

cat > show.py <<'EOF'
import asyncio
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic
import openai

OPENAI = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "late"}}],
}
ANTHROPIC = {
    "id": "x", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "late"}], "usage": {"input_tokens": 1, "output_tokens": 1},
}
ASK = {"model": "m", "messages": [{"role": "user", "content": "?"}]}


class Slow(BaseHTTPRequestHandler):
    """Answers after 6 s; on the path /waiting it sends a line break every 0.25 s until then."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = json.dumps(ANTHROPIC if self.path.endswith("messages") else OPENAI).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(24 + len(answer)))
        self.end_headers()
        try:
            for _ in range(24):
                time.sleep(0.25)
                if self.path.startswith("/waiting"):
                    self.wfile.write(b"\n")
            self.wfile.write(answer)
        except OSError:
            pass  # the client has gone

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{server.server_port}"
seen = {}


def options(path):
    return {"api_key": "k", "base_url": f"{URL}/{path}", "timeout": 1, "max_retries": 0}


def show(title, call):
    start = time.monotonic()
    try:
        got = call()
    except (openai.APITimeoutError, anthropic.APITimeoutError, TimeoutError) as error:
        got = type(error).__name__
    seconds = time.monotonic() - start
    seen[title] = got, seconds > 5
    print(f"{title:<34} {got:<16} {seconds:.1f} s")


async def with_deadline():
    client = openai.AsyncOpenAI(**options("waiting"))
    answer = await asyncio.wait_for(client.chat.completions.create(**ASK), 1)
    return answer.choices[0].message.content


silent, waiting = (openai.OpenAI(**options(path)) for path in ("silent", "waiting"))
claude = anthropic.Anthropic(**options("waiting"))
show("openai, a silent server", lambda: silent.chat.completions.create(**ASK).choices[0].message.content)
show("openai, line breaks", lambda: waiting.chat.completions.create(**ASK).choices[0].message.content)
show("anthropic, line breaks", lambda: claude.messages.create(**ASK, max_tokens=9).content[0].text)
show("openai, asyncio.wait_for(..., 1)", lambda: asyncio.run(with_deadline()))
if list(seen.values()) != [("APITimeoutError", False), ("late", True), ("late", True), ("TimeoutError", False)]:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
