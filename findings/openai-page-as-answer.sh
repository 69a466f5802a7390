#!/usr/bin/env bash
# A web page with status 200 comes out of the SDKs of OpenAI and Anthropic as the answer, or as an AttributeError.
#
# Versions: openai 3.54.0, anthropic 2.12.0
#
# Guess from memory: what is no JSON raises the SDK's own error (APIResponseValidationError), so `except OpenAIError`
#   or `except AnthropicError` around a call is enough.
# Behaviour: a page of type text/html, as a gateway or a base_url without /v1 gives it, is returned as a str where a
#   ChatCompletion, a Message or a Batch is promised, and fails at the first attribute that is read. Lists of batches
#   (or models, or files), embeddings, and a batch's results raise AttributeError within the SDK, which is no error of
#   its own: a loop that waits for a batch, and retries on the SDK's errors alone, ends.
# Fix: isinstance of what came, and AttributeError around lists; or _strict_response_validation=True, with which all
#   of these raise the SDK's error.
#
# Output seen:
#   openai    chat.completions.create     returns str                     strict: APIResponseValidationError, the SDK's own
#   openai    batches.retrieve            returns str                     strict: APIResponseValidationError, the SDK's own
#   openai    batches.list                AttributeError, not the SDK's   strict: APIResponseValidationError, the SDK's own
#   openai    embeddings.create           AttributeError, not the SDK's   strict: APIResponseValidationError, the SDK's own
#   anthropic messages.create             returns str                     strict: APIResponseValidationError, the SDK's own
#   anthropic messages.batches.list       AttributeError, not the SDK's   strict: APIResponseValidationError, the SDK's own
#   anthropic messages.batches.results    AttributeError, not the SDK's   strict: APIResponseValidationError, the SDK's own
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet openai==3.54.0 anthropic==2.12.0
cd "$work"

cat > show.py <<'EOF'
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic
import openai

CHAT = [{"role": "user", "content": "How warm is Oslo?"}]
CALLS = {
    "openai    chat.completions.create": lambda o, _: o.chat.completions.create(model="m", messages=CHAT),
    "openai    batches.retrieve": lambda o, _: o.batches.retrieve("b"),
    "openai    batches.list": lambda o, _: list(o.batches.list()),
    "openai    embeddings.create": lambda o, _: o.embeddings.create(model="m", input="x"),
    "anthropic messages.create": lambda _, a: a.messages.create(model="m", max_tokens=9, messages=CHAT),
    "anthropic messages.batches.list": lambda _, a: list(a.messages.batches.list()),
    "anthropic messages.batches.results": lambda _, a: list(a.messages.batches.results("b")),
}


class Page(BaseHTTPRequestHandler):
    def answer(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b"<html><body>Welcome to the gateway</body></html>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"


def outcome(call, strict):
    options = dict(api_key="none", max_retries=0, _strict_response_validation=strict)
    try:
        answer = call(openai.OpenAI(base_url=f"{url}/v1", **options), anthropic.Anthropic(base_url=url, **options))
    except (openai.OpenAIError, anthropic.AnthropicError) as error:
        return f"{type(error).__name__}, the SDK's own"
    except Exception as error:  # what kind it is, is the question
        return f"{type(error).__name__}, not the SDK's"
    return f"returns {type(answer).__name__}"


seen = {}
for name, call in CALLS.items():
    seen[name] = outcome(call, strict=False), outcome(call, strict=True)
    print(f"{name:<37} {seen[name][0]:<31} strict: {seen[name][1]}")

text, foreign = "returns str", "AttributeError, not the SDK's"
expected = [text, text, foreign, foreign, text, foreign, foreign]
strict = {"APIResponseValidationError, the SDK's own"}
if [plain for plain, _ in seen.values()] != expected or {said for _, said in seen.values()} != strict:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
