"""Peak memory of a piece of work."""

from __future__ import annotations

from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_FORGET_PEAK = Path("/proc/self/clear_refs")


class PeakMemory:
    """Peak memory since :meth:`restart`, above what was in use when the object was created.

    On a CUDA device this is the memory that torch has allocated there; on a CPU it is the resident memory of the
    process, which only Linux reports.

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
            _FORGET_PEAK.write_text("5")  # see proc(5): sets the peak to the current resident size
        except OSError:
            self._can_restart = False

    def bytes(self) -> int | None:
        """Return the peak; None if the system does not report it."""
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
