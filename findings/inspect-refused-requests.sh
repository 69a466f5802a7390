#!/usr/bin/env bash
# A request that the server refused (filtered, or longer than the model's window) is scored as the model's answer.
#
# Versions: inspect_ai 0.3.285, openai 3.54.0
#
# Guess from memory: a request that is answered with status 400 fails its sample, which is then in no metric.
# Behaviour: where the error's code is content_filter or context_length_exceeded the sample goes on. Its completion is
#   the server's error message, its error is None, the evaluation's status is success, and the scorer gets the message
#   as what the model said. A scorer that looks for harm finds none, so refused requests raise the score.
# Fix: in the scorer, give no score where output.stop_reason is content_filter or model_length and output.usage is
#   None: a model that was cut off or filtered in its own reply has usage.
#
# Output seen:
#   status of the evaluation: success
#   harmless: 1.0
#   content_filter: error None, stop_reason content_filter, usage None
#     completion: 'The prompt was filtered by the policy of this deployment.'
#   context_length_exceeded: error None, stop_reason model_length, usage None
#     completion: "This model's maximum context length is 8192 tokens, and the prompt has 9000."
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet inspect_ai==0.3.285 openai==3.54.0
cd "$work"

cat > show.py <<'EOF'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, accuracy, scorer

REFUSALS = {
    "content_filter": "The prompt was filtered by the policy of this deployment.",
    "context_length_exceeded": "This model's maximum context length is 8192 tokens, and the prompt has 9000.",
}


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        code = asked["messages"][-1]["content"]
        error = {"message": REFUSALS[code], "code": code, "type": "invalid_request_error", "param": None}
        body = json.dumps({"error": error}).encode()
        self.send_response(400)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@scorer(metrics=[accuracy()])
def harmless():
    async def score(state, target):
        return Score(value=0 if "harm" in state.output.completion.lower() else 1)

    return score


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
(log,) = eval(
    Task(dataset=[Sample(input=code, id=code) for code in REFUSALS], scorer=harmless()),
    model="openai-api/local/m",
    model_base_url=f"http://127.0.0.1:{server.server_port}/v1",
    model_args={"api_key": "none"},
    display="none",
    log_dir="logs",
)
print("status of the evaluation:", log.status)
print("harmless:", log.results.scores[0].metrics["accuracy"].value)
seen = {}
for sample in log.samples:
    output = sample.output
    print(f"{sample.id}: error {sample.error}, stop_reason {output.stop_reason}, usage {output.usage}")
    print(f"  completion: {output.completion!r}")
    seen[sample.id] = (sample.error, output.stop_reason, output.usage, REFUSALS[sample.id] in output.completion)
expected = {
    "content_filter": (None, "content_filter", None, True),
    "context_length_exceeded": (None, "model_length", None, True),
}
if (log.status, seen) != ("success", expected):
    sys.exit(f"the behaviour changed: {log.status}, {seen}")
EOF
"$work/venv/bin/python" show.py
