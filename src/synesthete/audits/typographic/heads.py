"""How an embedding becomes an answer: by the texts of the classes, or by a linear classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from synesthete.analysis.zero_shot import TEMPLATES, class_embeddings
from synesthete.audits.pictures import Float32, Int64, Model, Pictures, embed
from synesthete.errors import SynestheteError

FOLDS = 2
STRENGTH = 1.0


class Head(Protocol):
    """Gives answers."""

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """`[classes]`: which classes it can answer with."""
        ...

    def answers(self, embeddings: Float32, rows: Int64) -> Int64:
        """Number of the class of each embedding; `rows` says which picture each was made of."""
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
        """The head of some names."""
        return cls(class_embeddings(model, names, templates))

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """All classes."""
        return np.ones(len(self.classes), np.bool_)

    def answers(self, embeddings: Float32, rows: Int64) -> Int64:
        """The nearest class."""
        return np.asarray((embeddings @ self.classes.T).argmax(1), np.int64)


class LinearProbe:
    """Logistic regression on embeddings, cross-fitted: a picture is never answered by what was trained on it.

    The pictures fall into two folds, each class in turns; the answer to a picture, labelled or not, comes from the
    classifier that was trained on the other fold and on the further pictures.

    Parameters
    ----------
    features
        Embeddings of the audit's pictures, without labels `[images, dim]`.
    truth
        `[images]`.
    classes
        How many there are.
    training, training_truth
        Embeddings and classes of further pictures.

    Raises
    ------
    SynestheteError
        Too few pictures of too few classes to train on.
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
                    "no linear probe: fewer than two classes have pictures to train on",
                    hint="give two pictures or more of each concept",
                )
            self._known &= present
            model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=500))
            self._models.append(model.fit(shown, labels))

    @classmethod
    def of(cls, model: Model, pictures: Pictures, features: Float32) -> LinearProbe:
        """The head of an audit's pictures."""
        training = embed(model, pictures.training) if pictures.training else None
        return cls(
            features, pictures.truth, len(pictures.classes), training, pictures.training_truth
        )

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Classes that both classifiers were trained on."""
        return self._known

    def answers(self, embeddings: Float32, rows: Int64) -> Int64:
        """What the classifier that never saw the picture says."""
        out = np.full(len(rows), -1, np.int64)
        for fold, model in enumerate(self._models):
            mine = self._fold[rows] == fold
            if mine.any():
                out[mine] = model.predict(embeddings[mine])
        return out


def _folds(truth: Int64, classes: int) -> Int64:
    """Each class's pictures in turns; the odd one of every second class goes to the other fold."""
    seen = np.arange(classes) % FOLDS
    out = np.empty(len(truth), np.int64)
    for place, label in enumerate(truth.tolist()):
        out[place] = seen[label] % FOLDS
        seen[label] += 1
    return out
