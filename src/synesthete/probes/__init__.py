"""Probe sets: the images and texts shown to a model, with what they show, how, by whom and under which licence."""

from __future__ import annotations

from pathlib import Path

from synesthete._core.remote_files import is_url, shown
from synesthete.errors import SynestheteError, near
from synesthete.probes.builtin import (
    BUILTINS,
    describe,
    list_probes,
    load_builtin,
    with_texts,
    with_words,
)
from synesthete.probes.decoding import UnreadableImage, decode
from synesthete.probes.locations import is_pattern
from synesthete.probes.probe_set import (
    COLUMNS,
    IMAGE_MODALITIES,
    MODALITIES,
    TEXT_MODALITIES,
    ProbeSet,
)
from synesthete.probes.readers import read_path, read_spec
from synesthete.probes.sheet import contact_sheets, write_contact_sheets
from synesthete.probes.words import load_fonts, render_word

__all__ = [
    "COLUMNS",
    "IMAGE_MODALITIES",
    "MODALITIES",
    "TEXT_MODALITIES",
    "ProbeSet",
    "UnreadableImage",
    "contact_sheets",
    "decode",
    "describe",
    "list_probes",
    "load_fonts",
    "load_probes",
    "render_word",
    "with_texts",
    "with_words",
    "write_contact_sheets",
]


def load_probes(
    spec: str | Path, *, words: bool = False, texts: bool = True, remote: bool = True
) -> ProbeSet:
    """Load a probe set: one that comes with the package, or the user's own.

    Parameters
    ----------
    spec
        `"concepts"`, the built-in set; or the path of a folder (`concept/` or
        `concept/modality/`), a `.csv` or `.jsonl` of metadata, a `.parquet`, a WebDataset `.tar`, or COCO (a folder with
        `annotations/`, or one of its `captions_*.json` and `instances_*.json`). For a folder with the name of a built-in set, pass a `Path` or `./concepts`. Several files of one kind by a pattern
        (`shards/{000..009}.tar`, `*.parquet`); all of these by URL too: `s3://`, `gs://`, `hf://datasets/`, and files by `https://`.
    words
        Whether to render the concepts' names as images and add them (`with_words`), unless the set has words.
    texts
        Whether to keep its texts, as for those who only show images.
    remote
        Whether it may be a URL: not where somebody else's file names the set.

    Raises
    ------
    SynestheteError
        No such set, or a set without a usable image.

    Examples
    --------
    >>> load_probes("no/such/folder")
    Traceback (most recent call last):
    ...
    synesthete.errors.SynestheteError: no such probe set, folder or file: 'no/such/folder'
    """
    if isinstance(spec, str) and spec in BUILTINS:
        return load_builtin(spec).part(texts=texts)
    if is_url(spec) and not remote:
        raise SynestheteError(f"{shown(str(spec))} is not fetched: a file names it, not you")
    try:
        path = Path(spec).expanduser()
        found = path.exists()
    except (OSError, RuntimeError, ValueError):
        # Too long for a path, of nobody's home folder, or with a zero byte in it.
        found = False
    if isinstance(spec, str) and (is_url(spec) or (not found and is_pattern(spec))):
        probes = read_spec(spec).part(texts=texts)
        return with_words(probes) if words else probes
    if not found:
        hint = near(str(spec)[:80], BUILTINS)
        raise SynestheteError(f"no such probe set, folder or file: '{str(spec)[:200]}'", hint=hint)
    probes = read_path(path).part(texts=texts)
    return with_words(probes) if words else probes
