"""The images that an atlas was made of, as they were, where they come with the package."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.atlas import Atlas
    from synesthete.probes import ProbeSet


def can_show(atlas: Atlas) -> bool:
    """Whether the atlas was made of a built-in probe set; of others it keeps thumbnails alone."""
    from synesthete.probes.builtin import BUILTINS

    return atlas.manifest["probes"]["name"] in BUILTINS


def own_image(atlas: Atlas, number: int) -> Image.Image:
    """An image of the probe set, in full.

    Raises
    ------
    SynestheteError
        When the atlas was made of other images than are at hand.
    """
    told = atlas.manifest["probes"]
    if not can_show(atlas):
        raise SynestheteError(
            "the atlas keeps no more than thumbnails of its images", hint="send the picture itself"
        )
    probes = _loaded(str(told["name"]))
    if probes.fingerprint != told["fingerprint"]:
        raise SynestheteError(
            f"the atlas was made of another version of {told['name']}", hint="record it again"
        )
    return probes.image(number)


@lru_cache(maxsize=1)
def _loaded(name: str) -> ProbeSet:
    from synesthete.probes import load_probes

    return load_probes(name)
