"""Values that follow from frozen parameters alone, kept beside them for as long as these stay as they are.

A parameter counts as frozen when it does not require gradients (``model.requires_grad_(False)``, as before serving).
What was kept is made anew when the parameter was changed in place, by ``load_state_dict`` or by ``to()``, and goes with
its module. For parameters that require gradients nothing is kept, because torch's fused optimisers change them without
counting it. What changes a frozen parameter through its ``data`` is not counted either: change it under
:class:`torch.no_grad` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

ValueT = TypeVar("ValueT")


class _Version(NamedTuple):
    """A parameter as it was.

    Attributes:
        storage: Reference to its memory; while it exists, no other memory has its number.
        changes: Changes in place until then.
    """

    storage: StorageWeakRef
    changes: int

    def is_of(self, parameter: Tensor) -> bool:
        """Tell whether the parameter still is what it was."""
        return self.changes == parameter._version and self.storage.cdata == parameter.untyped_storage()._cdata


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
            versions = tuple(_Version(StorageWeakRef(one.untyped_storage()), one._version) for one in parameters)
            found = self._kept[module] = _Kept(make(), versions)
        return found.value

    def forget(self, module: nn.Module) -> None:
        """Drop the value of a module, if there is one.

        Args:
            module: The module.
        """
        self._kept.pop(module, None)


def are_frozen(*parameters: Tensor) -> bool:
    """Return whether none of them is trained, and all of them count their changes.

    Args:
        parameters: Parameters.
    """
    return not any(one.requires_grad or one.is_inference() for one in parameters)
