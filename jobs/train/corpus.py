"""Training passages: docstrings of installed packages, manual pages, package descriptions; never Python's own docs."""

import ast
import gzip
import hashlib
import importlib
import inspect
import random
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Copies or backports of standard library modules, under whole-package and folder names.
VENDORED = frozenset(
    re.findall(
        r"\w+",
        """
    _distutils _vendor backports cloudpickle distlib exceptiongroup extern externals future importlib_metadata
    importlib_resources mypy mypyc past pip setuptools six stdlib_list test testing tests thirdparty_files tomli
    typeshed typing_extensions vendor vendored wheel zipp
        """,
    )
)
MIN_WORDS, MAX_WORDS, RUN = 12, 300, 10


@dataclass(frozen=True, slots=True)
class Passage:
    """One text of the corpus: the package it is from, its name, its first sentence, and the rest."""

    source: str
    name: str
    summary: str
    body: str


def fingerprint(text: str) -> str:
    """Return a hash of the text's words that ignores case, markup and line breaks."""
    return hashlib.sha1(" ".join(re.findall(r"\w+", text.lower())).encode()).hexdigest()


def split_summary(text: str) -> tuple[str, str]:
    """Return the first sentence of the first paragraph, and the text after it."""
    paragraph, _, rest = text.strip().partition("\n\n")
    sentence, *more = re.split(r"(?<=[.!?])\s+(?=[A-Z`*:\"'(])", " ".join(paragraph.split()), maxsplit=1)
    return sentence, "\n\n".join(part for part in (*more, rest.strip()) if part)


def cap_words(text: str, limit: int = MAX_WORDS) -> str:
    """Return the text's first `limit` words, with their line breaks."""
    words = list(re.finditer(r"\S+", text))
    return text if len(words) <= limit else text[: words[limit - 1].end()]


