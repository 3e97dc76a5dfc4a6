"""Keep transformers from writing to the terminal and to logs of workers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging as transformers_logging

# some of its functions have no types
_transformers: Any = transformers_logging


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Suppress progress bars, loading reports and warnings of transformers within a block.

    They tell of configurations in another format and of weights that are left out on purpose. What is wrong with a
    folder is said by the errors of this package.
    """
    level, bars = _transformers.get_verbosity(), _transformers.is_progress_bar_enabled()
    _transformers.set_verbosity(logging.ERROR)
    _transformers.disable_progress_bar()
    try:
        yield
    finally:
        _transformers.set_verbosity(level)
        if bars:
            _transformers.enable_progress_bar()
