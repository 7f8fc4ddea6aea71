"""Design: concept, modality and artist of the probe images, coded as arrays, and their split by artist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from synesthete._core.arrays import Bool, Int64
from synesthete.analysis.splits import ArtistSplit, split_artists
from synesthete.atlas import Atlas
from synesthete.errors import SynestheteError
from synesthete.probes.probe_set import IMAGE_MODALITIES, MODALITIES, NAMELESS, text_rows

REQUIRED_MODALITY = "word"
AT_LEAST = 3  # modalities that must pass, the required one among them
# Of each group one modality must pass: of a layer that reads images, texts, or (joint) both.
REQUIRED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "image": ((REQUIRED_MODALITY,),),
    "text": (NAMELESS,),
    "joint": (IMAGE_MODALITIES, NAMELESS),
}


@dataclass(frozen=True, kw_only=True)
class Design:
    """The labels of the probe images, coded, and their two halves.

    Attributes
    ----------
    concepts
        Names, sorted; code `i` is `concepts[i]`.
    modalities
        Names: those of `synesthete.probes.MODALITIES` first, then others sorted.
    concept, modality
        `[images]` codes.
    artist
        `[images]` codes; every image of an unknown artist has one of its own.
    split
        The two halves of the artists.
    tower
        What the images are: images, texts, or (`joint`) both; it decides which modalities must pass.
    """

    concepts: tuple[str, ...]
    modalities: tuple[str, ...]
    concept: Int64
    modality: Int64
    artist: Int64
    split: ArtistSplit
    tower: str = "image"

    @property
    def needed(self) -> tuple[tuple[int, ...], ...] | None:
        """Groups of codes, of each of which one modality must pass; None where one of them has no image at all."""
        return _groups(self.modalities, self.tower)

    @property
    def required(self) -> int | None:
        """Code of `word`, or None when no image shows a word."""
        names = self.modalities
        return names.index(REQUIRED_MODALITY) if REQUIRED_MODALITY in names else None

    @classmethod
    def of(
        cls,
        concepts: Sequence[str],
        modalities: Sequence[str],
        artists: Sequence[str],
        *,
        at_least: int = 2,
        tower: str = "image",
    ) -> Design:
        """Code the labels of `[images]` and split the artists.

        Parameters
        ----------
        at_least
            How many concepts there must be.
        tower
            See `Design.tower`.

        Raises
        ------
        SynestheteError
            When there are fewer: nothing to tell apart.

        Examples
        --------
        >>> design = Design.of(["dog", "apple"], ["word", "photo"], ["Lato", "anna"])
        >>> design.concepts, design.modalities, design.concept.tolist()
        (('apple', 'dog'), ('photo', 'word'), [1, 0])
        """
        names = tuple(sorted(set(concepts)))
        if len(names) < at_least:
            raise _too_few(names)
        present = set(modalities)
        kinds = tuple(m for m in MODALITIES if m in present)
        kinds += tuple(sorted(present - set(MODALITIES)))
        concept = _codes(concepts, names)
        modality = _codes(modalities, kinds)
        split = split_artists(
            concept,
            modality,
            artists,
            (len(kinds), len(names)),
            required=_groups(kinds, tower),
            at_least=AT_LEAST,
        )
        known = [name or f"\0image {i}" for i, name in enumerate(artists)]
        return cls(
            concepts=names,
            modalities=kinds,
            concept=concept,
            modality=modality,
            artist=np.unique(known, return_inverse=True)[1].astype(np.int64),
            split=split,
            tower=tower,
        )

    def images(self, modality: int, *, scoring: bool | None = None) -> Int64:
        """Image numbers of one modality, of one half or (None) of both."""
        chosen = self.modality == modality
        if scoring is not None:
            chosen &= self.split.scoring == scoring
        return np.flatnonzero(chosen)

    def scored_on(self, scoring: Bool) -> Design:
        """The same labels with other halves: concepts are scored on these images, and chosen on the others.

        Parameters
        ----------
        scoring
            `[images]`.
        """
        count = np.zeros((2, len(self.modalities), len(self.concepts)), np.int64)
        there = self.modality >= 0
        np.add.at(
            count, (scoring[there].astype(np.int64), self.modality[there], self.concept[there]), 1
        )
        testable = np.asarray((count > 0).all(axis=0))
        eligible = testable.sum(axis=0) >= AT_LEAST
        eligible &= self.needed is not None
        for group in self.needed or ():
            eligible &= testable[list(group)].any(axis=0)
        split = replace(self.split, scoring=scoring, testable=testable, eligible=eligible)
        return replace(self, split=split)

    def only(self, kept: Bool) -> Design:
        """The same labels and halves without the other images, which then have no modality (-1) and are of neither half.

        Parameters
        ----------
        kept
            `[images]`.
        """
        fewer = replace(self, modality=np.where(kept, self.modality, -1))
        return fewer.scored_on(self.split.scoring & kept)

    def artists(self, codes: Int64) -> Int64:
        """How many artists show each concept on the scoring half, `[modalities, concepts]`.

        Parameters
        ----------
        codes
            Concept codes `[images]`, the design's own or permuted.
        """
        rows = np.flatnonzero(self.split.scoring)
        shown = np.unique(np.stack([self.modality[rows], codes[rows], self.artist[rows]]), axis=1)
        count = np.zeros((len(self.modalities), len(self.concepts)), np.int64)
        np.add.at(count, (shown[0], shown[1]), 1)
        return count

    @property
    def comparable(self) -> Bool:
        """`[modalities, concepts]`: testable, and in both halves there are images of other concepts."""
        fine = self.split.testable.copy()
        for m in range(len(self.modalities)):
            for scoring in (False, True):
                codes = self.concept[self.images(m, scoring=scoring)]
                fine[m] &= np.bincount(codes, minlength=len(self.concepts)) < len(codes)
        return fine

    @property
    def candidates(self) -> Int64:
        """Codes of the concepts that a unit may be given.

        The eligible ones; where none is eligible, all that are comparable in some modality.
        """
        if self.problem() is None:
            return np.flatnonzero(self.split.eligible)
        return np.flatnonzero(self.comparable.any(axis=0))

    def require_testable(self) -> None:
        """Refuse probes on which no unit could be called multimodal, saying what is missing.

        Raises
        ------
        SynestheteError
            When no concept is eligible.
        """
        problem = self.problem()
        if problem is not None:
            raise problem

    def problem(self) -> SynestheteError | None:
        """Why no unit can be called multimodal on these images, and what to add; None when that can be tested."""
        if len(self.concepts) < 2:
            return _too_few(self.concepts)
        if self.split.eligible.any():
            return None
        found = ", ".join(self.modalities)
        if self.tower != "image" and self.needed is None:
            wanted = " and of ".join(" or ".join(group) for group in REQUIRED[self.tower])
            return SynestheteError(
                f"multimodality of what reads texts needs some of {wanted}; the probe images are: {found}",
                hint="add texts of the same concepts that do not name them",
            )
        if self.needed is None:
            return SynestheteError(
                f"multimodality needs written words; the probe images are: {found}",
                hint="record with --words, which draws what the shipped fonts can write, or add images of modality 'word'",
            )
        if len(self.modalities) < AT_LEAST:
            return SynestheteError(
                f"multimodality needs {AT_LEAST} modalities; the probe images are: {found}",
                hint="add drawings, symbols, photos or words of the same concepts",
            )
        per_modality = ", ".join(
            f"{name} {int(count)}"
            for name, count in zip(self.modalities, self.split.testable.sum(axis=1), strict=True)
        )
        return SynestheteError(
            f"no concept is shown in {AT_LEAST} modalities by two or more artists each "
            f"(concepts with both halves: {per_modality})",
            hint="concepts are chosen on one half of the artists and scored on the other",
        )


def readable_rows(atlas: Atlas, tower: str = "image") -> Int64:
    """Numbers of the images that could be read; of the texts for `"text"`, of both for `"joint"`."""
    fine = np.array(atlas.probes["status"].to_pylist()) == "ok"
    return np.flatnonzero(fine & of_tower(atlas, tower))


def labelled_rows(atlas: Atlas, tower: str = "image") -> Int64:
    """Numbers of the readable images (or texts, or both) that have a concept and a modality."""
    columns = [atlas.probes[key].to_pylist() for key in ("status", "concept", "modality")]
    labelled = [s == "ok" and bool(c) and bool(m) for s, c, m in zip(*columns, strict=True)]
    return np.flatnonzero(np.array(labelled, np.bool_) & of_tower(atlas, tower))


def of_tower(atlas: Atlas, tower: str) -> Bool:
    """Which rows of an atlas are images, texts, or either."""
    of_text = text_rows(atlas.probes)
    return {"image": ~of_text, "text": of_text}.get(tower, np.ones_like(of_text))


def tower_of(atlas: Atlas, layer: str) -> str:
    """What a layer of an atlas answers to: `image`, `text` or `joint`."""
    return str(atlas.layer(layer).get("tower", "image"))


def image_layer(atlas: Atlas, layer: str | None) -> str:
    """A layer of an atlas that answers to images; without a name its main one.

    Raises
    ------
    SynestheteError
        No such layer, or it reads texts only.
    """
    name = atlas.main_layers[0] if layer is None else str(atlas.layer(layer)["name"])
    if tower_of(atlas, name) == "text":
        raise SynestheteError(f"{name} of {atlas.path} reads texts, and this is about images")
    return name


def design_of(atlas: Atlas, rows: Int64, tower: str, *, at_least: int = 2) -> Design:
    """The design of some labelled images or texts of an atlas; parameters and errors as for `Design.of`."""
    labels = atlas.probes.take(pa.array(rows))
    columns = (labels[key].to_pylist() for key in ("concept", "modality", "artist"))
    return Design.of(*columns, at_least=at_least, tower=tower)


def labelled_design(atlas: Atlas, *, purpose: str, tower: str = "image") -> tuple[Int64, Design]:
    """Numbers of the labelled images of an atlas, and their design.

    Parameters
    ----------
    tower
        Of which rows: images, texts, or (`joint`) both.
    purpose
        For messages: what is chosen or fitted on some artists and tested on others.

    Raises
    ------
    SynestheteError
        No labelled images, a single concept, or a single artist.
    """
    rows = labelled_rows(atlas, tower)
    if not rows.size:
        raise SynestheteError(
            f"the images of {atlas.path} have no concept and modality",
            hint=f"{purpose} are tested on held-out artists; record a labelled probe set",
        )
    design = design_of(atlas, rows, tower)
    if design.split.scoring.all() or not design.split.scoring.any():
        raise SynestheteError(
            "all probe images are by one artist",
            hint=f"{purpose} are tested on held-out artists: two or more are needed",
        )
    return rows, design


def shuffled(design: Design, seed: int) -> Int64:
    """Concept codes permuted within each modality and half: the shuffled-labels control.

    Every concept keeps its number of images in every modality and half, so the same concepts are eligible
    and the same laws apply.

    Returns
    -------
    array `[images]`
    """
    codes = design.concept.copy()
    for modality in range(len(design.modalities)):
        for scoring in (False, True):
            rows = design.images(modality, scoring=scoring)
            generator = np.random.default_rng([seed, modality, int(scoring)])
            codes[rows] = design.concept[generator.permutation(rows)]
    return codes


def _too_few(names: Sequence[str]) -> SynestheteError:
    if any(names):
        shown, hint = f"only {names[0]!r}", "selectivity compares at least two concepts"
    else:
        shown, hint = (
            "no named concept",
            "name them: FOLDER/CONCEPT/IMAGE, a metadata.csv, or `synesthete look FOLDER`",
        )
    return SynestheteError(f"the probe images show {shown}", hint=hint)


def _groups(modalities: Sequence[str], tower: str) -> tuple[tuple[int, ...], ...] | None:
    groups = []
    for names in REQUIRED[tower]:
        if not (codes := tuple(i for i, name in enumerate(modalities) if name in names)):
            return None
        groups.append(codes)
    return tuple(groups)


def _codes(labels: Sequence[str], names: tuple[str, ...]) -> Int64:
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[label] for label in labels], np.int64)
