"""The REST API: what it offers of items and of what is found among them."""

from __future__ import annotations

import bisect
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from synesthete import __version__
from synesthete.catalog.classify import make_record
from synesthete.catalog.people import policy_of
from synesthete.catalog.schema import Suggestion, Written
from synesthete.errors import SynestheteError
from synesthete.server.errors import ERRORS, Missing
from synesthete.server.shop import answers, bodies
from synesthete.server.shop.door import Caller, may
from synesthete.server.shop.offering import (
    PREFIX,
    ApiRoute,
    IdempotencyKey,
    offers,
    once,
    shop_of,
    told,
)

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)
offer = offers(router)


@offer("/health", answers.Health, tag="items")
def health(request: Request, caller: Annotated[Caller, may("read")]) -> Response:
    """Say that it works, how many items there are, and by which model."""
    shop = shop_of(request)
    model = str(shop.catalog.manifest["model"]["name"])
    return told(request, answers.Health(True, shop.name, len(shop.catalog), model, __version__))


@offer("/items", answers.ItemPage, tag="items")
def list_items(
    request: Request,
    caller: Annotated[Caller, may("read")],
    after: Annotated[str, Query(max_length=500, description="Items after this id.")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List items, a page at a time, by id."""
    catalog = shop_of(request).catalog
    snapshot = catalog.snapshot()
    first = bisect.bisect_right(snapshot.ids, after)
    ids = snapshot.ids[first : first + limit]
    page = [_facts(item) for item in snapshot.items([snapshot.row(one) for one in ids])]
    following = ids[-1] if first + limit < len(snapshot) else None
    return told(request, answers.ItemPage(page, following, len(snapshot)))


@offer("/item", answers.ItemFacts, tag="items")
def get_item(
    request: Request,
    caller: Annotated[Caller, may("read")],
    item: Annotated[str, Query(alias="id", min_length=1, max_length=500)],
) -> Response:
    """Tell one item."""
    catalog = shop_of(request).catalog
    if item not in catalog:
        raise Missing(f"there is no item {item[:80]!r}")
    return told(request, _facts(next(iter(catalog.items([item])))))


@router.get(
    "/item/picture", tags=["items"], operation_id="get_picture", response_class=Response,
    responses={200: {"content": {"image/webp": {}}}, **ERRORS}, summary="Show an item's first picture",
)  # fmt: skip
def get_picture(
    request: Request,
    caller: Annotated[Caller, may("read")],
    item: Annotated[str, Query(alias="id", min_length=1, max_length=500)],
) -> Response:
    """Show an item's first picture, small (WebP)."""
    catalog = shop_of(request).catalog
    data = catalog.thumbnail(item) if item in catalog else None
    if data is None:
        raise Missing(f"there is no picture of an item {item[:80]!r}")
    return Response(
        data, media_type="image/webp", headers={"Cache-Control": "private, max-age=300"}
    )


@offer("/items", Written, methods="POST", tag="items")
def upsert_items(
    request: Request,
    caller: Annotated[Caller, may("write")],
    body: bodies.Upsert,
    key: IdempotencyKey = None,
) -> Response:
    """Add items, or put them in the place of those with their ids."""
    shop = shop_of(request)
    return once(
        request, caller, key, body, lambda: shop.catalog.upsert(one.item() for one in body.items)
    )


@offer("/items/delete", Written, methods="POST", tag="items")
def delete_items(
    request: Request,
    caller: Annotated[Caller, may("write")],
    body: bodies.Delete,
    key: IdempotencyKey = None,
) -> Response:
    """Take items out; ids that are not there are passed over."""
    shop = shop_of(request)
    return once(request, caller, key, body, lambda: shop.catalog.delete(body.ids))


@offer("/quarantine", answers.Quarantine, tag="items")
def list_quarantine(request: Request, caller: Annotated[Caller, may("write")]) -> Response:
    """List what could not be used, with the reasons."""
    found = shop_of(request).catalog.quarantine()
    rows = [{"id": one.id, "what": one.what, "reason": one.reason} for one in found[:1000]]
    return told(request, answers.Quarantine(rows))


@offer("/search", answers.Hits, methods="POST", tag="find")
def search(
    request: Request, caller: Annotated[Caller, may("read")], body: bodies.Search
) -> Response:
    """Find items for a text, a picture or both, away from what is not wanted."""
    found = shop_of(request).catalog.search(
        body.text, bodies.picture_of(body.picture), without=body.without, where=body.where, limit=body.limit,
        cut=body.cut, only_relevant=body.only_relevant, group=body.group, reasons=body.reasons,
    )  # fmt: skip
    return told(request, answers.Hits(list(found)))


@offer("/recommend", answers.Hits, methods="POST", tag="find")
def recommend(
    request: Request, caller: Annotated[Caller, may("read")], body: bodies.Recommend
) -> Response:
    """Recommend items for a taste."""
    found = shop_of(request).catalog.recommend(
        [one.signal() for one in body.signals], mute=body.mute, where=body.where, limit=body.limit,
        diversity=body.diversity, half_life_days=body.half_life_days, cut=body.cut, reasons=body.reasons,
    )  # fmt: skip
    return told(request, answers.Hits(list(found)))


@offer("/align", answers.Alignments, methods="POST", tag="find")
def align(request: Request, caller: Annotated[Caller, may("read")], body: bodies.Align) -> Response:
    """Hold every copy against every picture."""
    pictures = [data for data in map(bodies.picture_of, body.pictures) if data]
    if not pictures:
        raise SynestheteError("no picture to hold the copies against")
    found = shop_of(request).catalog.align(body.copies, pictures, reasons=body.reasons)
    return told(request, answers.Alignments(list(found)))


@offer("/suggest", Suggestion, methods="POST", tag="find")
def suggest(
    request: Request, caller: Annotated[Caller, may("read")], body: bodies.Suggest
) -> Response:
    """Answer a picture with a brief description by suggestions, or pass the case on to people.

    Below the threshold that people set for `suggest` it abstains, and `ticket` is the case in the queue.
    """
    shop = shop_of(request)
    threshold = policy_of(shop.queue.trail, "suggest").threshold
    found = shop.catalog.suggest(
        bodies.picture_of(body.picture),
        body.brief,
        limit=body.limit,
        threshold=threshold,
        queue=shop.queue,
    )
    return told(request, found)


@offer("/classify", answers.Judgements, methods="POST", tag="find")
def classify(
    request: Request, caller: Annotated[Caller, may("read")], body: bodies.Classify
) -> Response:
    """Judge records of picture and text; those it is not sure of go to people."""
    shop = shop_of(request)
    classifier = shop.classifier(body.classifier)
    records = [
        make_record(bodies.picture_of(one.picture), one.text, row=row)
        for row, one in enumerate(body.records, start=1)
    ]
    policy = policy_of(shop.queue.trail, "classify")
    # Where nobody set one, the classifier's own promise decides.
    found = classifier.judge(
        records,
        queue=shop.queue,
        policy=policy if policy.set_by != "machine" else None,
        reasons=body.reasons,
    )
    return told(request, answers.Judgements(found))


def _facts(item: Any) -> answers.ItemFacts:
    return answers.ItemFacts(**item.as_dict())
