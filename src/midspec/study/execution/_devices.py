"""Which GPUs are free for the next step: one GPU a step, unless more steps than GPUs were asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


class DevicePool:
    """Counts what runs on each GPU and what runs on none; starts nothing and asks no driver.

    Without GPUs all steps are alike, and `n_workers` run side by side (by default one per core). With GPUs and no
    `n_workers` each GPU has one step on a model at a time, and steps without a model run beside them, one per core.
    With `n_workers` so many run in all; where that is more than there are GPUs, they share them evenly.

    Args:
        gpus: as CUDA_VISIBLE_DEVICES names them; none where models run on the CPU.
        n_workers: how many steps side by side were asked for.
        n_cores: of this machine, for this process.
    """

    def __init__(self, gpus: Sequence[str], n_workers: int | None, n_cores: int) -> None:
        self.gpus = tuple(gpus)
        self._n_per_gpu = -(-n_workers // len(gpus)) if n_workers and gpus else 1
        self._most_without = n_workers or n_cores
        self._most = n_workers or n_cores + len(gpus)
        self._on_gpu: Counter[str] = Counter()
        self._without = self._running = 0

    def needs(self, n_devices: int) -> int:
        """Return how many of these GPUs a step needs that computes on `n_devices` devices."""
        return n_devices if self.gpus else 0

    @property
    def free_gpus(self) -> list[str]:
        """Return the GPUs that can take a step now, those that run the fewest first."""
        free = [gpu for gpu in self.gpus if self._on_gpu[gpu] < self._n_per_gpu]
        return sorted(free, key=lambda gpu: self._on_gpu[gpu])

    def can_take(self, n_gpus: int) -> bool:
        """Return whether a step that needs `n_gpus` GPUs can begin now."""
        if self._running >= self._most:
            return False
        return len(self.free_gpus) >= n_gpus if n_gpus else self._without < self._most_without

    def take(self, gpus: Sequence[str]) -> None:
        """Count a step that begins on these GPUs, or on none."""
        self._count(gpus, 1)

    def give_back(self, gpus: Sequence[str]) -> None:
        """Count a step as over."""
        self._count(gpus, -1)

    def _count(self, gpus: Sequence[str], change: int) -> None:
        self._running += change
        self._without += 0 if gpus else change
        for gpu in gpus:
            self._on_gpu[gpu] += change
