#!/usr/bin/env bash
# Tokens of many requests priced together cost up to twice what the requests cost: the sum is taken for one long prompt.
#
# Versions: genai-prices 0.2.3
#
# Guess from memory: prices are per token, so the price of all usage of a run is the sum of the prices of its
#   requests.
# Behaviour: some models cost more per token where a prompt is longer than 200,000 tokens, and then for all of its
#   tokens. calc_price takes the numbers that it is given for one request. Who adds up the usage of a run, as logs and
#   dashboards do, and prices that, pays on paper the rate for long prompts: double for input, and half as much again
#   for output. Models without such a step are right either way. Nothing in the result says which rate was taken.
# Fix: price each request, or one of average size times their number.
#
# Output seen (100 requests of 10,000 tokens in and 1,000 out; USD):
#   gemini-2.5-pro     each alone 2.25, all together 4.00, ratio 1.78
#   claude-sonnet-4-5  each alone 4.50, all together 8.25, ratio 1.83
#   gpt-4o             each alone 3.50, all together 3.50, ratio 1.00
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet genai-prices==0.2.3
cd "$work"

cat > show.py <<'EOF'
import sys
from datetime import datetime, timezone

from genai_prices import Usage, calc_price

WHEN = datetime(2026, 1, 15, tzinfo=timezone.utc)
MODELS = {"gemini-2.5-pro": "google", "claude-sonnet-4-5": "anthropic", "gpt-4o": "openai"}
ratios = []
for model, provider in MODELS.items():
    one = {"model_ref": model, "provider_id": provider, "genai_request_timestamp": WHEN}
    each = calc_price(Usage(input_tokens=10_000, output_tokens=1_000), **one).total_price * 100
    together = calc_price(Usage(input_tokens=1_000_000, output_tokens=100_000), **one).total_price
    ratios.append(float(together / each))
    print(f"{model:<18} each alone {each:.2f}, all together {together:.2f}, ratio {ratios[-1]:.2f}")
if not (ratios[0] > 1.5 and ratios[1] > 1.5 and ratios[2] == 1):
    sys.exit("the behaviour changed")
EOF
"$work/venv/bin/python" show.py
