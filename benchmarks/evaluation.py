"""What an evaluation costs for each item: all of it, against a bare model and Inspect with nothing to do.

    python benchmarks/evaluation.py [--items 10000] [--repeat 1]

A random model of the nano world's size is asked pairs as the nano study asks them: two phrasings, both orders, a free
question and why. In one run, in one process, after a small one that is not counted:

    whole    the evaluation as a study runs it: templates, tokens, model, log, its reading back, rows on disk
    bare     the model alone over the same tokens, cut and padded beforehand into batches of one length: a forward pass
             for every option, greedy decoding with a cache for every answer
    inspect  Inspect alone over as many samples, with the same settings, the garbage collector's too: a solver that does
             nothing, a scorer that gives one number

Prints seconds of CPU and of the clock for each, the least of the repeats, and whole / (bare + inspect): at most 1.3.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from inspect_ai import Task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from midspec.core.garbage import rare_collections
from midspec.core.records import Item, Message
from midspec.evals import PreferenceConfig, run_preference, scripted_model
from midspec.evals._inspect import evaluate
from midspec.evals.tasks.preference._config import asks, free_ask, option_texts, why_ask
from midspec.models import use_threads

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


@scorer(metrics=[mean()])
def one() -> Scorer:
    """Give one number."""

    async def score(state: TaskState, target: Target) -> Score:
        return Score(value=1.0)

    return score


class Batch(NamedTuple):
    """Padded on the left, each (rows, width); `decode` says whether an answer follows."""

    ids: torch.Tensor
    mask: torch.Tensor
    decode: bool


def batches(folder: Path, items: list[Item]) -> list[Batch]:
    """All that the evaluation feeds the model, as token batches of about 4,096 tokens."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scored, asked = [], []
    for item in items:
        choices = asks(item, CONFIG)
        scored += [(ask.messages, text) for ask in choices for text in option_texts(item, CONFIG)]
        extra = (free_ask(item, CONFIG), why_ask(item, CONFIG, choices[0]))
        asked += [ask.messages for ask in (*choices, *extra) if ask is not None]

    def ids(messages: Sequence[Message], option: str = "") -> list[int]:
        turns = [message.model_dump() for message in messages]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return list(tokenizer(text + option, add_special_tokens=False)["input_ids"])

    # The option's last token is read off, never fed; so options that differ in it alone share a row, as in `whole`.
    rows = {tuple(ids(messages, text)[:-1]): None for messages, text in scored}
    return [*_padded(list(rows), decode=False), *_padded([tuple(ids(each)) for each in asked], decode=True)]


def _padded(rows: list[tuple[int, ...]], *, decode: bool) -> list[Batch]:
    made, rows = [], sorted(rows, key=len)
    while rows:
        n_rows = min(128, 4096 // (len(rows[-1]) + 8 * decode))
        part, rows = rows[-n_rows:], rows[:-n_rows]
        width = len(part[-1])
        table = torch.tensor([[0] * (width - len(row)) + list(row) for row in part])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in part])
        made.append(Batch(table, mask, decode))
    return made


def bare(model: Any, made: list[Batch]) -> None:
    """The model's own work."""
    with torch.inference_mode():
        for batch in made:
            ids, mask = batch.ids, batch.mask
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            if not batch.decode:
                out = model(ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=1)
                torch.log_softmax(out.logits.float(), dim=-1)
                continue
            cache = DynamicCache(config=model.config)
            for _ in range(CONFIG.max_new_tokens):
                out = model(
                    ids,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                ids, positions = out.logits[:, -1].argmax(-1, keepdim=True), positions[:, -1:] + 1
                mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)


def inspect(items: list[Item]) -> None:
    """Inspect's own work on as many samples, with the settings that we run it with."""
    task = Task(dataset=[Sample(id=item.id, input=item.options[0]) for item in items], solver=nothing(), scorer=one())
    with tempfile.TemporaryDirectory() as logs, rare_collections():
        evaluate(task, scripted_model(["."]), len(items), Path(logs))


def whole(folder: Path, items: list[Item]) -> None:
    """An evaluation as a study runs it, with its log read back and its rows written."""
    with tempfile.TemporaryDirectory() as out:
        run_preference(str(folder), items, CONFIG, Path(out), model_args={"device": "cpu"})


def least(work: Callable[[], None], repeat: int) -> tuple[float, float]:
    """The least CPU time and the least wall time of `repeat` runs, in seconds."""
    cpu, wall = [], []
    for _ in range(repeat):
        start, clock = time.process_time(), time.perf_counter()
        work()
        cpu.append(time.process_time() - start)
        wall.append(time.perf_counter() - clock)
    return min(cpu), min(wall)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    # Words are used again, as in a real set: a vocabulary of 20,000 would make the model another one.
    items = [
        Item(id=f"i{at}", set="s", domain="d", options=(f"a{at % 97}", f"b{at // 97}")) for at in range(options.items)
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_checkpoint(folder, items)
        use_threads()
        made, model = batches(folder, items), LlamaForCausalLM.from_pretrained(folder).eval()
        whole(folder, items[:50])
        parts: dict[str, Callable[[], None]] = {
            "whole": lambda: whole(folder, items),
            "bare": lambda: bare(model, made),
            "inspect": lambda: inspect(items),
        }
        found = {part: least(work, options.repeat) for part, work in parts.items()}
    for part, (cpu_s, wall_s) in found.items():
        per_item = 1000 * cpu_s / len(items)
        print(f"{part:8} {cpu_s:8.1f} s of CPU {wall_s:8.1f} s of the clock {per_item:7.2f} ms of CPU an item")
    for at, kind in enumerate(("CPU", "clock")):
        ratio = found["whole"][at] / (found["bare"][at] + found["inspect"][at])
        print(f"whole / (bare + inspect), {kind}: {ratio:.2f} (at most 1.3)")


if __name__ == "__main__":
    main()
