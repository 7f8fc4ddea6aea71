"""Editing: switch units off, scale and steer them, alive or folded into a checkpoint; find the edits that defend."""

from synesthete.editing.edits import Edit, Edits, load_edits, save_edits
from synesthete.editing.means import plan_edits

__all__ = ["Edit", "Edits", "load_edits", "plan_edits", "save_edits"]
