"""Pages to try each part of a catalogue by hand; they are the owner's, and do what the API does."""

from __future__ import annotations

import bisect
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from synesthete.catalog.classify import make_record
from synesthete.catalog.people import policy_of
from synesthete.catalog.schema import Side, Signal
from synesthete.errors import SynestheteError
from synesthete.server.auth import check_form
from synesthete.server.errors import Missing
from synesthete.server.shop.paper import Owned, Picture, Short, Text, page, sent
from synesthete.server.shop.shop import CLASSIFIERS, Shop

SIZE = 48
BLANK = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path d="M0 0h8v8H0z" fill="#efede8"/></svg>'
router = APIRouter(include_in_schema=False)


@router.get("/")
def home(
    request: Request, shop: Owned, after: Annotated[str, Query(max_length=500)] = ""
) -> Response:
    """All items, a page at a time."""
    snapshot = shop.catalog.snapshot()
    first = bisect.bisect_right(snapshot.ids, after)
    ids = snapshot.ids[first : first + SIZE]
    following = ids[-1] if first + SIZE < len(snapshot) else ""
    items = list(snapshot.items([snapshot.row(one) for one in ids]))
    waiting = len(shop.queue.cases(waiting=True))
    model = shop.catalog.manifest["model"]["name"]
    return page(
        request, shop, "home", items=items, total=len(snapshot), following=following, waiting=waiting, model=model,
        aside=len(shop.catalog.quarantine()),
    )  # fmt: skip


@router.get("/picture")
def picture_of_item(
    shop: Owned, item: Annotated[str, Query(alias="id", max_length=500)]
) -> Response:
    """An item's first picture, or a blank one."""
    data = shop.catalog.thumbnail(item) if item in shop.catalog else None
    headers = {"Cache-Control": "private, max-age=300"}
    if data is None:
        return Response(BLANK, media_type="image/svg+xml", headers=headers)
    return Response(data, media_type="image/webp", headers=headers)


@router.get("/item")
def item_page(
    request: Request, shop: Owned, item: Annotated[str, Query(alias="id", max_length=500)]
) -> Response:
    """One item, and what is like it."""
    if item not in shop.catalog:
        raise Missing(f"there is no item {item[:80]!r}")
    found = next(iter(shop.catalog.items([item])))
    like = shop.catalog.recommend([Signal(item=item)], limit=6, diversity=0.0)
    return page(request, shop, "item", item=found, like=like)


@router.get("/search")
def search_page(request: Request, shop: Owned) -> Response:
    """The form."""
    given = {"text": "", "without": "", "where": ""}
    return page(request, shop, "search", found=None, given=given)


@router.post("/search")
def search(
    request: Request, shop: Owned, csrf: Short = "", text: Text = "", without: Text = "", where: Text = "",
    picture: Picture = None,
) -> Response:  # fmt: skip
    """What was found."""
    check_form(request, csrf)
    given = {"text": text, "without": without, "where": where}
    found = shop.catalog.search(
        text.strip() or None, sent(picture), without=_parts(without), where=_parts(where), limit=24
    )
    return page(request, shop, "search", found=found, given=given)


@router.get("/recommend")
def recommend_page(request: Request, shop: Owned) -> Response:
    """The form."""
    given = {"likes": "", "dislikes": "", "mute": ""}
    return page(request, shop, "recommend", found=None, given=given)


@router.post("/recommend")
def recommend(
    request: Request, shop: Owned, csrf: Short = "", likes: Text = "", dislikes: Text = "", mute: Text = "",
    picture: Picture = None,
) -> Response:  # fmt: skip
    """What was recommended; a line that is an item's id means the item."""
    check_form(request, csrf)
    told: tuple[tuple[Side, str], ...] = (("like", likes), ("dislike", dislikes))
    signals = [
        Signal(side, item=line) if line in shop.catalog else Signal(side, text=line)
        for side, lines in told
        for line in _lines(lines)
    ]
    data = sent(picture)
    if data:
        signals.append(Signal(image=data))
    given = {"likes": likes, "dislikes": dislikes, "mute": mute}
    found = shop.catalog.recommend(signals, mute=_parts(mute), limit=24)
    return page(request, shop, "recommend", found=found, given=given)


@router.get("/align")
def align_page(request: Request, shop: Owned) -> Response:
    """The form."""
    return page(request, shop, "align", found=None, given={"copies": ""})


@router.post("/align")
def align(
    request: Request, shop: Owned, csrf: Short = "", copies: Text = "", picture: Picture = None
) -> Response:
    """Each copy against the picture."""
    check_form(request, csrf)
    data = sent(picture)
    if data is None:
        raise SynestheteError("there is no picture to hold the copies against", hint="choose one")
    found = shop.catalog.align(_lines(copies)[:20], [data])
    return page(request, shop, "align", found=found, given={"copies": copies})


@router.get("/suggest")
def suggest_page(request: Request, shop: Owned) -> Response:
    """The form."""
    threshold = policy_of(shop.queue.trail, "suggest").threshold
    return page(request, shop, "suggest", found=None, given={"brief": ""}, threshold=threshold)


@router.post("/suggest")
def suggest(
    request: Request, shop: Owned, csrf: Short = "", brief: Text = "", picture: Picture = None
) -> Response:
    """What was suggested."""
    check_form(request, csrf)
    threshold = policy_of(shop.queue.trail, "suggest").threshold
    found = shop.catalog.suggest(
        sent(picture), brief.strip() or None, threshold=threshold, queue=shop.queue
    )
    return page(
        request, shop, "suggest", found=found.as_dict(), given={"brief": brief}, threshold=threshold
    )


@router.get("/classify")
def classify_page(request: Request, shop: Owned) -> Response:
    """The form."""
    return _classify(request, shop, None, "")


@router.post("/classify")
def classify(
    request: Request,
    shop: Owned,
    csrf: Short = "",
    classifier: Short = "",
    text: Text = "",
    picture: Picture = None,
) -> Response:
    """A record judged. Nothing of it stands on the page that answers."""
    check_form(request, csrf)
    policy = policy_of(shop.queue.trail, "classify")
    (found,) = shop.classifier(classifier).judge(
        [make_record(sent(picture), text)],
        queue=shop.queue,
        policy=policy if policy.set_by != "machine" else None,
    )
    return _classify(request, shop, found, classifier)


def _classify(request: Request, shop: Shop, found: Any, name: str) -> Response:
    folder = shop.path.name + "/" + CLASSIFIERS
    return page(
        request,
        shop,
        "classify",
        found=found,
        names=shop.classifiers,
        given={"classifier": name},
        folder=folder,
    )


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]