def parse(file: Path) -> ast.Module:
    """Return the file's syntax tree; an empty one if the file cannot be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, RecursionError):
        return ast.Module([], [])


def every_docstring(file: Path) -> Iterator[str]:
    """Yield the docstrings of a file: of the module and of each definition, nested ones included."""
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield ast.get_docstring(node) or ""


def docstrings(file: Path, module: str) -> Iterator[tuple[str, str]]:
    """Yield (`qualified.name(arguments)`, docstring) of each documented public definition, without importing it."""
    stack: list[tuple[ast.AST, str]] = [(parse(file), module)]
    while stack:
        node, name = stack.pop()
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if isinstance(child, ast.ClassDef):
                stack.append((child, f"{name}.{child.name}"))
            text = ast.get_docstring(child)
            if text and not child.name.startswith("_"):
                yield f"{name}.{child.name}{signature(child)}", text


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    """Return the arguments without annotations; an empty string for a class."""
    if isinstance(node, ast.ClassDef):
        return ""
    for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
        argument.annotation = None
    return f"({ast.unparse(node.args)})"


def runs(text: str) -> set[int]:
    """Return hashes of every `RUN` consecutive words, letters only: copies with small changes share some of them."""
    words = re.findall(r"[a-z]+", text.lower())
    return {hash(tuple(words[start : start + RUN])) for start in range(len(words) - RUN + 1)}


@dataclass(frozen=True, slots=True)
class Excluded:
    """Texts that may not be trained on, as fingerprints of whole texts and first sentences, and as runs of words."""

    fingerprints: frozenset[str] = frozenset()
    runs: frozenset[int] = frozenset()


def standard_library(root: Path | None = None) -> Excluded:
    """Return every docstring of the standard library, and their first sentences of at least four words.

    `root` holds the modules written in Python, by default the running interpreter's; extension modules are imported.
    """
    root = root or Path(sysconfig.get_path("stdlib"))
    texts = [text for file in root.rglob("*.py") if "site-packages" not in file.parts for text in every_docstring(file)]
    for name in (*sys.builtin_module_names, *(f.name.split(".")[0] for f in root.glob("lib-dynload/*.so"))):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        for thing in (module, *vars(module).values()):
            members = vars(thing).values() if inspect.isclass(thing) else ()
            docs = (getattr(part, "__doc__", None) for part in (thing, *members))
            texts += [doc for doc in docs if isinstance(doc, str)]
    summaries = (split_summary(text)[0] for text in texts)
    sentences = frozenset(fingerprint(line) for line in summaries if len(line.split()) >= 4)
    return Excluded(sentences | frozenset(map(fingerprint, texts)), frozenset().union(*map(runs, texts)))


def from_packages(root: Path, *, per_package: int, seed: int) -> Iterator[Passage]:
    """Yield passages of the packages installed under `root`, at most `per_package` of each, from shuffled files."""
    for package in sorted(path for path in root.iterdir() if path.is_dir() and path.name not in VENDORED):
        files = [f for f in sorted(package.rglob("*.py")) if not VENDORED & set(f.relative_to(root).parts)]
        random.Random(f"{seed} {package.name}").shuffle(files)
        taken = 0
        for file in files:
            if taken >= per_package:
                break
            module = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            for name, text in list(docstrings(file, module))[:25]:  # so that no single file represents its package
                summary, body = split_summary(text)
                if len(text.split()) >= MIN_WORDS and len(summary.split()) >= 3:
                    taken += 1
                    yield Passage(package.name, name, summary, cap_words(body))


def from_manuals(root: Path) -> Iterator[Passage]:
    """Yield English manual pages under `root`: NAME is the summary, the plain text of DESCRIPTION is the body."""
    for file in sorted(path for path in root.rglob("*.gz") if re.fullmatch(r"man\d", path.parent.name)):
        if file.name.startswith(("python", "pydoc")):
            continue
        sections = plain_sections(gzip.decompress(file.read_bytes()).decode("utf-8", "replace"))
        name, dash, summary = sections.get("NAME", "").partition(" - ")
        body = cap_words(sections.get("DESCRIPTION", ""))
        if dash and len(summary.split()) >= 3 and len(body.split()) >= MIN_WORDS:
            yield Passage("manual", name, summary, body)


def plain_sections(roff: str) -> dict[str, str]:
    """Return a manual page's sections by heading, with most of the markup removed."""
    sections: dict[str, list[str]] = {}
    heading = ""
    for line in roff.splitlines():
        if line.startswith(".SH"):
            heading = line[3:].strip(' "')
        elif not line.startswith((".", "'")) or re.match(r"\.([BI]|[BIR]{2}|SS|TP) ", line):
            words = re.sub(r"^\.\w+ ", "", line)
            words = re.sub(r"\\f(\[\w*\]|\(..|.)|\\[&/,|%]|\\s[-+]?\d", "", words)
            words = re.sub(r"\\\((?:em|en)|\\-", "-", re.sub(r"\\\((?:aq|cq|oq)", "'", words)).replace("\\e", "\\")
            sections.setdefault(heading, []).append(words.replace('"', ""))
    return {heading: " ".join(" ".join(lines).split()) for heading, lines in sections.items()}


def from_descriptions(file: Path) -> Iterator[Passage]:
    """Yield Debian's package descriptions (a `Translation-en` file): the synopsis is the summary, the rest the body."""
    for block in file.read_text(encoding="utf-8").split("\n\n"):
        fields = re.match(r"Package: (\S+)\n.*?Description-en: (.*?)\n(.*)", block, re.DOTALL)
        if not fields or fields[1].startswith(("python", "lib", "idle")):
            continue
        body = "\n\n".join(" ".join(part.split()) for part in re.split(r"\n \.\n", fields[3]))
        if len(fields[2].split()) >= 4 and len(body.split()) >= 2 * MIN_WORDS:
            yield Passage("description", fields[1], fields[2], cap_words(body))


def distinct(passages: Iterable[Passage], excluded: Excluded) -> list[Passage]:
    """Return the passages that are no duplicates, and that share no fingerprint and no run of words with `excluded`."""
    seen, kept = set(excluded.fingerprints), []
    for passage in passages:
        whole = f"{passage.summary}\n{passage.body}"
        marks = {fingerprint(text) for text in (whole, passage.summary, passage.body) if text}
        if not marks & seen and excluded.runs.isdisjoint(runs(whole)):
            kept.append(passage)
        seen |= marks
    return kept
