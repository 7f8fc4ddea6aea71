"""Evaluate: how many right answers a catalogue finds, beside its parts alone, and baselines that need no catalogue."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synesthete._core.arrays import Float32, Float64, Int64
from synesthete.atlas.files import write_file
from synesthete.catalog.encode import unit_length
from synesthete.catalog.query_encoder import Query, QueryEncoder
from synesthete.catalog.schema import Evaluation, ImageSource, image_name
from synesthete.catalog.search import best
from synesthete.catalog.store.snapshot import Snapshot
from synesthete.catalog.tables import query_rows
from synesthete.errors import SynestheteError

METHODS = ("search", "vectors", "text-only", "image-only")
BASELINES = ("cosine", "tf-idf", "bm25", "random")
BLOCK = 256  # queries


@dataclass(frozen=True)
class LabelledQuery:
    """A query with its right answers: ids of items. `row` says where it stands, for messages."""

    row: str
    text: str | None
    image: ImageSource | None
    relevant: frozenset[str]

    def encoded(self, encoder: QueryEncoder) -> Query:
        """As a query of the space; raises `SynestheteError`, with the row, for an image that cannot be read."""
        with naming(self.row):
            return encoder.query(self.text, self.image)


@contextmanager
def naming(row: str) -> Iterator[None]:
    """Say in what is wrong with a query where it stands."""
    try:
        yield
    except SynestheteError as error:
        raise SynestheteError(f"{row}: {error.message}", hint=error.hint) from None


def evaluate(
    encoder: QueryEncoder,
    queries: Path,
    *,
    ks: Sequence[int] = (10,),
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    per_query: Path | None = None,
) -> list[Evaluation]:
    """What `search` finds, its parts alone, and the baselines; see `Catalog.evaluate`."""
    if not ks or min(ks) < 1:
        raise SynestheteError(f"k is {min(ks, default=0)}, expected at least 1")
    labelled = labelled_queries(encoder.snapshot, queries, columns)
    encoder.prepare(
        [one.text for one in labelled if one.text], [one.image for one in labelled if one.image]
    )
    rankings = _rankings(encoder, labelled, max(ks), seed)
    truth = [dict.fromkeys(one.relevant, 1) for one in labelled]
    # Here, so that opening a catalogue waits for no statistics.
    from synesthete.catalog.metrics.ranking import measured

    values = {name: measured(found, truth, ks) for name, found in rankings.items()}
    if per_query is not None:
        _write_per_query(per_query, labelled, rankings, values, ks)
    return [_evaluation(name, found, k, seed) for name, found in values.items() for k in ks]


def _rankings(
    encoder: QueryEncoder, labelled: Sequence[LabelledQuery], k: int, seed: int
) -> dict[str, list[list[str]]]:
    """Ids, best first, for every query, by method."""
    snapshot = encoder.snapshot
    encoded = [one.encoded(encoder) for one in labelled]
    vectors = np.stack([one.vector for one in encoded])
    bare = [Query(one.vector, one.kind) for one in encoded]
    found = {
        name: [best(snapshot, one, k, columns=("id", "fused")).rows.ids for one in some]
        for name, some in (("search", encoded), ("vectors", bare))
    }
    rows = snapshot.rows(snapshot.ids, ("images", "texts", "words"))
    images, texts = rows.array("images"), rows.array("texts")
    raw = np.stack([_raw(encoder, one) for one in labelled])
    words = [one.text or "" for one in labelled]
    rng, tf_idf = np.random.default_rng(seed), _tf_idf(rows.values("words"), words)
    # An item without this part stands behind all that have it.
    absent = {
        "text-only": ~texts.any(axis=1),
        "image-only": ~images.any(axis=1),
    }
    spaces = {
        "text-only": (vectors, snapshot.space.texts(texts).T),
        "image-only": (vectors, snapshot.space.images(images).T),
        "cosine": (raw, unit_length(unit_length(images) + unit_length(texts)).T),
    }
    ids = np.array(rows.ids, object)
    found |= {name: [] for name in (*spaces, "tf-idf", "random")}
    # A few queries at a time, since every one has a score for every item.
    for start in range(0, len(labelled), BLOCK):
        some = slice(start, start + BLOCK)
        scores: dict[str, Float32 | Float64] = {
            name: queries[some] @ items for name, (queries, items) in spaces.items()
        }
        for name, without in absent.items():
            scores[name][:, without] = -np.inf
        scores["tf-idf"] = tf_idf(some)
        scores["random"] = rng.random((len(raw[some]), len(rows)))
        for name, values in scores.items():
            found[name] += [ids[top].tolist() for top in top_of(values, k)]
    # A query without words finds nothing by words.
    found["tf-idf"] = [
        ranked if text else [] for ranked, text in zip(found["tf-idf"], words, strict=True)
    ]
    found["bm25"] = [_bm25(snapshot, text, k) for text in words]
    return {name: found[name] for name in (*METHODS, *BASELINES)}


def _raw(encoder: QueryEncoder, query: LabelledQuery) -> Float32:
    """The mean of what the model makes of a query's text and image, not centred."""
    parts = [encoder.raw_text(query.text)] if query.text else []
    parts += [encoder.raw_image(query.image)] if query.image is not None else []
    found: Float32 = unit_length(np.mean(parts, axis=0, keepdims=True))[0]
    return found


