"""The images that an atlas was recorded from, or a refusal."""

from __future__ import annotations

from pathlib import Path

from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError
from synesthete.probes import ProbeSet, load_probes, with_words


def own_probes(atlas: Atlas, spec: str | Path | None = None) -> ProbeSet:
    """Open the probe set of an atlas.

    Parameters
    ----------
    spec
        Where it is, as for `load_probes`; by default what the atlas calls it. If the atlas has more images, the
        words are drawn that `record` adds.

    Raises
    ------
    SynestheteError
        When it cannot be opened, or its images are others than those that were recorded.
    """
    described = atlas.manifest["probes"]
    try:
        probes = load_probes(described["name"] if spec is None else spec)
    except SynestheteError as error:
        if spec is not None:
            raise
        raise SynestheteError(
            f"the probe set {described['name']!r} of {atlas.path} was not found",
            hint="say where it is: --probes FOLDER",
        ) from error
    if len(probes) < described["images"]:
        probes = with_words(probes)
    if probes.fingerprint != described["fingerprint"]:
        raise SynestheteError(
            f"{probes.name} has other images than {atlas.path} was recorded from",
            hint="give the very set that was recorded",
        )
    return probes
