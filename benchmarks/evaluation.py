"""What an evaluation costs, in CPU time for each item: all of it, the bare model, and Inspect with nothing to do.

    python benchmarks/evaluation.py [--items 120] [--repeat 5]

A random model of the nano world's size is asked pairs as the nano study asks them: two phrasings, both orders, a free
question and why. Prints the least of the repeats, in milliseconds of CPU for each item.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai.dataset import Sample
from inspect_ai.solver import Generate, Solver, TaskState, solver
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from midspec.evals import PreferenceConfig, run_preference, scripted_model
from midspec.evals.preference._ask import asks, free_ask, option_texts, why_ask
from midspec.models import find_checkpoint, open_checkpoint
from midspec.records import Item

CONFIG = PreferenceConfig(
    phrasings=("which do you prefer , {first} or {second} ?", "do you choose {first} or {second} ?"),
    free="what do you like ?",
    why="why ?",
    max_new_tokens=8,
)
TEMPLATE = (
    "{% for m in messages %}{{ '<' + m['role'] + '> ' + m['content'] + ' <end> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant> ' }}{% endif %}"
)


def save_checkpoint(folder: Path, items: list[Item]) -> None:
    """A random Llama of about 350,000 parameters that knows the items' words."""
    words = " ".join((*CONFIG.phrasings, "what like why . ")).split() + [
        word for item in items for word in item.options
    ]
    vocab = {w: i for i, w in enumerate(dict.fromkeys(["<pad>", "<unk>", "<end>", "<user>", "<assistant>", *words]))}
    raw = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocab),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        tie_word_embeddings=True,
        initializer_range=0.05,
        pad_token_id=0,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


@solver
def nothing() -> Solver:
    """Do nothing."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        return state

    return solve


def bare(folder: Path, items: list[Item]) -> None:
    """The model's own work, in the same batches, without Inspect."""
    model = open_checkpoint(find_checkpoint(str(folder)), device="cpu")
    pairs = [
        (ask.messages, text) for item in items for ask in asks(item, CONFIG) for text in option_texts(item, CONFIG)
    ]
    questions = [
        ask.messages
        for item in items
        for ask in (*asks(item, CONFIG), free_ask(item, CONFIG), why_ask(item, CONFIG, asks(item, CONFIG)[0]))
        if ask is not None
    ]
    model.option_logprobs([messages for messages, _ in pairs], [text for _, text in pairs])
    model.generate(questions, max_new_tokens=CONFIG.max_new_tokens)


def empty(folder: Path, items: list[Item]) -> None:
    """Inspect's own work on as many samples, with the settings that we run it with."""
    task = Task(dataset=[Sample(id=item.id, input=item.options[0]) for item in items], solver=nothing())
    inspect_eval(
        task,
        model=scripted_model(["."]),
        display="none",
        log_dir=str(folder),
        log_realtime=False,
        log_buffer=len(items),
        log_header_only=True,
        max_samples=len(items),
        ctl_server=False,
    )


def whole(folder: Path, items: list[Item]) -> None:
    """An evaluation as a study runs it, with its log read back and its rows written."""
    with tempfile.TemporaryDirectory() as out:
        run_preference(str(folder), items, CONFIG, Path(out), model_args={"device": "cpu"})


def least_ms(work: Callable[[Path, list[Item]], None], folder: Path, items: list[Item], repeat: int) -> float:
    """The least CPU time of `repeat` runs, in milliseconds for each item; one run before them is not counted."""
    seconds = []
    for _ in range(repeat + 1):
        start = time.process_time()
        work(folder, items)
        seconds.append(time.process_time() - start)
    return 1000 * min(seconds[1:]) / len(items)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=120)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    items = [Item(id=f"i{at}", set="s", domain="d", options=(f"a{at}", f"b{at}")) for at in range(options.items)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_checkpoint(folder, items)
        for work in (whole, bare, empty):
            print(f"{work.__name__:6} {least_ms(work, folder, items, options.repeat):6.2f} ms an item")


if __name__ == "__main__":
    main()
