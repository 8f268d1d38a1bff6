"""Keeps the libraries below us from drawing over our own output."""

from __future__ import annotations

import logging
import warnings


def quiet_libraries() -> None:
    """Silence the hosts' progress bars and routine messages; their errors stay visible."""
    import datasets
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    for name in ("sentence_transformers", "torch.distributed", "accelerate", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    warnings.filterwarnings("ignore", category=FutureWarning)
