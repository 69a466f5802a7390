"""What each device computes, by measurement: `python -m midspec.models._device_check` prints it as lines of JSON.

It is run in a process of its own, so that an installation that crashes, hangs or does not import is told and not
suffered. What was found is printed as it is found: first torch's build, then every device, then what opens models.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import torch

LIMIT_S = 120.0
_ERROR_SIZE = 512
_LARGEST = {"cpu": 2048, "cuda": 8192, "mps": 4096}
# Of one type of numbers on one device; growing stops where the next size would take longer.
_TIMING_S = 0.35


class Arithmetic(BaseModel):
    """Matrix products in one type of numbers on one device.

    Attributes:
        dtype: float32, tf32 (float32 of which an NVIDIA GPU reads 10 bits), bfloat16 or float16.
        error: root mean square of the errors of a product of normal numbers as a share of that of the product itself,
            in float64 the truth; rounding of the numbers that come in counts.
        gflops: thousand million operations a second, the best of several products.
        failed: why there is neither.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: str
    error: float | None = None
    gflops: float | None = None
    failed: str = ""


class DeviceFound(BaseModel):
    """A device that torch sees.

    Attributes:
        name: as `--device` takes it: cpu, cuda:0, mps.
        about: what the driver calls it; for a CPU the threads that were used.
        memory_bytes: of a GPU.
        arithmetic: one for each type of numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    about: str
    memory_bytes: int | None = None
    arithmetic: tuple[Arithmetic, ...] = ()


class TorchFound(BaseModel):
    """The installed torch.

    Attributes:
        version: of torch; empty where it does not import.
        cuda: the CUDA version that it was built for; `None` for a build without CUDA.
        devices: that it computes on.
        opens_models: whether transformers and peft import.
        takes: for each device the type of numbers that midspec chooses for a model of hidden size 256 or more.
        failed: what went wrong, in one line.
        is_late: whether that is no answer in time, of a torch that hangs or of a machine that is too busy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = ""
    cuda: str | None = None
    devices: tuple[DeviceFound, ...] = ()
    opens_models: bool = False
    takes: dict[str, str] = {}
    failed: str = ""
    is_late: bool = False


def check_devices(limit_s: float = LIMIT_S) -> TorchFound:
    """Measure every device in a process of its own, which is ended after `limit_s`."""
    failed, is_late = "", False
    try:
        done = subprocess.run(
            [sys.executable, "-m", "midspec.models._device_check"],
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
        said, complained = done.stdout, done.stderr
        if done.returncode < 0:
            failed = f"the process was ended by signal {-done.returncode} (4 is an instruction that the CPU has not)"
        elif done.returncode:
            failed = (complained.strip().splitlines() or ["it failed without a word"])[-1]
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        failed, is_late = f"no answer within {limit_s:g} s", True
    found: dict[str, Any] = {"devices": []}
    for line in said.splitlines():
        with_one = json.loads(line) if line.startswith("{") else {}
        device = with_one.pop("device", None)
        found["devices"] += [] if device is None else [device]
        found |= with_one
    return TorchFound(**found, failed=failed, is_late=is_late)


def measure(device: torch.device, name: str) -> Arithmetic:
    """Measure the products in one type of numbers.

    Args:
        device: where they are computed.
        name: float32, tf32, bfloat16 or float16.
    """
    import torch

    dtype = torch.float32 if name == "tf32" else getattr(torch, name)
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    try:
        with torch.inference_mode():
            draw, shape = torch.Generator().manual_seed(0), (_ERROR_SIZE, _ERROR_SIZE)
            left, right = (torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2))
            truth = left @ right
            made = (left.to(dtype).to(device) @ right.to(dtype).to(device)).cpu().double()
            error = float((made - truth).norm() / truth.norm())
            return Arithmetic(dtype=name, error=error, gflops=_speed(device, dtype))
    except (RuntimeError, NotImplementedError, TypeError) as refusal:
        return Arithmetic(dtype=name, failed=(str(refusal).strip().splitlines() or [type(refusal).__name__])[0])
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _speed(device: torch.device, dtype: torch.dtype) -> float:
    """Time products of growing size, until the next would take too long or is the largest worth asking for."""
    best, size, spent = 0.0, 256, 0.0
    while size <= _LARGEST.get(device.type, 2048) and spent * 8 < _TIMING_S:
        seconds = min(_seconds(device, dtype, size) for _ in range(3 if spent * 24 < _TIMING_S else 1))
        best, spent, size = max(best, 2 * size**3 / seconds / 1e9), seconds, size * 2
    return best


def _seconds(device: torch.device, dtype: torch.dtype, size: int) -> float:
    import torch

    left = torch.ones((size, size), dtype=dtype, device=device)
    wait = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device.type, lambda: None)
    left[:64, :64] @ left[:64, :64]  # loads the kernel
    wait()
    start = time.perf_counter()
    left @ left
    wait()
    return max(time.perf_counter() - start, 1e-7)


def main() -> None:
    """Print what is found, a line of JSON each."""
    import torch

    _say({"version": torch.__version__, "cuda": torch.version.cuda})
    devices: list[tuple[str, str, int | None]] = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        gpu = torch.cuda.get_device_properties(index)
        devices.append((f"cuda:{index}", f"{gpu.name}, capability {gpu.major}.{gpu.minor}", gpu.total_memory))
    if torch.backends.mps.is_available():
        devices.append(("mps", "the GPU of this Mac", None))
    devices.append(("cpu", f"1 of {torch.get_num_threads()} threads", None))
    torch.set_num_threads(1)
    measured = []
    for name, about, memory in devices:
        device = torch.device(name)
        names = ("float32", *(["tf32"] if device.type == "cuda" else []), "bfloat16", "float16")
        arithmetic = tuple(measure(device, one) for one in names)
        measured.append(DeviceFound(name=name, about=about, memory_bytes=memory, arithmetic=arithmetic))
    for one in measured:
        _say({"device": one.model_dump()})
    from midspec.models._open import load_model  # transformers and peft, whose absence is told apart from torch's
    from midspec.models._precision import MIN_HIDDEN, pick_dtype

    takes = {one.name: str(pick_dtype(torch.device(one.name), MIN_HIDDEN)).removeprefix("torch.") for one in measured}
    _say({"opens_models": callable(load_model), "takes": takes})


def _say(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
