"""The layout of a map in a process of its own, which leaves the service's processor time and memory alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smoothcse.service import map_layout
from smoothcse.service.limits import Refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ITERATION = re.compile(r"\[t-SNE\] Iteration (\d+)")
# One thread, so that at most one core is shared with requests.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), "1")


class MapProcess:
    """A process that lays out one map.

    Attributes:
        share: Share of the iterations that are done, from 0 to 1.
    """

    def __init__(self) -> None:
        self.share = 0.0
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False

    def lay_out(
        self, vectors: NDArray[np.float32], texts: Sequence[str], stop_words: Sequence[str], seed: int
    ) -> dict[str, Any]:
        """Return the ``positions``, ``method`` and ``clusters`` of a map, see :mod:`smoothcse.service.map_layout`.

        Args:
            vectors: Vectors of the documents, shape ``(n, d)``.
            texts: Text of each document.
            stop_words: Words that are part of no name.
            seed: Seed of the layout.

        Raises:
            Refusal: Status 503 if the process ends before the layout is complete.
        """
        with tempfile.TemporaryDirectory(prefix="smoothcse-map-") as name:
            folder = Path(name)
            np.save(folder / "vectors.npy", vectors)
            given = {"texts": list(texts), "stop_words": list(stop_words), "seed": seed}
            (folder / "texts.json").write_text(json.dumps(given), encoding="utf-8")
            self._run(folder)
            found: dict[str, Any] = json.loads((folder / "layout.json").read_text(encoding="utf-8"))
        return found

    def stop(self) -> None:
        """End the process, if it runs."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def _run(self, folder: Path) -> None:
        # -P: the folder of the program, with modules of the service, is not searched for other modules
        command = [sys.executable, "-P", "-u", map_layout.__file__, str(folder)]
        with (folder / "errors.txt").open("w+", encoding="utf-8") as errors:
            with subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **_ONE_THREAD},
            ) as self._process:
                if self._stopped:
                    self._process.kill()
                for line in self._process.stdout or ():
                    if match := _ITERATION.match(line):
                        self.share = int(match[1]) / map_layout.ITERATIONS
            if self._process.returncode:
                errors.seek(0)
                reason = errors.read().strip().rpartition("\n")[2] or f"exit status {self._process.returncode}"
                raise Refusal(503, f"The map could not be computed ({reason}); try again.")
        self.share = 1.0
