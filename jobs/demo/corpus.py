"""Build the demo's corpus: one document for each documented public name of Python's standard library."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

MAX_CHARACTERS = 1_500

# Removed in Python 3.13: their documents would answer a question with what nobody should use.
REMOVED = frozenset(
    "aifc asynchat asyncore audioop cgi cgitb chunk crypt distutils imghdr imp lib2to3 "  # noqa: SIM905
    "mailcap msilib nis nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu xdrlib".split()
)
# They act on import, open windows, need a display library that many builds lack, or contain only tests and tables.
UNSUITABLE = frozenset(
    "antigravity encodings idlelib pydoc_data test this tkinter turtle turtledemo".split()  # noqa: SIM905
)
# Their public names are documented in another module: os, os.path, re, dis, xml.parsers.expat.
IMPLEMENTATIONS = frozenset(
    "genericpath nt nturl2path ntpath opcode posix posixpath pyexpat sre_compile sre_constants sre_parse".split()  # noqa: SIM905
)

SCHEMA = pa.schema([("doc_id", pa.string()), ("text", pa.string()), ("kind", pa.string())])


class Entry(NamedTuple):
    """A public name, its object and docstring, and for a method how deep its class inherits (`depth`)."""

    module: str
    path: str
    kind: str
    target: Any
    doc: str
    depth: int = 0

    @property
    def doc_id(self) -> str:
        """The name as people write it: `str.split`, `weakref.finalize`."""
        return self.path if self.module == "builtins" else f"{self.module}.{self.path}".rstrip(".")


def stdlib_documents() -> pa.Table:
    """Read the documentation of the standard library: `doc_id`, `text` and `kind`, sorted by `doc_id`.

    `kind` is module, class, function, method or property. `text` is the name with its signature, then the cleaned
    docstring, cut at a line end to at most `MAX_CHARACTERS`. That cuts one document in sixty and keeps nearly all of
    them below 512 tokens, the usual limit of cross-encoders, so that the model reads what BM25 retrieved. Each object
    has one document, under its best public name. Dunder methods are left out: they repeat what `object` says.

    This imports about three hundred modules into the calling process; `write_corpus` uses a separate process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entries = sorted(_once(_entries()), key=lambda entry: entry.doc_id)
        texts = [_text(entry) for entry in entries]
    columns = [[entry.doc_id for entry in entries], texts, [entry.kind for entry in entries]]
    return pa.table(columns, schema=SCHEMA)


def write_corpus(path: Path) -> None:
    """Write `stdlib_documents()` as Parquet to `path`, in a separate process. Raises CalledProcessError."""
    # By path and with -P: neither the working directory nor this folder may shadow a standard module.
    subprocess.run([sys.executable, "-P", __file__, str(path.resolve())], check=True)


def _entries() -> Iterator[Entry]:
    modules = dict(_modules())
    members = [entry for name, module in modules.items() for entry in _members(name, module)]
    public = {id(entry.target) for entry in members}
    for name, module in modules.items():
        if name != "builtins" and (doc := _doc(module)):
            yield Entry(name, "", "module", module, doc)
    for entry in members:
        if entry.doc:
            yield entry
        if entry.kind == "class":
            yield from _methods(entry, public)


def _modules() -> Iterator[tuple[str, ModuleType]]:
    skipped = REMOVED | UNSUITABLE | IMPLEMENTATIONS
    pending = [name for name in sorted(sys.stdlib_module_names) if name not in skipped] + ["os.path"]
    while pending:
        name = pending.pop(0)
        if any(part.startswith("_") or part in {"test", "tests"} for part in name.split(".")):
            continue
        try:
            module = importlib.import_module(name)
        except ImportError:  # a module of another platform, or one that this build lacks
            continue
        yield name, module
        pending.extend(f"{name}.{sub.name}" for sub in pkgutil.iter_modules(getattr(module, "__path__", ())))


