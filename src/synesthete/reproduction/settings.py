"""How much of the article is measured."""

from __future__ import annotations

from dataclasses import dataclass

from synesthete.errors import SynestheteError

LEAST = {"words": 20, "images": 30, "visualized": 1, "crops": 1}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How much is measured.

    Attributes
    ----------
    layer : L
        The layer to read; without it the model's last block.
    words : N
        Of the commonest English words so many are drawn, beside the names of concepts, countries, cities and emotions; as many as the article draws.
    images : N
        Images that are attacked; the article attacks 1,000.
    visualized : N
        Neurons that images are optimised for, in every facet.
    crops : N
        Crops of the world map.
    seed
        Of what is drawn at random.
    """

    layer: str | None = None
    words: int = 10_000
    images: int = 150
    visualized: int = 2
    crops: int = 600
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise SynestheteError(f"{name} is {getattr(self, name)}, expected at least {least}")
