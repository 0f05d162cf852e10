"""Where a run happens: versions, processor, threads, the commit of a checkout, peak memory."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import torch

from poisonbench.errors import ConfigError

_MIB = 1 << 20
_PEAKS = ("rss_peak_mb", "cuda_peak_mb")


def describe(device: torch.device) -> dict[str, Any]:
    """The `environment` of a record."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpu": cpu_name(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "git": commit(),
    }


@cache
def cpu_name() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def commit() -> str | None:
    """The commit of the checkout that poisonbench runs from, "-dirty" behind it if files differ; None if installed."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
        changes = subprocess.run(
            ["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("-dirty" if changes.stdout.strip() else "")


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" is the first CUDA device if there is one, else the CPU.

    Raises:
        ConfigError: for a name that is none, or a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"--device: expected auto, cpu, cuda or cuda:N, got {name!r}.") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device: expected auto, cpu, cuda or cuda:N, got {name!r}.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices. Use --device cpu."
        )
    return device


class PeakMemory:
    """A gauge of peak memory since this object was made, and of parts of that time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before: dict[str, float] = {}
        self._reset()

    def read(self) -> dict[str, float | None]:
        """`rss_peak_mb` and `cuda_peak_mb` (null without a GPU), in MiB. Where the system cannot reset its mark, that
        of the whole process."""
        peaks = self._since_reset()
        return {key: max(peaks[key], self._before.get(key, 0.0)) if key in peaks else None for key in _PEAKS}

    @contextmanager
    def part(self) -> Iterator[dict[str, float | None]]:
        """Measure the block alone, as `read` would say of it, filled in at its end. Parts do not nest."""
        before = self._since_reset()
        self._before = {key: max(value, self._before.get(key, 0.0)) for key, value in before.items()}
        self._reset()
        found: dict[str, float | None] = {}
        try:
            yield found
        finally:
            peaks = self._since_reset()
            found.update({key: peaks.get(key) for key in _PEAKS})

    def _reset(self) -> None:
        _reset_resident_peak()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def _since_reset(self) -> dict[str, float]:
        peaks = {"rss_peak_mb": _resident_peak() / _MIB}
        if self._device.type == "cuda":
            peaks["cuda_peak_mb"] = torch.cuda.max_memory_allocated(self._device) / _MIB
        return peaks


def _reset_resident_peak() -> None:
    with suppress(OSError):  # not Linux: the peak is then the process's
        Path("/proc/self/clear_refs").write_text("5")


def _resident_peak() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))
