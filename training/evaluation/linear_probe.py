"""A linear classifier on the embeddings of a photo source that training never saw."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.evaluation.embedding import embed, rate, tile_image


def linear_probe(
    model: Any, tiles: list[np.ndarray], labels: list[str], *, seed: int = 0
) -> dict[str, Any]:
    """Accuracy of five-fold cross-validated logistic regression, beside always naming the commonest class."""
    features = embed(model, map(tile_image, tiles))
    names, numbers = np.unique(labels, return_inverse=True)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    guessed = cross_val_predict(classifier, features, numbers, cv=folds)
    return {
        "classes": names.tolist(),
        "top1": rate(guessed == numbers),
        "chance": round(float(np.bincount(numbers).max() / len(numbers)), 4),
    }
