"""`synesthete catalog search`, `recommend`, `align`, `suggest`, `evaluate`, `calibrate`, `mcp`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from synesthete.catalog import Alignment, Hit, Reason, Signal, Suggestion
from synesthete.catalog.cli.options import CatalogArgument, Columns, Count, FolderArgument
from synesthete.catalog.requests import Recommend, Search, SearchPage, Suggest
from synesthete.cli.command import Except, Output, Share, command
from synesthete.cli.console import Note, count, dim, share, table
from synesthete.errors import SynestheteError

app = typer.Typer()


@command(app)
def search(
    catalog: CatalogArgument,
    request: Annotated[Search, Except("cut", "only_relevant")],
    *,
    min_relevance: Share = 0.0,
) -> Output:
    """Find the items nearest to a text, an image or both, or list those that pass filters.

    The relevance of an item is the share of unrelated queries whose best item scores lower: with 0.9, one unrelated query
    in ten would have found something. Without a text and an image, the items that pass the filters are listed, by id or as
    sorted. Loads the model for a text or an image.

    Parameters
    ----------
    min_relevance
        Leave out hits of a lower relevance. Without it, 0.9 is where an item matches, for `--sort` and `--facets`.

    Returns
    -------
    A list of hits: `id`, `score`, `relevance`, `relevant`, `title`, `category`, `price`, `reasons`, `duplicates`. With
    `--facets`: `hits`, `next`, `total`, `at_least`, `facets`, `price`.

    See Also
    --------
    catalog.md

    Examples
    --------
    synesthete catalog search my.catalog --text "a red mug" --where "price<20"
    synesthete catalog search my.catalog --image image.png --without apple --json
    synesthete catalog search my.catalog --where category=fruit --sort title --facets 5
    """
    if min_relevance:
        request = replace(request, cut=min_relevance, only_relevant=True)
    page = catalog.answer(request)
    if not request.facets:
        return _hits_output(page.hits)
    return Output(asdict(page), lambda: _page_view(page))


@command(app)
def recommend(
    catalog: CatalogArgument,
    request: Annotated[Recommend, Except("signals", "cut")],
    *,
    like: list[str] | None = None,
    dislike: list[str] | None = None,
    text: list[str] | None = None,
    image: list[Path] | None = None,
    without: list[str] | None = None,
    profile: Path | None = None,
) -> Output:
    """Recommend items for likes and dislikes: items, phrases and images.

    One phrase is enough to begin with. Loads the model only for phrases and images that are new to it.

    Parameters
    ----------
    like, dislike : ID
        An item that is liked, or disliked (repeat for more).
    text : T
        A phrase that is liked (repeat for more).
    image : F
        An image that is liked (repeat for more).
    without : T
        A phrase that is disliked (repeat for more).
    profile : FILE
        Signals as JSON lines: side, one of item, text and image, weight, age_days.

    Returns
    -------
    A list of hits, as of `search`.

    See Also
    --------
    catalog.md

    Examples
    --------
    synesthete catalog recommend my.catalog --like mug-red --dislike chair-blue --diversity 0.5
    """
    from synesthete.catalog.tables import read_signals

    signals = [
        *(Signal("like", item=item) for item in like or []),
        *(Signal("dislike", item=item) for item in dislike or []),
        *(Signal("like", text=phrase) for phrase in text or []),
        *(Signal("like", image=path) for path in image or []),
        *(Signal("dislike", text=phrase) for phrase in without or []),
        *(read_signals(profile) if profile else []),
    ]
    return _hits_output(catalog.answer(replace(request, signals=signals)).hits)


@command(app)
def align(
    catalog: CatalogArgument,
    *,
    copy: list[str] | None = None,
    image: list[Path] | None = None,
    campaign: Path | None = None,
    reasons: Count = 5,
) -> Output:
    """Say how well copies match images, judged by the catalogue's own pairs, and which units and words decide.

    A match that depends on writing in the image, or on units that answer to people, is flagged and left to a person.
    Loads the model.

    Parameters
    ----------
    copy : T
        A copy (repeat for variants).
    image : F
        An image (repeat for more).
    campaign : FOLDER
        A folder of images and texts of the same name, or with a campaign.csv (image, copy).
    reasons
        Units and words on each side.

    Returns
    -------
    A list of pairs with all their reasons.

    See Also
    --------
    catalog.md

    Examples
    --------
    synesthete catalog align my.catalog --copy "a red mug" --copy "an old clock" --image image.png
    """
    from synesthete.catalog.align import Part, read_campaign

    if campaign is not None and (copy or image):
        hint = "leave out --copy and --image"
        raise SynestheteError("a campaign brings its own copies and images", hint=hint)
    given = [Part("", tuple(copy or ()), tuple(image or ()))]
    parts = given if campaign is None else read_campaign(campaign)
    pairs = [
        pair for part in parts for pair in catalog.align(part.copies, part.images, reasons=reasons)
    ]
    return Output([pair.as_dict() for pair in pairs], lambda: _pairs_view(pairs))


@command(app)
def suggest(catalog: CatalogArgument, request: Suggest, *, threshold: Share = 0.6) -> Output:
    """Answer an image with a brief description: items, categories, attributes, and what to ask next.

    Its confidence is a probability after `catalog calibrate`. Loads the model.

    Parameters
    ----------
    threshold
        Confidence below which the machine abstains.

    Returns
    -------
    the suggestion.

    See Also
    --------
    catalog.md

    Examples
    --------
    synesthete catalog suggest my.catalog --image image.png --brief "something like this"
    """
    suggestion = catalog.suggest(
        request.image,
        request.brief,
        reference=request.reference,
        limit=request.limit,
        threshold=threshold,
    )
    return Output(suggestion.as_dict(), lambda: _suggestion_view(suggestion))


@command(app)
def calibrate(catalog: CatalogArgument, *, queries: Path | None = None, seed: int = 0) -> Output:
    """Measure how often suggestions are right, so that their confidence is a probability.

    Without a table each item is queried by its own image with itself left out: that measures images like the
    catalogue's, and customers' photos are harder. Loads the model for a table only.

    Parameters
    ----------
    queries : TABLE
        Queries of customers with the answers, as for evaluate; without it the catalogue's own items.
    seed
        Of the cross-validation folds.

    Returns
    -------
    knots, cases, calibration error before and after with its interval, stated and observed rates by bins.

    See Also
    --------
    catalog.md

    Examples
    --------
    synesthete catalog calibrate my.catalog --queries queries.csv
    """
    found = catalog.calibrate(queries, seed=seed)
    rows = (
        (share(one.stated), share(one.right), _interval((one.low, one.high)), one.n)
        for one in found.bins
    )
    view = (
        table("stated", "right", "95 %", "cases", right=("stated", "right", "cases"), rows=rows),
        dim(
            f"{count(found.n)} cases ({found.source}), {share(found.right)} right; calibration error {_error(found.error, found.error_interval)}, "
            f"of the bare strength {_error(found.raw_error, found.raw_error_interval)}; a right one is stronger than a wrong one in {share(found.order)}"
        ),
    )
    return Output(found.as_dict(), view)


@command(app)
def evaluate(
    catalog: CatalogArgument,
    *,
    queries: Path,
    limit: Annotated[
        list[int] | None, typer.Option("-k", "--limit", min=1, help="Results that count (repeat).")
    ] = None,
    column: Columns = None,
    seed: int = 0,
    per_query: Path | None = None,
) -> Output:
    """Measure recall and NDCG on queries with known answers, beside the search's parts and baselines.

    The baselines are the model's plain cosine, TF-IDF, BM25, and chance. Loads the model.

    Parameters
    ----------
    queries : TABLE
        A .csv, .jsonl or .parquet: text or image, and relevant (ids) or category.
    limit
        Results that count, 10 without it; several are measured at once.
    seed
        Of the random control and the intervals.
    per_query : X.csv
        Write every query by every method here, with what was found.

    Returns
    -------
    `recall@10`, `ndcg@10`, `mrr@10`, their intervals, `n`, and the same by method, under `methods` and `baselines`.

    See Also
    --------
    catalog.md

    Examples
    --------
    synesthete catalog evaluate my.catalog --queries queries.csv
    synesthete catalog evaluate my.catalog --queries queries.csv -k 1 -k 10 --per-query found.csv
    """
    from synesthete.catalog.evaluate import BASELINES

    ks = sorted(set(limit or [10]))
    facts = dict(column or [])
    found = catalog.evaluate(queries, k=ks, seed=seed, columns=facts, per_query=per_query)
    methods: dict[str, dict[str, Any]] = {}
    for one in found:
        methods.setdefault(one.method, {}).update(
            {
                f"recall@{one.k}": one.recall,
                f"recall@{one.k}_interval": one.recall_interval,
                f"ndcg@{one.k}": one.ndcg,
                f"ndcg@{one.k}_interval": one.ndcg_interval,
                f"mrr@{one.k}": one.mrr,
            }
        )
    baselines = {name: methods.pop(name) for name in BASELINES}
    tables = []
    for k in ks:
        rows = (
            (
                one.method,
                *(share(one.recall), _interval(one.recall_interval)),
                *(share(one.ndcg), _interval(one.ndcg_interval)),
                share(one.mrr),
            )
            for one in found
            if one.k == k
        )
        columns = ("method", f"recall@{k}", "95 %", f"NDCG@{k}", "95 % ", "MRR")
        tables.append(table(*columns, rows=rows))
    data = {**methods["search"], "k": ks if len(ks) > 1 else ks[0], "n": found[0].n}
    data |= {"methods": methods, "baselines": baselines}
    return Output(data, [*tables, dim(f"{count(found[0].n)} queries")])


@command(app)
def mcp(catalog: FolderArgument) -> None:
    """Serve a catalogue to an assistant over standard input and output (Model Context Protocol).

    Its tools are search, recommend, align, suggest and classify, with the fields of the REST API; images come as base64. What
    it abstains from goes into the review queue. Needs the extra `[mcp]`. Loads the model at the first question.

    See Also
    --------
    catalog.md

    Examples
    --------
    synesthete catalog mcp my.catalog
    """
    from synesthete.catalog.mcp import serve
    from synesthete.catalog.server.folder import Answering

    serve(Answering(catalog))


def _hits_output(hits: Sequence[Hit]) -> Output:
    return Output([hit.as_dict() for hit in hits], lambda: [_hits_table(hits)])


def _hits_table(hits: Iterable[Hit]) -> RenderableType:
    rows = []
    for hit in hits:
        more = f" (+ {len(hit.duplicates)} nearly the same)" if hit.duplicates else ""
        shown = hit.id, hit.title[:50] + more, _because(hit.reasons)
        rows.append((share(hit.relevance), f"{hit.score:.3f}", *shown))
    right = ("relevance", "score")
    return table(*right, "id", "title", "because", right=right, rows=rows)


def _page_view(page: SearchPage) -> Iterator[RenderableType]:
    yield _hits_table(page.hits)
    rows = [(one.name, v.value, count(v.count)) for one in page.facets for v in one.values]
    yield table("facet", "value", "items", right=("items",), rows=rows)
    price = page.price
    prices = f"; prices {price.low:g} to {price.high:g} ({count(price.count)})" if price else ""
    least = "at least " if page.at_least else ""
    yield dim(f"{least}{count(page.total)} items match{prices}")


def _pairs_view(pairs: Sequence[Alignment]) -> Iterator[RenderableType]:
    rows = []
    for pair in pairs:
        image = Path(pair.image).name
        for flag in pair.flags:
            decides = " and decides the match" if flag.decides else ""
            unit = f"{flag.kind} unit {flag.address} ({flag.text})"
            yield Note(f"{image}: {unit} adds {flag.weight:+.3f}{decides}")
        among = (
            None if one is None else share(one) for one in (pair.among_pairs, pair.among_others)
        )
        shown = image, pair.copy[:60], _because(pair.agreeing[:3])
        rows.append((pair.verdict, f"{pair.score:+.3f}", *among, *shown))
    right = ("score", "own pairs", "others")
    yield table("verdict", *right, "image", "copy", "because", right=right, rows=rows)


def _suggestion_view(suggestion: Suggestion) -> Iterator[RenderableType]:
    yield _hits_table(suggestion.items)
    categories = [f"{one.value} ({share(one.confidence)})" for one in suggestion.categories]
    attributes = [
        f"{one.name}: {one.value} ({share(one.confidence)})" for one in suggestion.attributes
    ]
    for name, values in (("category", categories), ("attributes", attributes)):
        if values:
            yield f"{name}, by share of the evidence: {'; '.join(values)}"
    for question in suggestion.questions:
        yield question.text
    verdict = "abstains: a person should answer" if suggestion.abstained else "answers"
    kind = "no probability: `catalog calibrate` makes it one"
    if suggestion.calibrated:
        kind = "how often such an answer is right"
    yield dim(f"confidence {share(suggestion.confidence)} ({kind}): the machine {verdict}")


def _because(reasons: Iterable[Reason]) -> str:
    names = {"unit": "unit ", "concept": "concept "}
    return "; ".join(f"{names.get(one.kind, '')}{one.text}" for one in reasons)


def _error(value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _interval(values: tuple[float, float]) -> str:
    return f"{values[0]:.2f}–{values[1]:.2f}"
