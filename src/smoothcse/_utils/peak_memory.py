"""How much memory a piece of work takes at its height."""

from __future__ import annotations

from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_FORGET_PEAK = Path("/proc/self/clear_refs")


class PeakMemory:
    """The most memory in use at any time since :meth:`restart`, above what was in use when this was made.

    On a CUDA device that is what torch has allocated there; on a CPU the resident memory of this process, which only
    Linux tells.

    Args:
        device_type: ``cpu``, ``cuda`` or ``mps``.
    """

    def __init__(self, device_type: str) -> None:
        self._on_gpu = device_type == "cuda"
        self._before = self._in_use()
        self._can_restart = True

    def restart(self) -> None:
        """Forget the peak so far."""
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()
            return
        try:
            _FORGET_PEAK.write_text("5")  # proc(5): sets the peak to what is resident now
        except OSError:
            self._can_restart = False

    def bytes(self) -> int | None:
        """Return the peak; None where the system does not tell it."""
        peak = torch.cuda.max_memory_allocated() if self._on_gpu else _resident("VmHWM")
        if self._before is None or peak is None or not self._can_restart:
            return None
        return max(0, peak - self._before)

    def _in_use(self) -> int | None:
        return torch.cuda.memory_allocated() if self._on_gpu else _resident("VmRSS")


def _resident(field: str) -> int | None:
    try:
        lines = _STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:")), None)
