#!/usr/bin/env bash
# Inspect's hf provider puts a second begin token before every chat whose template writes one.
#
# Versions: torch 2.13.0, transformers 5.23.0, accelerate 1.15.0, inspect_ai 0.3.285
#
# Guess from memory: a chat reaches the model as apply_chat_template tokenizes it, which is how it was trained.
# Behaviour: the template is rendered to text, and the text is then tokenized with special tokens added. Where the
#   template writes the begin token and the tokenizer adds one as well (as Llama 3's and Gemma's do), the model is
#   given two. Trained and evaluated prompts differ by a token, and no log shows it: input_tokens is the length of the
#   batch's longest chat for all of its samples. No warning.
# Fix: tokenizer_call_args={"add_special_tokens": False} among the model's arguments.
#
# Output seen:
#   as trained:
#     <s> user: w1 assistant:
#     <s> user: w1 w2 w3 w4 w5 w6 assistant:
#   hf provider:
#     <s> <s> user: w1 assistant:                            5 tokens, input_tokens 10
#     <s> <s> user: w1 w2 w3 w4 w5 w6 assistant:             10 tokens, input_tokens 10
#   add_special_tokens False:
#     <s> user: w1 assistant:                                4 tokens, input_tokens 9
#     <s> user: w1 w2 w3 w4 w5 w6 assistant:                 9 tokens, input_tokens 9
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet transformers==5.23.0 accelerate==1.15.0 inspect_ai==0.3.285
cd "$work"
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf" CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1 TRANSFORMERS_VERBOSITY=error

cat > show.py <<'EOF'
import sys

import torch
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import get_model
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

vocab = {word: i for i, word in enumerate(["<s>", "</s>", "user:", "assistant:", *(f"w{i}" for i in range(32))])}
words = Tokenizer(models.WordLevel(vocab))
words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
words.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")
tokenizer.chat_template = (
    "{{ bos_token }}{% for message in messages %} {{ message.role }}: {{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %} assistant:{% endif %}"
)
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=len(vocab), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=64, bos_token_id=0, eos_token_id=1, initializer_range=0.3,
))
model.save_pretrained("model")
tokenizer.save_pretrained("model")

QUESTIONS = ["w1", "w1 w2 w3 w4 w5 w6"]
AS_TRAINED = [
    tokenizer.apply_chat_template([{"role": "user", "content": q}], add_generation_prompt=True)["input_ids"]
    for q in QUESTIONS
]


def ask(**model_args):
    """Give the tokens that the model gets for each question, and the input_tokens that are told."""
    hf = get_model("hf/local", model_path="model", do_sample=False, memoize=False, **model_args)
    got, generate = [], hf.api.model.generate

    def listen(input_ids, attention_mask, **rest):
        got.extend(row[mask.bool()].tolist() for row, mask in zip(input_ids, attention_mask, strict=True))
        return generate(input_ids=input_ids, attention_mask=attention_mask, **rest)

    hf.api.model.generate = listen
    task = Task(dataset=[Sample(input=question) for question in QUESTIONS])
    (log,) = eval(task, model=hf, max_tokens=4, display="none", log_dir="logs")
    return sorted(got, key=len), [sample.output.usage.input_tokens for sample in log.samples]


seen = {}
print("as trained:")
for ids in AS_TRAINED:
    print(f"  {' '.join(tokenizer.convert_ids_to_tokens(ids))}")
for title, model_args in {
    "hf provider": {},
    "add_special_tokens False": {"tokenizer_call_args": {"add_special_tokens": False}},
}.items():
    got, told = ask(**model_args)
    print(f"{title}:")
    for ids, n_told in zip(got, told, strict=True):
        print(f"  {' '.join(tokenizer.convert_ids_to_tokens(ids)):<54} {len(ids)} tokens, input_tokens {n_told}")
    seen[title] = (got, told)

doubled = [[0, *ids] for ids in AS_TRAINED]
expected = {
    "hf provider": (doubled, [len(doubled[1])] * 2),
    "add_special_tokens False": (AS_TRAINED, [len(AS_TRAINED[1])] * 2),
}
if seen != expected:
    sys.exit(f"the behaviour changed: {seen}")
EOF
"$work/venv/bin/python" show.py