def top_of(scores: Float32 | Float64, k: int) -> list[Int64]:
    """Places of the `k` highest scores of each row `[queries, items]`, highest first, of equal ones the first.

    Examples
    --------
    >>> [one.tolist() for one in top_of(np.array([[1.0, 3.0, 2.0, 3.0]]), 2)]
    [[1, 3]]
    """
    count = scores.shape[1]
    if k >= count:
        return list(np.argsort(-scores, axis=1, kind="stable").astype(np.int64))
    least = np.partition(scores, count - k, axis=1)[:, count - k]
    found: list[Int64] = []
    for row, low in zip(scores, least, strict=True):
        places = np.flatnonzero(row >= low)  # with all that are equal to the last
        order = np.argsort(-row[places], kind="stable")[:k]
        found.append(np.asarray(places[order], np.int64))
    return found


def _tf_idf(items: Sequence[str], queries: Sequence[str]) -> Callable[[slice], Float32]:
    """Cosines of some of the queries with all items, `[queries, items]`."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    counter = TfidfVectorizer()
    try:
        known = counter.fit_transform(items)
    except ValueError:  # no item has a word
        return lambda some: np.zeros((len(queries[some]), len(items)), np.float32)
    wanted = counter.transform(queries)
    return lambda some: np.asarray((wanted[some] @ known.T).todense(), np.float32)


def _bm25(snapshot: Snapshot, text: str, k: int) -> list[str]:
    return snapshot.matching(text, k).ids if text else []


def _write_per_query(
    path: Path,
    labelled: Sequence[LabelledQuery],
    rankings: Mapping[str, Sequence[Sequence[str]]],
    values: Mapping[str, Mapping[str, Float64]],
    ks: Sequence[int],
) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(["query", "text", "image", "method", "k", "recall", "ndcg", "rr", "found"])
    for at, query in enumerate(labelled):
        image = "" if query.image is None else image_name(query.image)
        for method, found in rankings.items():
            for k in ks:
                names = (f"recall@{k}", f"ndcg@{k}", f"rr@{k}")
                shown = [f"{values[method][name][at]:.4f}" for name in names]
                ranked = " ".join(found[at][:k])
                row = [query.row, query.text or "", image, method, k, *shown, ranked]
                writer.writerow(row)
    write_file(path, stream.getvalue().encode())


def _evaluation(method: str, values: Mapping[str, Float64], k: int, seed: int) -> Evaluation:
    """Means over queries with 95 % bootstrap intervals; MRR looks at the first `k`."""
    from synesthete.catalog.metrics.estimates import mean_of

    recall, ndcg, mrr = (
        mean_of(values[f"{name}@{k}"], seed=seed) for name in ("recall", "ndcg", "rr")
    )
    return Evaluation(
        method=method,
        k=k,
        n=recall.n,
        recall=recall.value,
        recall_interval=(recall.low, recall.high),
        ndcg=ndcg.value,
        ndcg_interval=(ndcg.low, ndcg.high),
        mrr=mrr.value,
    )


def labelled_queries(
    snapshot: Snapshot,
    queries: Path,
    columns: Mapping[str, str] | None = None,
    *,
    root: Path | None = None,
) -> list[LabelledQuery]:
    """The queries of a table with the ids of their right answers; `columns`, `root` as for `item_rows`.

    Raises
    ------
    SynestheteError
        A query without text and image, or whose right answers are not in the catalogue.
    """
    categories: dict[str, set[str]] = {}
    ids = categories_by_id(snapshot)
    for item_id, category in ids.items():
        categories.setdefault(category.casefold(), set()).add(item_id)
    found = []
    for line, row in query_rows(queries, columns=columns, root=root):
        where = f"{queries.name}, line {line}"
        right = {one for one in row.relevant if one in ids}
        for name in row.categories:
            right |= categories.get(name.casefold(), set())
        if not right:
            given = ", ".join([*row.relevant, *row.categories][:3]) or "none given"
            raise SynestheteError(
                f"{where}: none of the right answers is in the catalogue ({given})",
                hint="give ids of items in a column relevant, or a category in a column category",
            )
        if not row.text and row.image is None:
            raise SynestheteError(f"{where}: neither a text nor an image")
        found.append(LabelledQuery(where, row.text or None, row.image, frozenset(right)))
    if not found:
        raise SynestheteError(f"{queries} has no queries")
    return found


def categories_by_id(snapshot: Snapshot) -> dict[str, str]:
    """Category of every item, by its id."""
    found: dict[str, str] = {}
    for batch in snapshot.scan(["id", "category"]):
        found.update(zip(batch["id"].to_pylist(), batch["category"].to_pylist(), strict=True))
    return found
