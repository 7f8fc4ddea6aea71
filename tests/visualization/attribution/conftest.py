"""The small tower of the tests of pictures."""

from __future__ import annotations

from tests.visualization.features.conftest import small_model, tower

__all__ = ["small_model", "tower"]
