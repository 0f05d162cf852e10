"""Name → lazy "module:Class". Built-ins, third-party plugins (Python entry points) and single files (`plug`) come
through the same door.

Listing names never imports the code behind them (nor torch); a plugin that does not import is listed as broken and
breaks nothing else.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from poisonbench import __version__, plugged
from poisonbench.errors import ConfigError, PluginError, UnknownNameError, unknown
from poisonbench.guard.raised_at import AUTHORS
from poisonbench.guard.stdout import stdout_as_stderr
from poisonbench.identity.code import code_hash
from poisonbench.identity.sources import source
from poisonbench.plugins import single_file
from poisonbench.plugins.built_in import BUILT_IN
from poisonbench.plugins.fresh import digest_of, forget_edited, is_current, prepare, remember
from poisonbench.plugins.lineage import forget_sources

GROUPS = {
    "attack": "poisonbench.attacks",
    "defense": "poisonbench.defenses",
    "model": "poisonbench.models",
    "dataset": "poisonbench.datasets",
}
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_registered: dict[type, str] = {}

T = TypeVar("T")


def register(name: str) -> Callable[[type[T]], type[T]]:
    """Class decorator that gives a method the name it is run under: lower case, digits and single hyphens."""
    check_name(name)

    def decorate(cls: type[T]) -> type[T]:
        _registered[cls] = name
        AUTHORS.add(cls.__module__.partition(".")[0])
        return cls

    return decorate


def check_name(name: str) -> None:
    """Refuse what cannot be a method's name.

    Raises:
        PluginError: if it is not lower-case letters, digits and single hyphens.
    """
    if not _NAME.fullmatch(name):
        raise PluginError(f"{name!r} is not a method name: use lower-case letters, digits and single hyphens.")


def name_of(cls: type) -> str:
    """The name a class was registered under.

    Raises:
        PluginError: if it never was.
    """
    try:
        return _registered[cls]
    except KeyError:
        raise PluginError(
            f"{cls.__module__}.{cls.__qualname__} has no name; decorate it with @register(...)."
        ) from None


@dataclass(frozen=True)
class Entry:
    """One row of the registry.

    Attributes:
        kind: attack, defense, model or dataset.
        name: what users type.
        target: "module:Class".
        distribution: the installed package that brings it, or "file".
        release: version of that package; a file's is the beginning of its SHA-256.
        summary: first sentence of the class's docstring, read without importing the module.
        broken: why it cannot be used, or None.
    """

    kind: str
    name: str
    target: str
    distribution: str
    release: str
    summary: str
    broken: str | None = None

    @property
    def built_in(self) -> bool:
        """Whether it ships with poisonbench; everything else is a plugin."""
        return self.distribution == "poisonbench"


@cache
def entries(kind: str) -> dict[str, Entry]:
    """Everything registered under a kind, by name, in alphabetical order. Imports none of it.

    Raises:
        PluginError: for a file of POISONBENCH_PLUGINS that is no plugin.
    """
    found: dict[str, list[_Claim]] = {}
    for name, target in BUILT_IN[kind].items():
        found[name] = [_Claim(target, "poisonbench", __version__, "poisonbench")]
    for point in entry_points(group=GROUPS[kind]):
        found.setdefault(point.name, []).append(_Claim.of(point))
    for of_kind, name, claim in _claims_of_files():
        if of_kind == kind:
            found.setdefault(name, []).append(claim)
    return {name: _entry(kind, name, claims) for name, claims in sorted(found.items())}


def plug(files: Iterable[Path]) -> None:
    """Make the methods of single files known, here and in every process that is started from here. A plugin that was
    edited since it was imported, itself or a file of its author's that it imports, is imported anew.

    Raises:
        PluginError: for a file that is missing, does not parse or registers nothing.
    """
    plugged.add(files)
    tuple(_claims_of_files())
    if forget_edited():
        forget_sources()
    entries.cache_clear()


def load(kind: str, name: str) -> Any:
    """The class registered as `name`.

    Raises:
        UnknownNameError: if there is none; suggests the nearest.
        PluginError: if it does not import or two distributions claim the name.
    """
    known = entries(kind)
    if name not in known:
        raise UnknownNameError(unknown(kind, name, list(known)))
    entry = known[name]
    if entry.distribution == "file" and entry.target.partition(":")[0] not in sys.modules:
        entries.cache_clear()  # it may have been edited since it was listed
        entry = entries(kind).get(name, entry)
    if entry.broken:
        raise PluginError(f"The {kind} {name!r} of {entry.distribution} is broken: {entry.broken}")
    module, _, attribute = entry.target.partition(":")
    try:
        with stdout_as_stderr():
            cls = getattr(_imported(module, entry), attribute)
    except KeyboardInterrupt:
        raise
    except PluginError as error:
        raise _refused(entry, error) from error
    except BaseException as error:  # a module may end in SystemExit, or in a panic of native code
        raise PluginError(
            f"The {kind} {name!r} of {entry.distribution} does not import: {type(error).__name__}: {_one_line(error)}"
        ) from error
    if not isinstance(cls, type):
        raise PluginError(f"{entry.target} of {entry.distribution} is no class, it is {type(cls).__name__}.")
    if name_of(cls) != name:
        raise PluginError(f"{entry.target} registers itself as {name_of(cls)!r}, its entry point says {name!r}.")
    return cls


def try_plugin(kind: str, name: str) -> None:
    """Import a plugin's code in a process that is thrown away, and nothing of it here. What it raises, `load` tells.

    Raises:
        UnknownNameError: if there is none.
        PluginError: if the import hangs, ends its process, or leaves behind what cannot be undone.
    """
    from poisonbench.plugins.trial import try_import

    known = entries(kind)
    if name not in known:
        raise UnknownNameError(unknown(kind, name, list(known)))
    try:
        try_import(known[name].target.partition(":")[0])
    except PluginError as error:
        raise _refused(known[name], error) from error


def _refused(entry: Entry, error: PluginError) -> PluginError:
    return PluginError(f"The {entry.kind} {entry.name!r} of {entry.distribution} is refused: {error}")


def _process_kept(module: str) -> AbstractContextManager[object]:
    """What libraries do to the process as a module of ours imports them is undone."""
    if module in sys.modules or "torch" not in sys.modules:  # nothing is computed in a process without it
        return nullcontext()
    from poisonbench.guard.process_state import process_kept

    return process_kept(but=("import path",))


def code_hash_of(cls: type) -> str:
    """The hash of the code of a method, model or dataset.

    Raises:
        PluginError: if its module was imported anew since, and now holds other code than this class's.
    """
    if not is_current(cls):
        raise PluginError(f"{_registered.get(cls, cls.__qualname__)} was edited and plugged anew; make the cell again.")
    return code_hash(cls.__module__)


def version_of(cls: type) -> int:
    """The version that a method, model or dataset declares of its numbers.

    Raises:
        PluginError: if it declares none that is one.
    """
    version = getattr(cls, "version", None)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise PluginError(
            f"{cls.__module__}.{cls.__qualname__}.version is {version!r}, expected an integer from 1: "
            "version: ClassVar[int] = 1."
        )
    return version


def configure(cls: type[T], settings: Mapping[str, Any], where: str) -> T:
    """Build a method from its `--set` fields, each checked against the field's type.

    Args:
        cls: a frozen dataclass.
        settings: value by field name, as read from YAML.
        where: "attack" or "defense", for messages.
    Raises:
        UnknownNameError: for a field the method does not have; suggests the nearest.
        ConfigError: for a value of the wrong type, or from the method's own checks.
        PluginError: for a class that is no method.
    """
    from pydantic import TypeAdapter, ValidationError
    from pydantic_core import to_json

    if not is_dataclass(cls):
        raise PluginError(f"{cls.__module__}.{cls.__qualname__} must be a frozen dataclass.")
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise PluginError(f"{cls.__module__}.{cls.__qualname__} lacks {', '.join(missing)}; define it.")
    known = [item.name for item in fields(cls)]
    for key in settings:
        if key not in known:
            raise UnknownNameError(unknown(f"field of {name_of(cls)}", key, known))
    try:
        # As JSON and strictly: a list is a tuple and a text an enum's member, but neither '5' nor true is a number.
        return TypeAdapter(cls).validate_json(to_json(dict(settings), inf_nan_mode="constants"), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}.{key}: {first['msg']}, got {first['input']!r}.") from None


def _imported(module: str, entry: Entry) -> ModuleType:
    if entry.built_in:
        with _process_kept(module):
            return importlib.import_module(module)
    from poisonbench.plugins.trial import import_anew, try_import

    if module not in sys.modules:
        try_import(module)
    prepare(module)
    if module not in sys.modules:
        import_anew(module)
    remember(module)
    return sys.modules[module]


@dataclass(frozen=True)
class _Claim:
    """Somebody's claim to a name."""

    target: str
    distribution: str
    release: str
    owner: str

    @classmethod
    def of(cls, point: EntryPoint) -> _Claim:
        name, version = (point.dist.name, point.dist.version) if point.dist else ("unknown", "unknown")
        return cls(point.value, name, version, name)


