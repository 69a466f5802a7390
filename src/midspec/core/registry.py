"""Things of one kind by name: those that midspec ships, and those that other installed packages bring."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from importlib import import_module, metadata
from typing import Any, Generic, TypeVar

from midspec.core.errors import ConfigError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Everything of one kind, found where it is written: nothing is listed a second time.

    A module (or folder) in `package` offers what it holds under `attribute`: one thing, or several in a tuple. Another
    package offers the same through an entry point: `[project.entry-points."midspec.<group>"]`, `name = "module:thing"`.
    Modules are imported when the first name is asked for.

    Args:
        kind: what one of them is called in messages.
        package: the package of ours that holds one module or folder for each, or for a few of a family.
        attribute: the module-level name that holds them.
        group: of entry points, without `midspec.`.
        name_of: the name of one; by default its attribute `name`.
    """

    def __init__(
        self,
        kind: str,
        *,
        package: str,
        attribute: str,
        group: str,
        name_of: Callable[[T], str] = lambda thing: str(thing.name),  # type: ignore[attr-defined]
    ) -> None:
        self._kind, self._package, self._attribute, self._group = kind, package, attribute, f"midspec.{group}"
        self._name_of = name_of

    @cached_property
    def _all(self) -> Mapping[str, T]:
        package = import_module(self._package)
        modules = [import_module(f"{self._package}.{info.name}") for info in pkgutil.iter_modules(package.__path__)]
        found = [thing for module in modules for thing in _listed(getattr(module, self._attribute, ()))]
        shipped = {self._name_of(thing): thing for thing in found}
        brought: dict[str, T] = {}
        for entry in metadata.entry_points(group=self._group):
            for thing in _listed(entry.load()):
                name = self._name_of(thing)
                if name in shipped or name in brought:
                    raise ConfigError(
                        f"the {self._kind} {name!r} of {entry.value} has a name that is taken",
                        where=f"entry point {self._group}",
                        hint="Give it another name, or uninstall the package that brings it",
                    )
                brought[name] = thing
        return {**shipped, **brought}

    def names(self) -> tuple[str, ...]:
        """Return the names of all of them: the shipped ones first, in the order of their modules."""
        return tuple(self._all)

    def __contains__(self, name: object) -> bool:
        return name in self._all

    def get(self, name: str, *, where: str = "") -> T:
        """Return the one of that name.

        Raises:
            ConfigError: there is none; says which there are.
        """
        if name not in self._all:
            raise ConfigError(f"there is no {self._kind} {name!r}", where=where, hint=did_you_mean(name, self.names()))
        return self._all[name]


def _listed(found: Any) -> Iterable[Any]:
    return found if isinstance(found, tuple | list) else (found,)
