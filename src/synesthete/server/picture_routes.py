"""Pictures by opaque id, and a neuron's strongest images as one picture."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from fastapi import APIRouter, Request
from starlette.responses import Response

from synesthete.errors import SynestheteError
from synesthete.report.images import Picture, made_rows, strongest
from synesthete.report.source import find_unit
from synesthete.server.errors import ERRORS, Missing
from synesthete.server.library import Site
from synesthete.server.page import PREFIXES, Here, operation_id
from synesthete.server.reports import example

router = APIRouter()


def tile(site: Site, key: str) -> Picture:
    """The thumbnail of an image, by its opaque id."""
    number = site.opened.ids.number(key)
    if number is None or not site.opened.probes.readable[number]:
        raise Missing("there is no such image")
    return site.opened.pictures.tile(number)


def mosaic(site: Site, address: str) -> Picture:
    """A neuron's strongest image of its own concept in each modality; of all where it has no concept."""
    columns, unit = find_unit(site, address)
    kept = site.atlas.exemplars(columns.layer)
    chosen: list[int | None] = []
    for name in columns.modalities:
        own = strongest(site, columns, unit, name)
        if own is None and not columns.concept[unit] and name in kept.groups:
            own = next((int(i) for i in kept.top(unit, name).ids.tolist()), None)
        chosen.append(own)
    return site.opened.pictures.mosaic(chosen)


def made_file(site: Site, address: str, name: str) -> Picture:
    """The file of an image that was made of a neuron, by its neuron and name."""
    columns, unit = find_unit(site, address)
    for row in made_rows(site, columns.layer).get(unit, []):
        if PurePosixPath(row.file).stem == name:
            try:
                return Picture(site.atlas.visualization(row), f'"{row.sha256[:24]}"')
            except SynestheteError as error:
                raise Missing(str(error)) from error
    raise Missing(f"no picture {name!r} was made of {address}")


def image_of(request: Request, site: Here, key: str) -> Response:
    """The thumbnail of an image (WebP), by its opaque id."""
    return _answer(request, tile(site, key))


def mosaic_of(request: Request, site: Here, address: str) -> Response:
    """A neuron's strongest image in each modality (WebP)."""
    return _answer(request, mosaic(site, address))


def made_of(request: Request, site: Here, address: str, name: str) -> Response:
    """A picture that was made of a neuron (WebP), by what it was steered towards."""
    return _answer(request, made_file(site, address, name))


def example_of(request: Request, site: Here, name: str, number: int) -> Response:
    """An example picture of an audit report (WebP)."""
    data = example(site, name, number)
    return _answer(request, Picture(data, f'"{hashlib.blake2b(data, digest_size=12).hexdigest()}"'))


def _answer(request: Request, picture: Picture) -> Response:
    headers = {"ETag": picture.etag, "Cache-Control": "private, max-age=86400"}
    if picture.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(picture.data, media_type="image/webp", headers=headers)


for prefix, dependencies in PREFIXES:
    for path, endpoint, name in (
        ("/image/{key}.webp", image_of, "thumbnail"),
        ("/neuron/{address:path}.webp", mosaic_of, "mosaic"),
        ("/visualization/{address:path}/{name}.webp", made_of, "made picture"),
        ("/audits/{name}/{number}.webp", example_of, "audit example"),
    ):
        router.add_api_route(
            f"{prefix}{path}", endpoint, response_class=Response, dependencies=dependencies,
            operation_id=operation_id(name, prefix), responses={200: {"content": {"image/webp": {}}}, **ERRORS},
        )  # fmt: skip
