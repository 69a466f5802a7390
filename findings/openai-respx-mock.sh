#!/usr/bin/env bash
# A test that mocks httpx (respx, pytest-httpx) no longer stops the requests of openai and anthropic: they go out.
#
# Versions: openai 3.54.0, anthropic 2.12.0, respx 0.23.1, pytest-httpx 0.36.2 (with the httpx and httpx2 that they bring)
#
# Guess from memory: both SDKs stand on httpx, so that within respx.mock, or with the fixture httpx_mock, no test
#   reaches the network, and a request without a route is an error.
# Behaviour: each makes its own client of httpx2, another package, which these tools don't know. The request goes to the
#   server that base_url names, at real cost where a key is set, and the answer comes from there. That the mock was not
#   asked is told at the end, if at all (respx with assert_all_called, httpx_mock by default), when the request has been
#   made. openai still takes an httpx.Client() as http_client, which is mocked; anthropic refuses one with TypeError.
# Fix: http_client= with httpx2.MockTransport, or a server on 127.0.0.1 as base_url.
#
# Output seen:
#   respx         openai as made            answered by the server
#   respx         openai, httpx.Client()    answered by the mock
#   respx         anthropic as made         answered by the server
#   pytest-httpx  openai as made            answered by the server
#   httpx2.MockTransport     openai         answered by the mock
#   httpx2.MockTransport     anthropic      answered by the mock
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet openai==3.54.0 anthropic==2.12.0 respx==0.23.1 pytest-httpx==0.36.2
cd "$work"
unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy

cat > ask.py <<'EOF'
import contextlib
import http.server
import json
import threading

import anthropic
import openai


def answer(path, text):
    if path.endswith("/messages"):
        return {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
                "content": [{"type": "text", "text": text}], "usage": {"input_tokens": 1, "output_tokens": 1}}
    message = {"role": "assistant", "content": text}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(answer(self.path, "answered by the server")).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def server():
    one = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=one.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{one.server_port}"
    one.shutdown()


MESSAGES = [{"role": "user", "content": "Hello"}]


def ask_openai(url, **options):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, **options)
    return client.chat.completions.create(model="m", messages=MESSAGES).choices[0].message.content


def ask_anthropic(url, **options):
    client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, **options)
    return client.messages.create(model="m", messages=MESSAGES, max_tokens=9).content[0].text
EOF
cat > test_httpx_mock.py <<'EOF'
import json
import pathlib

import ask
import pytest


@pytest.mark.httpx_mock(assert_all_responses_were_requested=False)
def test_a_mocked_request(httpx_mock):
    httpx_mock.add_response(json=ask.answer("/chat/completions", "answered by the mock"))
    with ask.server() as url:
        pathlib.Path("seen.json").write_text(json.dumps(ask.ask_openai(url)))
EOF
cat > show.py <<'EOF'
import json
import pathlib
import subprocess
import sys

import ask
import httpx
import httpx2
import respx


def mocked(request):
    return httpx2.Response(200, json=ask.answer(request.url.path, "answered by the mock"))


def of_httpx(request):
    return httpx.Response(200, json=ask.answer(request.url.path, "answered by the mock"))


SERVER, MOCK = "answered by the server", "answered by the mock"
with ask.server() as url:
    with respx.mock(assert_all_called=False) as router:
        router.route().mock(side_effect=of_httpx)
        seen = [
            ("respx         openai as made", SERVER, ask.ask_openai(url)),
            ("respx         openai, httpx.Client()", MOCK, ask.ask_openai(url, http_client=httpx.Client())),
            ("respx         anthropic as made", SERVER, ask.ask_anthropic(url)),
        ]
    try:
        ask.ask_anthropic(url, http_client=httpx.Client())
        sys.exit("the behaviour changed")
    except TypeError:
        pass
    subprocess.run([sys.executable, "-m", "pytest", "-q", "test_httpx_mock.py"], check=True, stdout=subprocess.DEVNULL)
    seen.append(("pytest-httpx  openai as made", SERVER, json.loads(pathlib.Path("seen.json").read_text())))
    for name, way in (("openai", ask.ask_openai), ("anthropic", ask.ask_anthropic)):
        client = httpx2.Client(transport=httpx2.MockTransport(mocked))
        seen.append((f"httpx2.MockTransport     {name}", MOCK, way(url, http_client=client)))
for title, _, text in seen:
    print(f"{title:<39} {text}")
if any(text != expected for _, expected, text in seen):
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
