"""One model over several processes: FSDP2 (`torch.distributed.fsdp.fully_shard`), and how Trainer saves and loads it.

Each process holds a part of every weight, of its gradient and of its optimizer state, and takes its share of an
update's rows. A checkpoint holds whole tensors under the names that one process gives them, so that a run goes on with
any number of processes. accelerate shards nothing on a CPU (it wraps in DDP and says nothing), and upcasts frozen
weights on a GPU (accelerate #3474); so the model is sharded here, and Trainer takes it as sharded when it was loaded.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import Trainer

from midspec.core.errors import CheckpointError
from midspec.train._ranks import Ranks, check_agreement, local_part, reshard


class Shards:
    """A model whose weights are divided among the processes.

    Args:
        model: whole, on the CPU, the same in every process; afterwards it holds this process's part, on the device.
        ranks: the processes.
        device: where this process computes.

    Raises:
        CheckpointError: the kind of model names no layers to divide.
    """

    def __init__(self, model: Any, ranks: Ranks, device: torch.device) -> None:
        self.model, self.ranks = model, ranks
        # The model with its tied weights, buffers and configuration, and without memory for its weights.
        empty = {
            id(weight): nn.Parameter(weight.detach().to("meta"), requires_grad=weight.requires_grad)
            for weight in model.parameters()
        }
        self._skeleton = copy.deepcopy(model, empty)
        kinds = set(getattr(model, "_no_split_modules", None) or ())
        layers = [module for module in model.modules() if type(module).__name__ in kinds]
        if not layers:
            raise CheckpointError(
                "this kind of model can't be divided: transformers names no layers of it",
                hint="Train it in one process",
            )
        types = {name: weight.dtype for name, weight in model.named_parameters()}
        mesh = init_device_mesh(device.type, (ranks.n,))
        for layer in layers:
            fully_shard(layer, mesh=mesh, reshard_after_forward=True)
        fully_shard(model, mesh=mesh)
        changed = [name for name, weight in model.named_parameters() if weight.dtype != types[name]]
        assert not changed, f"dividing the model changed the type of {changed[:3]}"
        # Trainer then leaves its placement and the reduction of its gradients alone.
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        base._is_distributed_loading_by_transformers = True  # noqa: SLF001 - Trainer reads no other sign

    def trainer_of(self, trainer: type) -> type:
        """Return a class of Trainer that trains this model as another trains a whole one."""
        return type("ShardedTrainer", (Sharded, trainer), {"shards": self})

    def whole(self, *, trained_only: bool = False) -> Any | None:
        """Return the model with whole weights on the CPU, in the main process; `None` in the others.

        Args:
            trained_only: leave frozen weights without memory.
        """
        reshard(self.model)
        weights: dict[str, nn.Parameter] = {}
        for name, weight in self.model.named_parameters():
            if trained_only and not weight.requires_grad:
                continue
            full = _full(weight.detach())
            if self.ranks.is_main:
                weights[name] = nn.Parameter(full.cpu(), requires_grad=weight.requires_grad)
        if not self.ranks.is_main:
            return None
        return self._with(weights)

    def take_from(self, model: Any) -> None:
        """Copy this process's part of every trained weight from a whole model on the CPU."""
        whole = dict(model.named_parameters())
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                if weight.requires_grad:
                    weight.copy_(_part(whole[name].detach(), weight))

    def empty(self) -> Any:
        """Return the model with memory for its trained weights alone, on the CPU, to be loaded from a checkpoint."""
        trained = {name: weight for name, weight in self._skeleton.named_parameters() if weight.requires_grad}
        return self._with({name: nn.Parameter(torch.empty_like(trained[name], device="cpu")) for name in trained})

    def _with(self, weights: Mapping[str, nn.Parameter]) -> Any:
        """Return a copy of the skeleton with these weights, shared where they are tied."""
        model = copy.deepcopy(self._skeleton)
        names = {id(weight): name for name, weight in model.named_parameters()}
        for module in model.modules():
            for leaf, weight in list(module.named_parameters(recurse=False, remove_duplicate=False)):
                if (name := names[id(weight)]) in weights:
                    setattr(module, leaf, weights[name])
        return model


def _full(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _part(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Divide a whole tensor, which every process has, as `like` is divided."""
    if not isinstance(like, DTensor) or not whole.ndim:
        return whole
    # Without a source each process takes its part of its own copy, and nothing is sent.
    return distribute_tensor(whole.to(like.device, like.dtype), like.device_mesh, like.placements, src_data_rank=None)


class Sharded(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """The parts of Trainer that differ for a divided model; stands before another subclass of Trainer."""

    shards: Shards
    model: Any

    def _prepare_for_training(self, *context: Any) -> Any:
        counted = {"accelerate": self.accelerator.num_processes, "transformers": self.args.world_size}
        check_agreement(self.shards.ranks, **counted)
        return super()._prepare_for_training(*context)

    def _defer_fsdp_gradient_reduction(self) -> Any:
        # Gradients are reduced after every micro-batch: whole ones would not fit where the weights do not.
        return nullcontext()

    def _clip_grad_norm(self, _model: Any) -> torch.Tensor:
        grads = [local_part(weight.grad) for weight in self.model.parameters() if weight.grad is not None]
        square = torch.stack([torch.linalg.vector_norm(grad) for grad in grads]).double().square().sum()
        torch.distributed.all_reduce(square)
        norm = square.sqrt().float()
        factor = torch.clamp(self.args.max_grad_norm / (norm + 1e-6), max=1.0)
        for grad in grads:
            grad.mul_(factor)
        return norm

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        divided, whole = self.model, self.shards.whole(trained_only=True)
        if whole is None:
            return
        self.model = whole
        try:
            super()._save(output_dir, state_dict)
        finally:
            self.model = divided

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        state = self.optimizer.state_dict()
        whole: dict[int, dict[str, torch.Tensor]] = {}
        for at, moments in state["state"].items():
            # All processes take part, and the main one keeps the tensors.
            full = {name: _full(value) for name, value in moments.items()}
            if self.shards.ranks.is_main:
                whole[at] = {name: value.cpu() for name, value in full.items()}
        if self.shards.ranks.is_main:
            torch.save({**state, "state": whole}, Path(output_dir) / "optimizer.pt")
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")

    def _save_checkpoint(self, *context: Any) -> None:
        super()._save_checkpoint(*context)
        # The main process calls the checkpoint complete next, and others write their random states.
        self.shards.ranks.wait()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *_: Any) -> None:
        with self.shards.ranks.in_turn():
            whole = self.shards.empty()
            super()._load_from_checkpoint(resume_from_checkpoint, whole)
            self.shards.take_from(whole)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        state = torch.load(Path(checkpoint) / "optimizer.pt", map_location="cpu", weights_only=True, mmap=True)
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        for at, moments in state["state"].items():
            for name, value in moments.items():
                moments[name] = _part(value, weights[at])
        self.optimizer.load_state_dict(state)
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / "scheduler.pt", weights_only=True))
