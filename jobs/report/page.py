"""Render the page: the findings in the order in which a reader asks for them."""

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from jobs.console import plural
from jobs.report import figures
from jobs.report.examples import Example, Shown
from jobs.report.findings import Findings, Judged
from jobs.report.parts import count, document, figure, quality, stage_section, table
from jobs.tune.tables import amount, duration, money

_OPEN = 2  # examples of each kind that are unfolded


def render(found: Findings) -> str:
    """Return the whole HTML file, without scripts and external resources."""
    body = "".join(
        part
        for section in (_head, _help, _depth, _scores, _moves, _examples, _rejections, _foot)
        for part in section(found)
    )
    return document(f"Reranking report: {found.output}", body)


def _head(found: Findings) -> Iterable[str]:
    ran, model = found.manifest, found.manifest.get("model", {})
    name = model.get("name", model.get("model", "unknown model"))
    if stages := ran.get("stages"):
        name = ", then ".join(str(stage["model"]["name"]) for stage in stages)
    length = f", up to {model['max_length']} tokens a pair" if "max_length" in model else ""
    yield f"<h1>Reranking report</h1><p class=soft>{escape(found.output)}, ranked by {escape(str(name))}{length}</p>"
    yield f"<p class=lead>{headline(found)}</p><div class=tiles>"
    seconds = ran.get("seconds", {})
    tiles = (
        (f"{ran.get('queries_ranked', len(found.pairs.query_ids)):,}", "queries ranked"),
        (f"{ran.get('pairs_ranked', len(found.pairs.logits)):,}", "pairs ranked"),
        (count(ran.get("pairs_scored")), "pairs scored"),
        (count(ran.get("store_hits")), "pairs found in store"),
        (count(ran.get("pairs_rejected")), "pairs rejected"),
        (duration(seconds.get("total")), "from start to end"),
        (amount(ran.get("tokens")), "tokens read"),
        ("?" if "padding_share" not in ran else f"{ran['padding_share']:.1%}", "padding"),
    )
    yield "".join(f"<div class=tile><b>{value}</b><span>{label}</span></div>" for value, label in tiles)
    yield "</div>"


def headline(found: Findings) -> str:
    """Return the result in one sentence."""
    if found.judged is not None and found.judged.comparisons:
        row = found.judged.comparisons[0]
        verdict = "helped" if row.low > 0 else "did harm" if row.high < 0 else "made no clear difference"
        return (
            f"Reranking {verdict}: {row.measure} went from {row.before:.3f} to <b>{row.after:.3f}</b> "
            f"({row.difference:+.3f}, 95 % interval {row.low:+.3f} to {row.high:+.3f}); "
            f"{plural(row.won, 'query')} gained, {row.lost:,} lost, {row.unchanged:,} stayed the same."
        )
    told = f"{found.moves.new_first:.0%} of the queries have another document on top"
    if not found.cut:
        told += f", and {1 - found.moves.kept:.0%} of the new top 10 documents were not in the old top 10"
    return f"{told}. Give judgements (<code>--qrels</code>) to see whether the new order is better."


def _help(found: Findings) -> Iterable[str]:
    judged = found.judged
    if judged is None:
        return
    yield "<h2>Does it help?</h2>"
    if judged.comparisons:
        yield quality(
            judged.comparisons,
            judged.changes,
            "Reranking helps where the interval is right of the line. If it crosses the line, it may be chance.",
        )
    else:
        values = ((row["measure"], f"{row['after']:.4f}") for row in judged.summary["measures"])
        yield table(("", "value"), values)
    yield "".join(f"<p class=soft>{escape(line)}</p>" for line in judged.remarks)


def _depth(found: Findings) -> Iterable[str]:
    if stages := found.manifest.get("stages"):
        yield from stage_section(stages)
        return
    has_quality = "after" in found.depths[0]
    yield "<h2>How deep, at what cost?</h2>"
    if has_quality and found.judged is not None:
        yield figure(
            depth_curve(found, found.judged),
            "Only the first candidates are reranked, the rest follow in their old order. The band is the 95 % "
            "interval of the difference from the first stage.",
        )
    elif not found.cut:
        yield figure(
            figures.found_within(found.moves.within, found.moves.depths),
            "Where the curve is flat, deeper candidates hardly ever reach the new top 10.",
        )
    else:
        yield "<p>Other depths cannot be compared: --top-k or --min-score cut the output.</p>"
        return
    measure = (found.judged.measure, "difference") if has_quality and found.judged else ()
    priced = found.depths[0]["usd"] is not None
    rows = (
        (
            f"{row['depth']:,}",
            *((f"{row['after']:.4f}", f"{row['difference']:+.4f}") if measure else ()),
            *(amount(row["pairs"]), amount(row["tokens"]), duration(row["seconds"])),
            *((money(row["usd"]),) if priced else ()),
        )
        for row in found.depths
    )
    yield table(("depth", *measure, "pairs", "tokens", "time", *(("USD",) if priced else ())), rows)
    yield "<p class=soft>Cost of 1,000 queries on one actor, at the rate of this run.</p>"


