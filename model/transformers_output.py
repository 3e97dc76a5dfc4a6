"""Keep transformers from writing to the terminal and to logs of workers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as transformers_logging


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Suppress progress bars, loading reports and warnings of transformers within a block.

    They tell of configurations in another format and of weights that are left out on purpose. What is wrong with a
    folder is said by the errors of this package.
    """
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
