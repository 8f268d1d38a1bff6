"""Keeps other libraries from writing into the output of smoothcse."""

from __future__ import annotations

import logging
import warnings


def quiet_libraries() -> None:
    """Turn off the progress bars and routine messages of the host libraries; their errors stay visible."""
    import datasets
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    for name in ("sentence_transformers", "torch.distributed", "accelerate", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module="torch")
    warnings.filterwarnings("ignore", category=FutureWarning)
