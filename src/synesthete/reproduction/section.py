"""A section of the report: what it measures, in rows that all have the same columns, with the published value and a control."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete._core.arrays import Bool, Float32, Int64
from synesthete._core.intervals import Rate, bootstrap_interval, wilson_interval
from synesthete._core.user_files import read_file
from synesthete.analysis.decomposition.fit import EMOTIONS
from synesthete.analysis.design import image_layer
from synesthete.analysis.provenance import own_model
from synesthete.analysis.rendered_words import font_of, read_words, undrawable
from synesthete.analysis.vocabulary import ENGLISH, load_vocabulary
from synesthete.atlas import Atlas, Neuron
from synesthete.atlas.arrays import npz_bytes, read_npz
from synesthete.atlas.files import write_file
from synesthete.published import LAYER, MODELS, PRE, world
from synesthete.reproduction.settings import Settings

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel
    from synesthete.recording.executors import Executor

Say = Callable[[str], None]
UNMEASURED = "not measured"
# Words of the article's figure of associations.
ASSOCIATED = ("terrorist", "muslims")
# Pairs for word arithmetic: its example, king - man + woman = queen, with others like it; and pairs that differ in spelling alone.
PAIRS = {
    "meaning": (
        ("man", "woman"), ("king", "queen"), ("boy", "girl"), ("father", "mother"), ("son", "daughter"), ("brother", "sister"),
        ("husband", "wife"), ("uncle", "aunt"), ("prince", "princess"), ("actor", "actress"),
    ),
    "spelling": (
        ("car", "cars"), ("dog", "dogs"), ("house", "houses"), ("book", "books"), ("hand", "hands"), ("tree", "trees"),
        ("game", "games"), ("school", "schools"), ("eye", "eyes"), ("king", "kings"),
    ),
}  # fmt: skip
PERMUTATIONS = 200
DRAWS = 1000
CAPITALISED = 200


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number.

    Attributes
    ----------
    section, measure
        Whose, and what is measured.
    n
        On how many; of what, `note` or `measure` says.
    value, interval
        Ours with its 95 % interval, or the range that `note` names; None where nothing could be measured, and `note` says why.
    published
        The article's, of RN50x4 on its own images; None where it has none.
    control
        The same number where there is nothing to find; None where `note` says why there is none.
    note
        What must be known to read it.
    """

    section: str
    measure: str
    n: int
    value: float | None
    interval: tuple[float, float] | None = None
    published: float | None = None
    control: float | None = None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As JSON can write it."""
        return asdict(self)


@dataclass(frozen=True)
class Found:
    """What a section found.

    Attributes
    ----------
    rows
        Its numbers.
    figures
        Title → inline SVG.
    lines
        Sentences of what was seen: examples that belong to the numbers.
    """

    rows: Sequence[Row]
    figures: dict[str, str] = field(default_factory=dict)
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Words:
    """Drawn words and what a layer answers to them, before its non-linearity.

    Attributes
    ----------
    words
        In the order of the rows.
    activations, embeddings
        `[words, units]` and `[words, dim]`.
    english
        `[words]`, those of the list of English words.
    capitalised
        `[words]`, other English words with a capital, as names have it.
    font
        That they are drawn in.
    """

    words: list[str]
    activations: Float32
    embeddings: Float32
    english: Bool
    capitalised: Bool
    font: str

    def rows(self, names: Sequence[str]) -> Int64:
        """Row numbers of words that were drawn; -1 for others."""
        place = {word: i for i, word in enumerate(self.words)}
        return np.array([place.get(name, -1) for name in names], np.int64)


def counted(say: Say, what: str) -> Callable[..., None]:
    """Says how far something is."""
    return lambda done, total, *speed: say(f"{what}: {done:,} of {total:,}")


class Subject:
    """What every section looks at: an analysed atlas, the layer that is read, and what is computed once for several sections."""

    def __init__(
        self,
        atlas: Atlas,
        folder: Path,
        settings: Settings,
        say: Say,
        executor: Executor | None = None,
    ) -> None:
        self.atlas, self.folder, self.settings, self.say = atlas, folder, settings, say
        self.executor = executor
        self.layer = image_layer(atlas, settings.layer or self._last_block(atlas))

    @staticmethod
    def _last_block(atlas: Atlas) -> str | None:
        """The model's last block, of an atlas that has it among other layers of images."""
        if len(atlas.main_layers) == 1:
            return None
        last = own_model(atlas).default_layers[0]
        return last if last in atlas.layers else None

    @property
    def seed(self) -> int:
        """Of what is drawn at random."""
        return self.settings.seed

    @property
    def is_published(self) -> bool:
        """Whether this is the very layer of the very model of the article, whose units have its numbers."""
        named = str(self.atlas.manifest["model"]["name"])
        return named in MODELS and self.layer.removesuffix(PRE) == LAYER

    @property
    def before_relu(self) -> str:
        """The layer as it is before its non-linearity, where that was recorded: there an activation can be negative, as in the article."""
        before = f"{self.layer}{PRE}"
        return before if before in self.atlas.layers else self.layer

    @property
    def readable(self) -> str:
        """The layer before its non-linearity, where the model has that: what is shown to the model for a section is read there, as in the article."""
        before = f"{self.layer}{PRE}"
        return before if any(one.name == before for one in self.model.layers()) else self.layer

    @cached_property
    def model(self) -> ImageTextModel:
        """The atlas's model."""
        return own_model(self.atlas)

    @cached_property
    def neurons(self) -> list[Neuron]:
        """Living units of the layer, the most certain first."""
        alive = [one for one in self.atlas.neurons(self.layer) if not one.dead]
        return sorted(alive, key=lambda one: (-np.nan_to_num(one.lower, nan=-1.0), one.unit))

    @cached_property
    def multimodal(self) -> list[Neuron]:
        """Those that are multimodal, the most certain first."""
        return [one for one in self.neurons if one.multimodal]

    @cached_property
    def words(self) -> Words:
        """What the layer answers to drawn words; kept in the folder, so that a second section or run reads it."""
        vocabulary = load_vocabulary(ENGLISH)
        english = vocabulary[: self.settings.words]
        # Of the length of names of places; not of the commonest, which are short.
        names = [one.title() for one in vocabulary if len(one) >= 4 and not world().has(one)]
        drawn = np.random.default_rng(0).choice(len(names), CAPITALISED, replace=False)
        capitals = [names[i] for i in np.sort(drawn)]
        listed = dict.fromkeys(
            [
                *english,
                *ASSOCIATED,
                *(word for pairs in PAIRS.values() for pair in pairs for word in pair),
                *self.atlas.concepts,
                *world().places,
                *EMOTIONS,
                *capitals,
            ]
        )
        font = font_of(None)
        words = [one for one in listed if not undrawable(one, font)]
        key = hashlib.sha256(
            "\n".join([self.atlas.fingerprint, self.readable, font.family, *words]).encode()
        ).hexdigest()
        path = self.folder / "words" / f"{key[:16]}.npz"
        if not path.exists():
            progress = counted(self.say, "draws words")
            activations, embeddings = read_words(
                self.model,
                self.atlas,
                words,
                font,
                progress,
                layers=[self.readable],
                executor=self.executor,
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            found = {"activations": activations[self.readable], "embeddings": embeddings}
            write_file(path, npz_bytes(found))
        shape = (np.float16, (len(words), None))
        expected = {"activations": shape, "embeddings": shape}
        kept = read_npz(read_file(path), expected, source=str(path))
        return Words(
            words,
            np.asarray(kept["activations"], np.float32),
            np.asarray(kept["embeddings"], np.float32),
            np.isin(words, english),
            np.isin(words, capitals),
            font.family,
        )


def share(
    section: str,
    measure: str,
    rate: Rate,
    *,
    published: float | None = None,
    control: float | None = None,
    note: str = "",
) -> Row:
    """The row of a proportion, with Wilson's interval; without a value where nothing was counted."""
    return Row(
        section=section,
        measure=measure,
        n=rate.n,
        value=rate.rate,
        interval=rate.interval if rate.n else None,
        published=published,
        control=control,
        note=note if rate.n else "; ".join(filter(None, ["nothing to count", note])),
    )


def mean_row(section: str, measure: str, values: Any, *, seed: int, **more: Any) -> Row:
    """The row of a mean, with a bootstrap interval over what was averaged."""
    array = np.asarray(values, np.float64)
    if not len(array):
        return Row(section=section, measure=measure, n=0, value=None, **more)
    if set(array.tolist()) in ({0.0}, {1.0}):  # of which a bootstrap knows nothing
        interval = wilson_interval(int(array.sum()), len(array))
    else:
        interval = bootstrap_interval(
            lambda drawn: drawn.mean(axis=1), array, draws=DRAWS, seed=seed, vectorized=True
        )
    return Row(
        section=section,
        measure=measure,
        n=len(array),
        value=float(array.mean()),
        interval=interval,
        **more,
    )


def pooled_row(
    section: str, measure: str, groups: Sequence[Sequence[bool] | Bool], *, seed: int, **more: Any
) -> Row:
    """The row of a proportion whose outcomes come in groups, with a bootstrap interval over the groups; of all or none, Wilson's over groups."""
    counts = np.array([(np.sum(one), len(one)) for one in groups if len(one)], np.float64)
    counts = counts.reshape(-1, 2)
    hits, n = (int(one) for one in counts.sum(axis=0))
    if hits in (0, n):
        interval = wilson_interval(len(counts) if hits else 0, len(counts)) if n else None
    else:
        interval = bootstrap_interval(
            lambda drawn: drawn[:, :, 0].sum(axis=1) / drawn[:, :, 1].sum(axis=1),
            counts,
            draws=DRAWS,
            seed=seed,
            vectorized=True,
        )
    return Row(
        section=section,
        measure=measure,
        n=n,
        value=hits / n if n else None,
        interval=interval,
        **more,
    )


def own_among_best(best: Int64, own: Int64, seed: int) -> tuple[Rate, float | None]:
    """How many neurons have their own concept among their best, and the mean rate with concepts exchanged among them.

    Parameters
    ----------
    best
        `[best, neurons]`, numbers of words or texts.
    own
        `[neurons]`, the number of each one's concept.
    """
    rng = np.random.default_rng(seed)
    exchanged = []
    for _ in range(PERMUTATIONS if len(own) > 1 else 0):
        order, others = rng.permutation(len(own)), np.empty_like(own)
        others[order] = np.roll(own[order], 1)  # nobody keeps its own
        exchanged.append((best == others).any(axis=0).mean())
    return Rate.of((best == own).any(axis=0)), float(np.mean(exchanged)) if exchanged else None
