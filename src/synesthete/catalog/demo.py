"""The demo catalogue: concepts of the built-in probe set as a shop's items."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator

from synesthete.catalog.types import Item, Picture

PICTURES = 3  # of an item, at most: a photo before drawings, and those before symbols
_ORDER = ("photo", "drawing", "symbol")


def demo_items() -> Iterator[Item]:
    """Every second concept of the probe set `concepts`, with up to three pictures by different artists.

    The family is the category; ways of showing and artists are attributes. Words are left out: a shop has few
    pictures of its products' names.
    """
    from synesthete.probes import load_probes
    from synesthete.probes.decoding import UnreadableImage

    probes = load_probes("concepts")
    rows: dict[str, list[int]] = defaultdict(list)
    labels = probes.labels.select(["concept", "modality", "artist", "family"]).to_pylist()
    for row, label in enumerate(labels):
        if label["modality"] in _ORDER:
            rows[label["concept"]].append(row)
    for concept in sorted(rows)[::2]:
        chosen: list[int] = []
        for row in sorted(rows[concept], key=lambda r: (_ORDER.index(labels[r]["modality"]), r)):
            if len(chosen) < PICTURES and labels[row]["artist"] not in {
                labels[r]["artist"] for r in chosen
            }:
                chosen.append(row)
        pictures: list[Picture] = []
        for row in chosen:
            try:
                stream = io.BytesIO()
                probes.image(row).save(stream, "PNG")
            except UnreadableImage:
                continue
            pictures.append(stream.getvalue())
        first = labels[chosen[0]]
        yield Item(
            concept.replace(" ", "-"),
            title=concept,
            category=first["family"],
            attributes={
                "shown as": tuple(dict.fromkeys(labels[row]["modality"] for row in chosen)),
                "artist": tuple(dict.fromkeys(labels[row]["artist"] for row in chosen)),
            },
            pictures=tuple(pictures),
        )
