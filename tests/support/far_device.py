"""A device that is not there: its tensors lie in ordinary memory, but what a GPU refuses is refused here, too.

Operations on tensors of two devices fail, and every moment at which the program would have to wait for the device
(a number, a count, or a whole tensor is wanted back) is recorded. So code that is written for a GPU runs where there
is none, with the same results as on the CPU.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

_NAME = "far"


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        """Asked where autocast is switched off, too."""
        return [torch.bfloat16]


_setup_privateuseone_for_python_backend(_NAME, backend_module=_Module())
DEVICE = torch.device(_NAME, 0)

_aten = torch.ops.aten
_MOVES = {_aten._to_copy.default, _aten.copy_.default}
# indices may lie on the CPU: they are sent along, and waited for
_TAKES_INDICES = {
    _aten.index.Tensor,
    _aten._unsafe_index.Tensor,
    _aten.index_put.default,
    _aten.index_put_.default,
}
# the size of the result, or the result itself, is known only once the device is done
_WAITS = {
    _aten._local_scalar_dense.default,
    _aten.equal.default,
    _aten.nonzero.default,
    _aten.masked_select.default,
    _aten.bincount.default,
    _aten._unique2.default,
}


#: What only a GPU has, by other means.
_EMULATED = {
    _aten.bmm.dtype: lambda one, other, dtype: torch.bmm(one.to(dtype), other.to(dtype)),
}


class _Far(torch.Tensor):
    """A tensor that says it is on the far device."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Self:
        # wrappers made in inference mode could not be seen through views
        with torch.inference_mode(False):
            made: Self = torch.Tensor._make_wrapper_subclass(
                cls,
                inner.shape,
                strides=inner.stride(),
                storage_offset=inner.storage_offset(),
                dtype=inner.dtype,
                device=DEVICE,
            )
        made.held = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise RuntimeError(f"{func} outside of FarDevice")


def _library() -> torch.library.Library:
    """What constructors such as ``torch.tensor`` ask of a device, past every mode."""
    made = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]

    def strided(size: Any, stride: Any, dtype: Any = None, **options: Any) -> torch.Tensor:
        return _Far(torch.empty_strided(size, stride, dtype=dtype))

    def empty(size: Any, dtype: Any = None, **options: Any) -> torch.Tensor:
        return _Far(torch.empty(size, dtype=dtype))

    def filled(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
        if FarDevice.entered:
            FarDevice.entered[-1].waits.append("constructor")
        _near(target).copy_(_near(source))
        return target

    made.impl("empty_strided", strided, "PrivateUse1")  # type: ignore[no-untyped-call]
    made.impl("_copy_from", filled, "PrivateUse1")  # type: ignore[no-untyped-call]
    made.impl("empty.memory_format", empty, "PrivateUse1")  # type: ignore[no-untyped-call]
    return made


_LIBRARY = _library()


class FarDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered the far device works."""

    entered: ClassVar[list[FarDevice]] = []

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits: list[str] = []
        """Operations that made the program wait; "constructor" is a tensor made there from numbers."""

    def __enter__(self) -> Self:
        FarDevice.entered.append(self)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        FarDevice.entered.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._can_decompose():
            with self:
                done = func.decompose(*args, **kwargs)
            if done is not NotImplemented:
                return done
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        far = any(_far(one) for one in tensors)
        places = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
        to_far = places[0].type == _NAME if places else far
        # numbers may come from anywhere
        near = any(not _far(one) and one.dim() for one in tensors)
        if far and near and func not in _MOVES | _TAKES_INDICES:
            raise RuntimeError(f"{func}: tensors on the CPU and on the far device")
        if func in _MOVES:
            # what comes back is waited for, and what is sent, too, unless told otherwise
            crosses = to_far != (_far(args[1]) if func is _aten.copy_.default else _far(args[0]))
            waits = crosses and not (to_far and kwargs.get("non_blocking")) and tensors[0].numel()
        else:
            waits = far and (func in _WAITS or (func in _TAKES_INDICES and _indices_wait(args[1])))
        if waits:
            self.waits.append(str(func))
        known = {id(_near(one)): one for one in tensors}
        result = _EMULATED.get(func, func)(*tree_map(_near, args), **tree_map(_near, kwargs))

        def placed(leaf: Any) -> Any:
            if not isinstance(leaf, torch.Tensor):
                return leaf
            return known[id(leaf)] if id(leaf) in known else _Far(leaf) if to_far else leaf

        return tree_map(placed, result)


def _far(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, _Far)


def _near(leaf: Any) -> Any:
    if isinstance(leaf, torch.device):
        return torch.device("cpu")
    return leaf.held if isinstance(leaf, _Far) else leaf


def _indices_wait(indices: Any) -> bool:
    """Whether indices have to be sent, or are flags, which are counted first."""
    return any(index is not None and (index.dtype == torch.bool or not _far(index)) for index in indices)
