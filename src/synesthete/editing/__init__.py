"""Editing: switch units off, scale and steer them, alive or folded into a checkpoint; find the edits that defend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from synesthete.editing.edits import Edit, Edits, load_edits, migrate_edits, plan_edits, save_edits
from synesthete.editing.export import Exported, export_edits

if TYPE_CHECKING:
    from synesthete.editing.defence import Defence
    from synesthete.models import ImageTextModel
    from synesthete.probes import ProbeSet

__all__ = [
    "Edit",
    "Edits",
    "Exported",
    "defend",
    "edited",
    "export_edits",
    "load_edits",
    "migrate_edits",
    "plan_edits",
    "save_edits",
]


@contextmanager
def edited(model: ImageTextModel, edits: Edits) -> Iterator[ImageTextModel]:
    """Apply edits to the model inside the context; the same as `model.edited(edits)`.

    Raises
    ------
    SynestheteError
        Edits of another model, or of units that it does not have.
    """
    with model.edited(edits):
        yield model


def defend(model: ImageTextModel, probes: ProbeSet, **options: Any) -> Defence:
    """Find the few units whose ablation reduces a harm most; see `synesthete.editing.defence.defend`."""
    from synesthete.editing.defence import defend as search

    return search(model, probes, **options)
