"""Queries as people type them, made from a passage's sentences: templates, synonyms, dropped words, keywords."""

import random
import re

VERBS = frozenset(
    re.findall(
        r"\w+",
        """
    accept add adjust align allow append apply assert assign attach bind build calculate call cancel cast change
    check choose clean clear clip close combine compare compile compress compute configure connect construct
    contain control convert copy count create crop cut decode decompose decompress define delete describe detect
    determine disable display divide download draw drop dump emit enable encode ensure estimate evaluate execute
    expand export extract fetch fill filter find fit fix flatten format generate get give group handle identify
    implement import initialize insert inspect install interpolate invert iterate join keep limit list load
    locate lock log look make manage manipulate map mark match measure merge modify monitor mount move multiply
    normalize obtain open order parse partition perform pick plot predict prepare print process produce project
    provide push put query raise read rearrange receive record reduce register release reload remove rename
    render repeat replace report represent request reset reshape resize resolve retrieve return reverse rotate
    round run sample save scale scan search select send serialize set shift show shuffle simplify skip slice
    solve sort specify split stack start stop store strip submit subtract swap test transfer transform translate
    trim truncate try turn update upload use validate verify view visualize wait walk warn wrap write
        """,
    )
)
SYNONYMS = {
    "add": ("append", "put in"), "allow": ("let",), "array": ("list of numbers",), "begin": ("start",),
    "boolean": ("true or false value",), "calculate": ("compute", "work out"), "check": ("test", "see"),
    "combine": ("merge", "put together"), "compute": ("calculate", "work out", "find"),
    "construct": ("build", "make"), "convert": ("turn", "change"), "create": ("make", "build", "set up"),
    "current": ("present",), "delete": ("remove", "get rid of"), "determine": ("find out",),
    "dictionary": ("mapping", "dict"), "directory": ("folder",), "display": ("show",), "divide": ("split",),
    "element": ("item",), "elements": ("items",), "ensure": ("make sure",), "entries": ("items",),
    "error": ("failure", "problem"), "estimate": ("approximate",), "execute": ("run",),
    "extract": ("pull out", "get"), "fetch": ("get", "download"), "filter": ("keep only some",),
    "find": ("look for", "locate"), "function": ("routine",), "generate": ("make", "produce"),
    "get": ("fetch", "obtain"), "identical": ("the same",), "image": ("picture",), "images": ("pictures",),
    "initialize": ("set up",), "insert": ("add", "put"), "integer": ("whole number",), "invoke": ("call",),
    "iterate": ("loop", "go"), "join": ("connect", "glue"), "largest": ("biggest",), "load": ("read", "open"),
    "matrix": ("table of numbers",), "maximum": ("largest", "highest"), "mean": ("average",),
    "merge": ("join", "combine"), "minimum": ("smallest", "lowest"), "modify": ("change", "edit"),
    "multiple": ("several", "many"), "number": ("amount",), "object": ("thing",), "objects": ("things",),
    "obtain": ("get",), "parse": ("read", "understand"), "perform": ("do", "carry out"), "plot": ("draw", "chart"),
    "print": ("show", "write out"), "process": ("program",), "provide": ("give",), "random": ("arbitrary",),
    "read": ("load",), "remove": ("delete", "take away", "drop"), "replace": ("swap",),
    "retrieve": ("get", "fetch", "look up"), "return": ("get", "give back", "find"), "save": ("store", "write"),
    "search": ("look",), "select": ("choose", "pick"), "send": ("transmit",), "sequence": ("list", "series"),
    "set": ("change", "assign"), "show": ("display",), "similar": ("alike",), "sort": ("order", "arrange"),
    "specified": ("given",), "specify": ("say", "give"), "split": ("divide", "break up", "cut"),
    "start": ("begin", "launch"), "stop": ("end", "halt"), "store": ("keep", "save"), "string": ("text",),
    "strings": ("texts",), "terminate": ("kill", "stop"), "transform": ("change", "turn"), "unique": ("distinct",),
    "update": ("refresh", "change"), "use": ("apply",), "value": ("quantity",), "verify": ("check",),
    "wait": ("pause",), "write": ("save", "output"),
}  # fmt: skip
STOPWORDS = frozenset(
    re.findall(
        r"\w+",
        """
    a an and are as at be been but by can do does for from has have how i if in into is it its may of on one or
    so such that the their then there these this to used uses using was we what when where which will with you
    your
        """,
    )
)
VERB_FRAMES = (
    "how do I {}?", "how do I {}?", "how can I {}?", "how to {}", "what is the way to {}?", "which function can {}?",
    "is there something that will {}?", "I want to {}", "what should I use to {}?", "can I {}?", "{}", "{}", "{}",
    "what lets me {}?", "something to {}", "need to {}", "how would one {}?",
)  # fmt: skip
NOUN_FRAMES = (
    "what is {}?", "{}", "{}", "{}", "where do I find {}?", "is there {}?", "I am looking for {}", "tell me about {}",
    "which one is {}?", "do we have {}?",
)  # fmt: skip
KEYWORDS, DROPPED_WORD, SYNONYM = 0.15, 0.08, 0.3  # shares: keyword queries; content words dropped; words replaced
NOUN_WORDS = 10  # a longer phrase is a statement that fits no template


def plain(text: str) -> str:
    """Return a sentence without markup (roles, backticks, stars, double spaces), with a lower-case first word."""
    text = re.sub(r":[\w:+-]+:`~?([^`<]*?)(?:\s*<[^`]*>)?`_*", r"\1", text)
    text = re.sub(r"[`*]+|\\\w*|_{2,}|[|]", "", text)
    text = " ".join(text.split()).rstrip(" .:;!,")
    first, _, rest = text.partition(" ")
    return f"{first.lower()} {rest}" if first[1:].islower() or len(first) == 1 else text


def base_verb(word: str) -> str | None:
    """Return the base form of a known verb (`Returns` gives `return`), None for another word."""
    word = word.lower()
    for base in (word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ies") + "y"):
        if base in VERBS:
            return base
    return None


def reworded(words: list[str], rng: random.Random) -> list[str]:
    """Replace some words by synonyms and drop a few; the first word is never dropped."""
    result = []
    for place, word in enumerate(words):
        if word.lower() in SYNONYMS and rng.random() < SYNONYM:
            result.append(rng.choice(SYNONYMS[word.lower()]))
        elif place == 0 or len(words) < 5 or rng.random() >= DROPPED_WORD:
            result.append(word)
    return result


def ask(sentence: str, rng: random.Random) -> str:
    """Return a query that the sentence answers, made from its first 24 words."""
    words = plain(sentence).split()[:24]
    if rng.random() < KEYWORDS:
        content = [word.strip(",.()") for word in words if word.lower() not in STOPWORDS]
        return " ".join(reworded(content, rng)[: rng.randint(3, 7)])
    verb = base_verb(words[0])
    if verb:
        return rng.choice(VERB_FRAMES).format(" ".join(reworded([verb, *words[1:]], rng)))
    phrase = " ".join(reworded(words, rng))
    return rng.choice(NOUN_FRAMES).format(phrase) if len(words) <= NOUN_WORDS else phrase
