"""The typographic attack: another class's word written on an image that was classified correctly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from synesthete._core.arrays import Bool, Float32, Int64
from synesthete._core.intervals import Rate
from synesthete.analysis.zero_shot import TEMPLATES, class_embeddings
from synesthete.audits.images import ImageSet, Model, embed
from synesthete.audits.labels import Style, can_write, write_label
from synesthete.errors import SynestheteError

FOLDS = 2
STRENGTH = 1.0


@dataclass(frozen=True)
class Outcome:
    """What one classifier answered to one style of label.

    Attributes
    ----------
    to_word
        The answer became the written word's class: the success rate of the attack.
    lost
        The answer was no longer the truth.
    to_word_blank, lost_to_blank
        The same with an empty label at the same place; None where it was not shown.
    """

    to_word: Rate
    lost: Rate
    to_word_blank: Rate | None = None
    lost_to_blank: Rate | None = None


@dataclass(frozen=True)
class Labelled:
    """Embeddings of labelled images.

    Attributes
    ----------
    rows
        `[shown]`, which image each is of.
    embeddings
        `[shown, dim]`.
    blank
        The same with empty labels, or None.
    skipped
        Words without letters in the font.
    """

    rows: Int64
    embeddings: Float32
    blank: Float32 | None
    skipped: tuple[str, ...]


class Subject:
    """A model with its images, its classifiers, what they answer without labels, and the word for each image.

    Parameters
    ----------
    classifiers
        Name → classifier; all have the classes of the images.
    features
        Embeddings of the images without labels `[images, dim]`.
    seed
        Draws the words and the places.

    Attributes
    ----------
    right
        Classifier → `[images]`, whether the image is classified correctly without a label. Only these are attacked.
    targets
        `[images]`, the class whose word is written: another one, of those that every classifier knows.
    """

    def __init__(
        self,
        model: Model,
        image_set: ImageSet,
        classifiers: Mapping[str, Classifier],
        features: Float32,
        *,
        seed: int = 0,
    ) -> None:
        self.model, self.image_set, self.seed = model, image_set, seed
        self.classifiers = dict(classifiers)
        self.features = features
        every = np.arange(len(image_set.images))
        self.clean = {
            name: classifier.answers(features, every) for name, classifier in classifiers.items()
        }
        self.right = {name: found == image_set.truth for name, found in self.clean.items()}
        known = np.flatnonzero(
            np.all([classifier.known for classifier in classifiers.values()], axis=0)
        )
        self.targets = other_classes(image_set.truth, known, np.random.default_rng(seed))

    @property
    def rows(self) -> Int64:
        """Images that some classifier classifies correctly."""
        return np.flatnonzero(np.any(list(self.right.values()), axis=0)).astype(np.int64)

    def labelled(
        self, style: Style, words: Sequence[str] | None = None, *, blank: bool = False
    ) -> Labelled:
        """Write each image's word on it, and read the embeddings.

        Parameters
        ----------
        words
            `[images]`, what to write; by default the names of `targets`. An empty word leaves the image out.
        blank
            Show the empty labels too.
        """
        texts = [self.image_set.classes[t] for t in self.targets] if words is None else words
        wanted = [int(row) for row in self.rows if texts[row]]
        rows = [row for row in wanted if can_write(texts[row], style)]
        kept = set(rows)
        skipped = sorted({texts[row] for row in wanted if row not in kept})
        return Labelled(
            np.array(rows, np.int64),
            embed(self.model, self._written(rows, texts, style, False)),
            embed(self.model, self._written(rows, texts, style, True)) if blank else None,
            tuple(skipped),
        )

    def labelled_image(
        self, row: int, word: str, style: Style, *, blank: bool = False
    ) -> Image.Image:
        """One labelled image, the same each time."""
        rng = np.random.default_rng([self.seed, row])
        return write_label(self.image_set.images[row], word, style, rng, blank=blank)

    def outcome(self, shown: Labelled, name: str) -> Outcome:
        """What the classifier of that name answered to labelled images, of those that it classified correctly without."""
        mine = self.right[name][shown.rows]
        rows, truth = shown.rows[mine], self.image_set.truth[shown.rows[mine]]
        target = self.targets[rows]
        answers = self.classifiers[name].answers(shown.embeddings[mine], rows)
        to_word, lost = Rate.of(answers == target), Rate.of(answers != truth)
        if shown.blank is None:
            return Outcome(to_word, lost)
        control = self.classifiers[name].answers(shown.blank[mine], rows)
        return Outcome(to_word, lost, Rate.of(control == target), Rate.of(control != truth))

    def _written(
        self, rows: Sequence[int], words: Sequence[str], style: Style, blank: bool
    ) -> Iterator[Image.Image]:
        for row in rows:
            yield self.labelled_image(row, words[row], style, blank=blank)


def other_classes(truth: Int64, known: npt.NDArray[np.intp], rng: np.random.Generator) -> Int64:
    """A class for each image, at random among the known ones that are not its own.

    Examples
    --------
    >>> other_classes(np.array([0, 1]), np.array([0, 1]), np.random.default_rng(0)).tolist()
    [1, 0]
    """
    out = np.empty(len(truth), np.int64)
    for place, own in enumerate(truth.tolist()):
        others = known[known != own]
        out[place] = others[rng.integers(len(others))] if len(others) else -1
    return out


class Classifier(Protocol):
    """Gives answers."""

    @property
    def known(self) -> Bool:
        """`[classes]`: which classes it can answer with."""
        ...

    def answers(self, embeddings: Float32, rows: Int64) -> Int64:
        """Number of the class of each embedding; `rows` says which image each belongs to."""
        ...


@dataclass(frozen=True)
class ZeroShot:
    """The class whose text is nearest.

    Attributes
    ----------
    classes
        Text embeddings `[classes, dim]`.
    """

    classes: Float32

    @classmethod
    def of(
        cls, model: Model, names: Sequence[str], templates: Sequence[str] = TEMPLATES
    ) -> ZeroShot:
        """The classifier of some names."""
        return cls(class_embeddings(model, names, templates))

    @property
    def known(self) -> Bool:
        """All classes."""
        return np.ones(len(self.classes), np.bool_)

    def answers(self, embeddings: Float32, rows: Int64) -> Int64:
        """The nearest class."""
        return np.asarray((embeddings @ self.classes.T).argmax(1), np.int64)


class LinearProbe:
    """Logistic regression on embeddings, cross-fitted: an image is never answered by what was trained on it.

    The images fall into two folds, each class in turns; the answer to an image, labelled or not, comes from the
    classifier that was trained on the other fold and on the further images.

    Parameters
    ----------
    features
        Embeddings of the audit's images, without labels `[images, dim]`.
    truth
        `[images]`.
    classes
        How many there are.
    training, training_truth
        Embeddings and classes of further images.

    Raises
    ------
    SynestheteError
        Too few images of too few classes to train on.
    """

    def __init__(
        self,
        features: Float32,
        truth: Int64,
        classes: int,
        training: Float32 | None = None,
        training_truth: Int64 | None = None,
    ) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        self._fold = _folds(truth, classes)
        self._known = np.ones(classes, np.bool_)
        self._models = []
        for fold in range(FOLDS):
            shown, labels = features[self._fold != fold], truth[self._fold != fold]
            if training is not None and training_truth is not None and len(training):
                shown = np.concatenate([shown, training])
                labels = np.concatenate([labels, training_truth])
            present = np.bincount(labels, minlength=classes) > 0
            if present.sum() < 2:
                raise SynestheteError(
                    "no linear probe: fewer than two classes have images to train on",
                    hint="give two images or more of each concept",
                )
            self._known &= present
            model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=500))
            self._models.append(model.fit(shown, labels))

    @classmethod
    def of(cls, model: Model, image_set: ImageSet, features: Float32) -> LinearProbe:
        """The classifier of an audit's images."""
        training = embed(model, image_set.training) if image_set.training else None
        return cls(
            features, image_set.truth, len(image_set.classes), training, image_set.training_truth
        )

    @property
    def known(self) -> Bool:
        """Classes that both classifiers were trained on."""
        return self._known

    def answers(self, embeddings: Float32, rows: Int64) -> Int64:
        """What the classifier that never saw the image says."""
        out = np.full(len(rows), -1, np.int64)
        for fold, model in enumerate(self._models):
            mine = self._fold[rows] == fold
            if mine.any():
                out[mine] = model.predict(embeddings[mine])
        return out


def _folds(truth: Int64, classes: int) -> Int64:
    """Each class's images in turns; the odd one of every second class goes to the other fold."""
    seen = np.arange(classes) % FOLDS
    out = np.empty(len(truth), np.int64)
    for place, label in enumerate(truth.tolist()):
        out[place] = seen[label] % FOLDS
        seen[label] += 1
    return out