def depth_curve(found: Findings, judged: Judged) -> str:
    """Return the figure of quality by depth as SVG."""
    return figures.depth_curve(found.depths, judged.measure, found.depths[0]["before"])


def _scores(found: Findings) -> Iterable[str]:
    scored = np.isfinite(found.pairs.logits)  # NaN: below --depth, not scored
    if found.pairs.stages is not None:  # the scores of different stages cannot be compared
        scored &= found.pairs.stages == found.pairs.stages.max(initial=0)
    scores = found.pairs.scores[scored]
    series = [
        ("candidates kept" if found.cut else "all candidates", scores, "other"),
        ("the best of each query", scores[found.pairs.ranks[scored] == 1], "one"),
    ]
    if found.judged is not None:
        series.append(("judged relevant", scores[found.judged.relevant[scored]], "won"))
    yield "<h2>Which scores does the model give?</h2>"
    low, middle, high = np.quantile(scores, [0.05, 0.5, 0.95]).tolist() if len(scores) else (0, 0, 0)
    yield figure(
        figures.distributions(series),
        f"Half of all scores are below {middle:.3f}, nine in ten are between {low:.3f} and {high:.3f}. A threshold "
        "(<code>--min-score</code>) works if relevant documents score clearly higher than the others.",
    )


def _moves(found: Findings) -> Iterable[str]:
    moves = found.moves
    yield "<h2>What moved?</h2>"
    if not found.cut:
        told = f"{moves.new_first:.0%} of the queries have another document on top"
        yield f"<p>{told}; {moves.kept:.0%} of the old top 10 documents are still in the top 10.</p>"
    yield figure(
        figures.movement(moves.shares, moves.labels),
        "Each column shows where the documents at that new rank were before; a column adds up to 100 %.",
    )


def _examples(found: Findings) -> Iterable[str]:
    if found.cut:
        return
    if found.judged is None:
        yield "<h2>The queries that changed most</h2>"
        yield from _cards(found.wins, "of the top 10 kept")
    else:
        yield "<h2>The largest gains</h2>" + ("" if found.wins else "<p>No query gained.</p>")
        yield "<p class=soft>The three best documents before and after. A document without a mark has no judgement.</p>"
        yield from _cards(found.wins, found.judged.measure)
        yield "<h2>The largest losses</h2>" + ("" if found.losses else "<p>No query lost.</p>")
        yield from _cards(found.losses, found.judged.measure)
    if found.texts_from is None:
        yield "<p class=soft>Only ids are shown, because the texts were not found: give <code>--source IN</code>.</p>"


def _cards(examples: Sequence[Example], measure: str) -> Iterable[str]:
    for at, shown in enumerate(examples):
        kind = "won" if shown.after_value > shown.before_value else "lost"
        values = f"{shown.before_value:.2f} to <b class={kind}>{shown.after_value:.2f}</b> {escape(measure)}"
        if measure.startswith("of the"):
            values = f"{shown.after_value:.0%} {escape(measure)}"
        query = f"{escape(shown.query or '')} <span class=soft>({escape(shown.query_id)})</span>"
        yield f"<details{' open' if at < _OPEN else ''}><summary><span>{query}</span><span>{values}</span></summary>"
        yield "<div class=sides>" + "".join(
            f"<div><h4>{name}</h4>{''.join(_document(document, other) for document in side)}</div>"
            for name, other, side in (("before", "after", shown.before), ("after", "before", shown.after))
        )
        yield "</div></details>"


def _document(shown: Shown, other: str) -> str:
    grade = ""
    if shown.grade is not None:
        kind, word = ("won", f"relevant (grade {shown.grade})") if shown.grade > 0 else ("other", "not relevant")
        grade = f" <span class='badge {kind}'>{word}</span>"
    where = f"{shown.rank}. {escape(shown.doc_id)}{grade}"
    moved = f"rank {shown.other_rank} {other}, {_score(shown.score)}"
    text = f"<div>{escape(shown.text)}</div>" if shown.text else ""
    return f"<div class=document><b>{where}</b><span class=soft>{moved}</span>{text}</div>"


def _rejections(found: Findings) -> Iterable[str]:
    yield "<h2>What could not be ranked?</h2>"
    if not found.rejected:
        yield "<p>Nothing: all candidates are ranked.</p>"
        return
    rows = ((escape(reason), f"{count:,}", escape(query)) for reason, count, query in found.rejected)
    yield table(("reason", "rows", "example query_id"), rows)


def _foot(found: Findings) -> Iterable[str]:
    versions = ", ".join(f"{name} {number}" for name, number in found.manifest.get("versions", {}).items())
    mark = found.manifest.get("fingerprint")
    yield f"<footer>{escape(versions)}" + (f"<br>model fingerprint {escape(mark)}" if mark else "")
    yield (f"<br>texts from {escape(found.texts_from)}" if found.texts_from else "") + "</footer>"


def _score(value: float) -> str:
    return "not scored" if np.isnan(value) else f"relevance score {value:.3f}"
