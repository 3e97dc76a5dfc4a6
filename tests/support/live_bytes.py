"""How many bytes tensors take at the worst moment, on any device; on "meta" at any size."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered: bytes of all tensors that came to be since, as long as they live."""

    def __init__(self, device: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._device = device
        self._now = 0
        self._made: dict[int, int] = {}
        self._found: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in self._tensors((args, kwargs)):
            key = tensor.untyped_storage()._cdata
            if key not in self._made:
                self._found.add(key)
        result = func(*args, **(kwargs or {}))
        for tensor in self._tensors(result):
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self._made and key not in self._found:
                self._made[key] = storage.nbytes()
                self._now += storage.nbytes()
                self.peak = max(self.peak, self._now)
                weakref.finalize(storage, self._gone, key)
        return result

    def _tensors(self, values: Any) -> list[torch.Tensor]:
        leaves = tree_leaves(values)
        return [
            leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.device.type == self._device
        ]

    def _gone(self, key: int) -> None:
        self._now -= self._made.pop(key)