def _claims_of_files() -> Iterator[tuple[str, str, _Claim]]:
    """Kind, name and claim of every class that a plugged file registers."""
    for stem, path in plugged.files().items():
        for item in single_file.declared(path):
            check_name(item.name)
            module = f"{plugged.__name__}.{stem}"
            release = (digest_of(module) or single_file.digest(path))[: single_file.DIGITS]
            yield item.kind, item.name, _Claim(f"{module}:{item.attribute}", "file", release, str(path))


def _entry(kind: str, name: str, claims: list[_Claim]) -> Entry:
    claim = claims[0]
    entry = Entry(kind, name, claim.target, claim.distribution, claim.release, "")
    if len({other.target for other in claims}) > 1:
        owners = ", ".join(sorted({other.owner for other in claims}))
        return replace(entry, broken=f"{owners} all register {name!r}; remove one.")
    try:
        return replace(entry, summary=_summary(claim.target))
    except Exception as error:  # whatever a file of somebody's holds
        return replace(entry, broken=f"{type(error).__name__}: {_one_line(error)}")


def _source(module: str) -> Path:
    found = source(module)
    if found is None:
        raise ModuleNotFoundError(f"no module named {module!r}")
    return found


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or "no message"


def _summary(target: str) -> str:
    module, _, attribute = target.partition(":")
    return _first_sentence(_source(module).read_bytes(), attribute)


@cache
def _first_sentence(source: bytes, attribute: str) -> str:
    """That of a class's docstring, or else of its module's."""
    tree = ast.parse(source)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == attribute]
    text = next((ast.get_docstring(node) for node in classes), None) or ast.get_docstring(tree) or ""
    return re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0]
