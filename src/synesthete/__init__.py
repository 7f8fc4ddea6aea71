"""A microscope for the multimodal neurons of CLIP: the public API, on one screen.

>>> import synesthete as syn
>>> sorted(name for name in dir(syn) if name.islower() and not name.startswith("_"))
['analyze', 'browse', 'defend', 'edited', 'evaluate', 'export_edits', 'list_models', 'list_probes', 'load_edits', 'load_model',
 'load_probes', 'name_neurons', 'neuron_card', 'open_atlas', 'plan_edits', 'record', 'save_edits', 'visualize', 'wrap']

Everything is imported on first use, so that `import synesthete` is instant and reading an atlas
never loads torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from synesthete._core.notebook import BUNDLES as _BUNDLES
from synesthete._core.notebook import HTML as _HTML

if TYPE_CHECKING:
    from synesthete.analysis import analyze as analyze
    from synesthete.analysis.naming import name_neurons as name_neurons
    from synesthete.analysis.zero_shot import evaluate as evaluate
    from synesthete.atlas import Atlas as _Atlas
    from synesthete.atlas import Neuron as _Neuron
    from synesthete.atlas import open_atlas as open_atlas
    from synesthete.editing import defend as defend
    from synesthete.editing import edited as edited
    from synesthete.editing import export_edits as export_edits
    from synesthete.editing import load_edits as load_edits
    from synesthete.editing import plan_edits as plan_edits
    from synesthete.editing import save_edits as save_edits
    from synesthete.errors import SynestheteError as SynestheteError
    from synesthete.models import list_models as list_models
    from synesthete.models import load_model as load_model
    from synesthete.models.wrapping import wrap as wrap
    from synesthete.probes import list_probes as list_probes
    from synesthete.probes import load_probes as load_probes
    from synesthete.recording import record as record
    from synesthete.report import neuron_card as neuron_card
    from synesthete.report.notebook import browse as browse
    from synesthete.visualization.features import visualize as visualize

__version__ = "0.1.0"

_HOME = {
    "load_model": "models",
    "list_models": "models",
    "wrap": "models.wrapping",
    "load_probes": "probes",
    "list_probes": "probes",
    "record": "recording",
    "evaluate": "analysis.zero_shot",
    "analyze": "analysis",
    "name_neurons": "analysis.naming",
    "open_atlas": "atlas",
    "neuron_card": "report",
    "browse": "report.notebook",
    "plan_edits": "editing",
    "load_edits": "editing",
    "save_edits": "editing",
    "edited": "editing",
    "export_edits": "editing",
    "defend": "editing",
    "visualize": "visualization.features",
    "SynestheteError": "errors",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'synesthete' has no attribute {name!r}")
    return getattr(importlib.import_module(f"synesthete.{_HOME[name]}"), name)


def _atlas_html(atlas: _Atlas) -> str:
    from synesthete.report.notebook import atlas_html

    return atlas_html(atlas)


def _neuron_html(neuron: _Neuron) -> str | None:
    from synesthete.report.notebook import neuron_html

    return neuron_html(neuron)


def _neuron_bundle(neuron: _Neuron) -> dict[str, object] | None:
    from synesthete.report.notebook import neuron_bundle

    return neuron_bundle(neuron)


_BUNDLES.update(neuron=_neuron_bundle)
_HTML.update(atlas=_atlas_html, neuron=_neuron_html)


def __dir__() -> list[str]:
    return [*_HOME, "__version__"]
