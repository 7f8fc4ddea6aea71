"""Faceted feature visualization: images optimised for a neuron, and whether they excite it more than real images do."""

from __future__ import annotations

import numpy as np
from PIL import Image

from synesthete._core.intervals import Rate
from synesthete.errors import SynestheteError
from synesthete.probes.decoding import decode
from synesthete.report import svg
from synesthete.reproduction.section import Found, Subject, share
from synesthete.visualization.features import visualize
from synesthete.visualization.settings import STRENGTHS, Settings

EXTREME = 0.999
SHOWN = 12


def faceted_images(subject: Subject) -> Found:
    """For the best neurons, one image without a facet and one for each."""
    import torch

    neurons = (subject.multimodal or subject.neurons)[: subject.settings.visualized]
    addresses = [one.address for one in neurons]
    subject.say(f"optimises images of {len(neurons)} neurons in every facet")
    finished = visualize(subject.atlas, addresses, settings=Settings(strengths=STRENGTHS))
    optimised = finished.visualizations
    if not optimised:
        raise SynestheteError(
            "no image could be optimised", hint="; ".join(finished.failed.values())
        )
    images = [decode(subject.atlas.visualization(one)) for one in optimised]
    pixels = torch.stack([subject.model.preprocess(image) for image in images])
    reduction = str(subject.atlas.manifest["reduction"])
    values = subject.model.read(pixels, [subject.layer], reduction).activations[subject.layer]
    matrix = subject.atlas.activations(subject.layer)
    own: list[bool] = []
    others: list[bool] = []
    for one in neurons:
        column = np.asarray(matrix[:, one.unit], np.float64)
        extreme = np.nanquantile(column, EXTREME)
        for image, row in zip(optimised, np.asarray(values), strict=True):
            (own if image.target == one.address else others).append(bool(row[one.unit] > extreme))
    own += [False] * len(finished.failed)  # one that diverged excites nothing
    hits, mistaken = Rate.of(own), Rate.of(others)
    row = share(
        "visualizations",
        f"optimised images that excite their neuron more than {EXTREME:.1%} of the real images do",
        hits,
        control=mistaken.rate,
        note=f"{len(neurons)} neurons in {len({one.facet for one in optimised})} facets, judged by the model itself; the interval is over images and not over neurons; control: images of the other neurons"
        + ("" if subject.multimodal else ". No neuron is multimodal: of the others"),
    )
    figures = {
        f"{neurons[0].heading or neurons[0].address}, by facet": _strip(
            [
                (image, one.facet)
                for image, one in zip(images, optimised, strict=True)
                if one.target == neurons[0].address
            ][:SHOWN]
        )
    }
    return Found([row], figures)


def _strip(images: list[tuple[Image.Image, str]]) -> str:
    """Images side by side with their facets."""
    size, across = 112.0, 6
    pieces = []
    for place, (image, facet) in enumerate(images):
        x, y = (place % across) * (size + 8), (place // across) * (size + 26)
        pieces.append(svg.embedded_image(x, y, size, svg.data_uri(image), facet))
        pieces.append(svg.text(x, y + size + 14, facet, size=12))
    height = -(-len(images) // across) * (size + 26)
    return str(svg.inline(across * (size + 8), height, "images by facet", pieces))
