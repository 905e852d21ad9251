"""Values that follow from frozen parameters alone, kept beside them for as long as these stay as they are.

A parameter counts as frozen when it does not require gradients (``model.requires_grad_(False)``, as before serving).
What was kept is made anew when the parameter was changed in place, by ``load_state_dict`` or by ``to()``, and goes with
its module. For parameters that require gradients nothing is kept, because torch's fused optimisers change them without
counting it. What changes a frozen parameter through its ``data``, as PEFT does when it merges an adapter, is not
counted either: some of its values are compared at each call, about :data:`_COMPARED` of each dimension, so that changes
of a small part of the values may be missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

ValueT = TypeVar("ValueT")

#: Values of each dimension that are compared, at odd distances, so that they lie in all parts of a head.
_COMPARED = 16
#: Whole numbers of as many bytes as a value has, by which formats that numpy does not know are compared too.
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class _Version(NamedTuple):
    """A parameter as it was.

    Attributes:
        storage: Reference to its memory; while it exists, no other memory has its number.
        changes: Changes in place until then that torch counts.
        some: Some of its values, where they lie: its memory lasts until the next call.
        values: What they were.
    """

    storage: StorageWeakRef
    changes: int
    some: npt.NDArray[Any]
    values: bytes

    @classmethod
    def of(cls, parameter: Tensor) -> _Version:
        """Return a parameter as it is."""
        some = _some(parameter)
        return cls(StorageWeakRef(parameter.untyped_storage()), parameter._version, some, some.tobytes())

    def is_of(self, parameter: Tensor) -> bool:
        """Tell whether the parameter still is what it was."""
        if self.changes != parameter._version or self.storage.cdata != parameter.untyped_storage()._cdata:
            return False
        return self.some.tobytes() == self.values


def _some(parameter: Tensor) -> npt.NDArray[Any]:
    """Some values of a parameter on the CPU, where they lie; none of another."""
    if parameter.device.type != "cpu" or parameter.element_size() not in _BITS:
        return np.empty(0)
    steps = [slice(None, None, size // _COMPARED | 1) for size in parameter.shape]
    return parameter.detach()[tuple(steps)].view(_BITS[parameter.element_size()]).numpy()


class _Kept(NamedTuple, Generic[ValueT]):
    value: ValueT
    versions: tuple[_Version, ...]


class FrozenValues(Generic[ValueT]):
    """One value for each of many modules.

    Example:
        >>> layer, doubled = nn.Linear(2, 2).requires_grad_(False), FrozenValues[Tensor]()
        >>> first, again = (doubled.of(layer, [layer.weight], lambda: 2 * layer.weight) for _ in range(2))
        >>> first is again
        True
        >>> _ = layer.weight.zero_()
        >>> float(doubled.of(layer, [layer.weight], lambda: 2 * layer.weight).sum())
        0.0
    """

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[nn.Module, _Kept[ValueT]] = WeakKeyDictionary()

    def of(self, module: nn.Module, parameters: Sequence[Tensor], make: Callable[[], ValueT]) -> ValueT:
        """Return the value of a module, made now or earlier.

        Args:
            module: The module.
            parameters: Frozen parameters that the value follows from, as many and in the same order at each call.
            make: Function that makes the value.
        """
        found = self._kept.get(module)
        if found is None or not all(map(_Version.is_of, found.versions, parameters)):
            found = self._kept[module] = _Kept(make(), tuple(map(_Version.of, parameters)))
        return found.value

    def forget(self, module: nn.Module) -> None:
        """Drop the values of a module and of those within it, if there are some.

        Args:
            module: The module; one that took the place of another may have that within it, as an adapter has.
        """
        if self._kept:
            for part in module.modules():
                self._kept.pop(part, None)


def are_frozen(*parameters: Tensor) -> bool:
    """Return whether none of them is trained, and all of them are plain tensors that count their changes.

    Args:
        parameters: Parameters.
    """
    return all(is_plain_tensor(one) and not (one.requires_grad or one.is_inference()) for one in parameters)


def is_plain_tensor(tensor: Tensor) -> bool:
    """Return whether a tensor is one of torch's own; others, as of quantised weights, know few operations.

    Args:
        tensor: The tensor.
    """
    return type(tensor) in (Tensor, nn.Parameter)
