"""How often 95% intervals of rates hold the truth, and how wide they are, where training seeds differ.

    python benchmarks/intervals.py [--studies 600] [--designs nested crossed] [--seeds 3 5 8] [--items 40 120]
        [--sds 0 1 1.5 2.5] [--rates 0.01 0.03 0.1 0.3 0.6]

Every study draws a normal seed effect of the given standard deviation and a normal item effect of standard deviation 1
on the logit scale, and a yes or no for each item of each seed; nested: each seed has items of its own, crossed: the
same. The truth is the rate over all seeds and items. Of nested studies with the same counts one interval is computed.
"""

from __future__ import annotations

import argparse
import zlib

import numpy as np
from scipy.special import expit

from midspec.analysis._intervals import SHARE, interval

ITEM_SD = 1.0


def mean_logit(rate: float, sd: float) -> float:
    """Return where logits of this standard deviation lie whose shares have the mean `rate`."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    low, high = -60.0, 60.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if weights @ expit(middle + sd * nodes) < rate * weights.sum() else (low, middle)
    return low


def simulate(design: str, shape: tuple[int, int], sd: float, rate: float, n_studies: int) -> tuple[float, float]:
    """Return how often the interval holds the rate, and its mean width.

    Args:
        design: nested or crossed.
        shape: seeds and items of each.
        sd: of seeds, on the logit scale.
        rate: the truth.
        n_studies: how many are drawn.
    """
    n_seeds, n_items = shape
    rng = np.random.default_rng(zlib.crc32(repr((design, shape, sd, rate)).encode()))
    of_items = rng.normal(0, ITEM_SD, (n_studies, n_seeds if design == "nested" else 1, n_items))
    logits = mean_logit(rate, float(np.hypot(sd, ITEM_SD))) + rng.normal(0, sd, (n_studies, n_seeds, 1)) + of_items
    seeds = np.repeat(np.arange(n_seeds), n_items)
    items = np.arange(n_seeds * n_items) if design == "nested" else np.tile(np.arange(n_items), n_seeds)
    known: dict[bytes, tuple[float, float]] = {}
    ends = []
    for study in (rng.random(logits.shape) < expit(logits)).astype(float):
        key = np.sort(study.sum(axis=1)).tobytes() if design == "nested" else study.tobytes()
        if key not in known:
            found = interval(study.ravel(), seeds, items, SHARE, 0.95)
            known[key] = (float(found.low or 0), float(found.high or 0))
        ends.append(known[key])
    low, high = np.array(ends).T
    return float(np.mean((low <= rate) & (rate <= high))), float(np.mean(high - low))


def main() -> None:
    """Print a row for each design and standard deviation, with coverage in percent and width in points by rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=600)
    parser.add_argument("--designs", nargs="+", default=["nested", "crossed"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 8])
    parser.add_argument("--items", type=int, nargs="+", default=[40, 120])
    parser.add_argument("--sds", type=float, nargs="+", default=[0.0, 1.0, 1.5, 2.5])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.03, 0.1, 0.3, 0.6])
    asked = parser.parse_args()
    print(f"| design | seeds x items | seed sd | {' | '.join(f'{rate:.0%}' for rate in asked.rates)} |")
    print("|---" * (3 + len(asked.rates)) + "|")
    for design in asked.designs:
        for shape in ((n_seeds, n_items) for n_seeds in asked.seeds for n_items in asked.items):
            for sd in asked.sds:
                found = (simulate(design, shape, sd, rate, asked.studies) for rate in asked.rates)
                cells = (f"{100 * held:.1f} ({100 * width:.0f})" for held, width in found)
                print(f"| {design} | {shape[0]} x {shape[1]} | {sd:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
