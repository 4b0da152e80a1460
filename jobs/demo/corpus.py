"""The demo's corpus: one document for each documented public name of the running Python's standard library."""

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

# Gone from Python 3.13: their documents would answer a question with what nobody should use.
REMOVED = frozenset(
    "aifc asynchat asyncore audioop cgi cgitb chunk crypt distutils imghdr imp lib2to3 "  # noqa: SIM905
    "mailcap msilib nis nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu xdrlib".split()
)
# They act on import, draw windows, need a display library that many builds lack, or hold nothing but tests and tables.
UNSUITABLE = frozenset(
    "antigravity encodings idlelib pydoc_data test this tkinter turtle turtledemo".split()  # noqa: SIM905
)
# What is public in them is public under another name: os, os.path, re, dis, xml.parsers.expat.
IMPLEMENTATIONS = frozenset(
    "genericpath nt nturl2path ntpath opcode posix posixpath pyexpat sre_compile sre_constants sre_parse".split()  # noqa: SIM905
)

SCHEMA = pa.schema([("doc_id", pa.string()), ("text", pa.string()), ("kind", pa.string())])


class Entry(NamedTuple):
    """A public name, the object behind it, its docstring, and for a method how specialised its class is."""

    module: str
    path: str
    kind: str
    target: Any
    doc: str
    depth: int = 0

    @property
    def doc_id(self) -> str:
        """The name as a person writes it: `str.split`, `weakref.finalize`."""
        return self.path if self.module == "builtins" else f"{self.module}.{self.path}".rstrip(".")


def stdlib_documents() -> pa.Table:
    """Read the documentation of the standard library: `doc_id`, `text` and `kind`, sorted by `doc_id`.

    `kind` is module, class, function, method or property. `text` is the name with its signature, then the cleaned
    docstring, cut at a line end to at most `MAX_CHARACTERS`. That touches one document in sixty, and leaves nearly all
    of them below 512 tokens, where the usual cross-encoders stop reading: what is read is what was retrieved. Each
    object has one document, under its best public name. Dunder methods are left out: they say what `object` says.

    Imports some three hundred modules into the calling process; `write_corpus` keeps them in a process of their own.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entries = sorted(_once(_entries()), key=lambda entry: entry.doc_id)
        texts = [_text(entry) for entry in entries]
    columns = [[entry.doc_id for entry in entries], texts, [entry.kind for entry in entries]]
    return pa.table(columns, schema=SCHEMA)


def write_corpus(path: Path) -> None:
    """Write `stdlib_documents()` as Parquet to `path`, from a process of its own; CalledProcessError if that fails."""
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
        except ImportError:  # another platform's module, or one this build left out
            continue
        yield name, module
        pending.extend(f"{name}.{found.name}" for found in pkgutil.iter_modules(getattr(module, "__path__", ())))


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
    """Whether a module without `__all__` owns `target`, or took it from a private module to publish it."""
    home = getattr(target, "__module__", None) or getattr(getattr(target, "__self__", None), "__name__", None)
    return module_name == "builtins" or (isinstance(home, str) and (home == module_name or home.startswith("_")))


def _methods(owner: Entry, public: set[int]) -> Iterator[Entry]:
    """The methods that a class defines or takes from a private base; those of a public base stay with that base."""
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
    """Smallest first: a builtin, few dots, its own module, its own name, the most general class, a short name."""
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
    """The parameters without annotations and `self`; a default that is not a plain value would tell of this machine."""
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
