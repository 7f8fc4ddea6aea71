"""Items of the demo catalogue, out of the built-in probe set."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator

from synesthete.catalog.schema import ImageSource, Item

DEMO_IMAGES = 3  # of an item, at most: a photo before drawings, and those before symbols
_DEMO_MODALITIES = ("photo", "drawing", "symbol")


def demo_items() -> Iterator[Item]:
    """Every second concept of the probe set `concepts`, with up to three images by different artists.

    The family is the category; ways of showing and artists are attributes. Words are left out: a catalogue has few
    images of its products' names.
    """
    from synesthete.probes import load_probes
    from synesthete.probes.decoding import UnreadableImage

    probes = load_probes("concepts", texts=False)
    rows: dict[str, list[int]] = defaultdict(list)
    labels = probes.labels.select(["concept", "modality", "artist", "family"]).to_pylist()
    for row, label in enumerate(labels):
        if label["modality"] in _DEMO_MODALITIES:
            rows[label["concept"]].append(row)
    for concept in sorted(rows)[::2]:
        chosen: list[int] = []
        for row in sorted(
            rows[concept], key=lambda r: (_DEMO_MODALITIES.index(labels[r]["modality"]), r)
        ):
            if len(chosen) < DEMO_IMAGES and labels[row]["artist"] not in {
                labels[r]["artist"] for r in chosen
            }:
                chosen.append(row)
        images: list[ImageSource] = []
        for row in chosen:
            try:
                stream = io.BytesIO()
                probes.image(row).save(stream, "PNG")
            except UnreadableImage:
                continue
            images.append(stream.getvalue())
        first = labels[chosen[0]]
        yield Item(
            concept.replace(" ", "-"),
            title=concept,
            category=first["family"],
            attributes={
                "shown as": tuple(dict.fromkeys(labels[row]["modality"] for row in chosen)),
                "artist": tuple(dict.fromkeys(labels[row]["artist"] for row in chosen)),
            },
            images=tuple(images),
        )
