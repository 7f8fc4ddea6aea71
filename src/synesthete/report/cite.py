"""How a neuron is cited: a BibTeX entry that names the model, the unit, and the atlas by its fingerprint."""

from __future__ import annotations

import re
from importlib.metadata import version

VERSION = version("synesthete")
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "{}$&#_%"},
}


def bibtex(address: str, heading: str, model: str, fingerprint: str) -> str:
    r"""The BibTeX entry of a neuron.

    Parameters
    ----------
    address, heading
        Of the neuron; what it is called, empty for nothing.
    model
        What the model is called.
    fingerprint
        Of the atlas, SHA-256 of everything that determines it.

    Examples
    --------
    >>> print(bibtex("visual.layer4.1:12", "R&B", "mini", "f00d" * 16))
    @misc{synesthete-mini-visual-layer4-1-12-f00df00d,
      title = {{R\&B: neuron visual.layer4.1:12 of mini}},
      howpublished = {Synesthete 0.1.0},
      note = {Atlas f00df00df00df00df00df00df00df00df00df00df00df00df00df00df00df00d},
    }
    """
    key = re.sub(r"[^A-Za-z0-9]+", "-", f"{model}-{address}-{fingerprint[:8]}").strip("-")
    title = f"{heading or 'unknown'}: neuron {address} of {model}"
    fields = {
        "title": f"{{{_latex(title)}}}",
        "howpublished": f"Synesthete {VERSION}",
        "note": f"Atlas {fingerprint}",
    }
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@misc{{synesthete-{key},\n{lines}}}"


def _latex(text: str) -> str:
    """A text whose letters all stand for themselves, on one line."""
    return "".join(_SPECIAL.get(letter, letter) for letter in " ".join(text.split()))