def _members(module_name: str, module: ModuleType) -> Iterator[Entry]:
    exported = getattr(module, "__all__", None)
    for name in sorted(set(dir(module) if exported is None else exported)):
        target = getattr(module, name, None)
        if name.startswith("_") or not (inspect.isclass(target) or inspect.isroutine(target)):
            continue
        if exported is None and not _belongs(target, module_name):
            continue
        kind = "class" if inspect.isclass(target) else "function"
        yield Entry(module_name, name, kind, target, _doc(target))


def _belongs(target: Any, module_name: str) -> bool:
    """Return True if a module without `__all__` defines `target`, or publishes it from a private module."""
    home = getattr(target, "__module__", None) or getattr(getattr(target, "__self__", None), "__name__", None)
    return module_name == "builtins" or (isinstance(home, str) and (home == module_name or home.startswith("_")))


def _methods(owner: Entry, public: set[int]) -> Iterator[Entry]:
    """Yield the methods that a class defines or inherits from a private base; a public base has its own entries."""
    seen: set[str] = set()
    for base in owner.target.__mro__:
        if base is not owner.target and id(base) in public:
            continue
        for name, member in sorted(vars(base).items()):
            target = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
            is_property = isinstance(target, property)
            if name.startswith("_") or name in seen or not (is_property or inspect.isroutine(target)):
                continue
            seen.add(name)
            if doc := _doc(target):
                kind = "property" if is_property else "method"
                yield Entry(owner.module, f"{owner.path}.{name}", kind, target, doc, len(owner.target.__mro__))


def _once(entries: Iterator[Entry]) -> Iterator[Entry]:
    """Keep each object, and each docstring of one short name (`bytes.find`, `bytearray.find`), under its best name."""
    objects: set[int] = set()
    docstrings: set[tuple[str, str]] = set()
    names: set[str] = set()
    for entry in sorted(entries, key=_preference):
        target = id(getattr(entry.target, "__func__", entry.target))
        wording = (entry.doc_id.rpartition(".")[2], entry.doc)
        if target not in objects and wording not in docstrings and entry.doc_id not in names:
            yield entry
        objects.add(target)
        docstrings.add(wording)
        names.add(entry.doc_id)


def _preference(entry: Entry) -> tuple[bool, int, bool, bool, int, int, str]:
    """Return the sort key of a name, best first: builtin, few dots, own module, own name, general class, short name."""
    home = str(getattr(entry.target, "__module__", "")).lstrip("_")
    own_name = getattr(entry.target, "__name__", "")
    short_name = entry.path.rpartition(".")[2]
    doc_id = entry.doc_id
    imported, renamed = home != entry.module, own_name != short_name
    return entry.module != "builtins", doc_id.count("."), imported, renamed, entry.depth, len(doc_id), doc_id


def _doc(target: Any) -> str:
    doc = getattr(target, "__doc__", None)
    return inspect.cleandoc(doc).strip() if isinstance(doc, str) else ""


def _text(entry: Entry) -> str:
    text = f"{entry.doc_id}{_signature(entry)}\n{entry.doc}"
    if len(text) <= MAX_CHARACTERS:
        return text
    whole_lines = text[: MAX_CHARACTERS + 1].rpartition("\n")[0]
    return whole_lines.rstrip()


def _signature(entry: Entry) -> str:
    """Return the parameters without `self`, annotations, and defaults that are not plain values (they may vary)."""
    if entry.kind in {"module", "property"}:
        return ""
    try:
        signature = inspect.signature(entry.target)
    except (ValueError, TypeError, NameError, AttributeError):  # many C functions declare none
        return ""
    parameters = [
        parameter.replace(annotation=parameter.empty, default=_plain(parameter.default))
        for position, parameter in enumerate(signature.parameters.values())
        if position or parameter.name not in {"self", "cls"}
    ]
    return str(inspect.Signature(parameters))


class _Ellipsis:
    def __repr__(self) -> str:
        return "..."


def _plain(default: Any) -> Any:
    if isinstance(default, str):
        return _Ellipsis() if len(default) > 1 and Path(default).is_absolute() else default
    if default is inspect.Parameter.empty or default is None or isinstance(default, (bool, int, float, bytes)):
        return default
    return _Ellipsis()


if __name__ == "__main__":
    pq.write_table(stdlib_documents(), sys.argv[1])
