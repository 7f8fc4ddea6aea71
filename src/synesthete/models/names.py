"""Names of models as people paste them, read without torch: what open_clip knows is looked up in its files."""

from __future__ import annotations

import ast
import difflib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from synesthete._core.json_reader import read_json
from synesthete._core.user_files import decoded, read_named
from synesthete.errors import SynestheteError, near
from synesthete.models.hub import cached

LOCAL = "local-dir:"
HF_DIR = "hf-dir:"
HUB = "hf-hub:"
TIMM, TORCHVISION, TRANSFORMERS, WRAPPED = "timm:", "torchvision:", "transformers:", "wrap:"
LIBRARIES = (TIMM, TORCHVISION, TRANSFORMERS)
FORMS = "mini, ARCHITECTURE/TAG, hf-hub:ORG/NAME, local-dir:PATH, ARCHITECTURE@FILE, timm:NAME or torchvision:NAME"
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_ADDRESS = re.compile(r"(https?://)?(www\.)?(huggingface\.co|hf\.co)/|hf://", re.IGNORECASE)
# The same weights in transformers' format, by the repository that holds them.
SAME_WEIGHTS = {
    "openai/clip-vit-base-patch32": "ViT-B-32/openai",
    "openai/clip-vit-base-patch16": "ViT-B-16/openai",
    "openai/clip-vit-large-patch14": "ViT-L-14/openai",
    "openai/clip-vit-large-patch14-336": "ViT-L-14-336/openai",
    "facebook/metaclip-b32-400m": "ViT-B-32/metaclip_400m",
    "facebook/metaclip-b32-fullcc2.5b": "ViT-B-32/metaclip_fullcc",
    "facebook/metaclip-b16-400m": "ViT-B-16/metaclip_400m",
    "facebook/metaclip-b16-fullcc2.5b": "ViT-B-16/metaclip_fullcc",
    "facebook/metaclip-l14-400m": "ViT-L-14/metaclip_400m",
    "facebook/metaclip-l14-fullcc2.5b": "ViT-L-14/metaclip_fullcc",
    "facebook/metaclip-h14-fullcc2.5b": "ViT-H-14/metaclip_fullcc",
    "google/siglip-base-patch16-224": "ViT-B-16-SigLIP/webli",
    "google/siglip-base-patch16-256": "ViT-B-16-SigLIP-256/webli",
    "google/siglip-base-patch16-256-multilingual": "ViT-B-16-SigLIP-i18n-256/webli",
    "google/siglip-base-patch16-384": "ViT-B-16-SigLIP-384/webli",
    "google/siglip-base-patch16-512": "ViT-B-16-SigLIP-512/webli",
    "google/siglip-large-patch16-256": "ViT-L-16-SigLIP-256/webli",
    "google/siglip-large-patch16-384": "ViT-L-16-SigLIP-384/webli",
    "google/siglip-so400m-patch14-224": "ViT-SO400M-14-SigLIP/webli",
    "google/siglip-so400m-patch14-384": "ViT-SO400M-14-SigLIP-384/webli",
    "google/siglip-so400m-patch16-256-i18n": "ViT-SO400M-16-SigLIP-i18n-256/webli",
    "google/siglip2-base-patch32-256": "ViT-B-32-SigLIP2-256/webli",
    "google/siglip2-base-patch16-224": "ViT-B-16-SigLIP2/webli",
    "google/siglip2-base-patch16-256": "ViT-B-16-SigLIP2-256/webli",
    "google/siglip2-base-patch16-384": "ViT-B-16-SigLIP2-384/webli",
    "google/siglip2-base-patch16-512": "ViT-B-16-SigLIP2-512/webli",
    "google/siglip2-large-patch16-256": "ViT-L-16-SigLIP2-256/webli",
    "google/siglip2-large-patch16-384": "ViT-L-16-SigLIP2-384/webli",
    "google/siglip2-large-patch16-512": "ViT-L-16-SigLIP2-512/webli",
    "google/siglip2-so400m-patch14-224": "ViT-SO400M-14-SigLIP2/webli",
    "google/siglip2-so400m-patch14-384": "ViT-SO400M-14-SigLIP2-378/webli",
    "google/siglip2-so400m-patch16-256": "ViT-SO400M-16-SigLIP2-256/webli",
    "google/siglip2-so400m-patch16-384": "ViT-SO400M-16-SigLIP2-384/webli",
    "google/siglip2-so400m-patch16-512": "ViT-SO400M-16-SigLIP2-512/webli",
    "google/siglip2-giant-opt-patch16-256": "ViT-gopt-16-SigLIP2-256/webli",
    "google/siglip2-giant-opt-patch16-384": "ViT-gopt-16-SigLIP2-384/webli",
}


class Pretrained(NamedTuple):
    """Where open_clip says that weights lie; what is empty is not said."""

    repository: str
    filename: str
    url: str


def canonical(spec: str) -> str:
    """A model's name in one of the forms that `resolve` reads.

    Raises
    ------
    SynestheteError
        An address of something else than a repository's main branch.

    Examples
    --------
    >>> canonical("https://huggingface.co/openai/clip-vit-base-patch32/tree/main")
    'ViT-B-32/openai'
    >>> canonical("laion/CLIP-ViT-B-32-laion2B-s34B-b79K")
    'hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K'
    >>> canonical("RN50/openai")
    'RN50/openai'
    """
    text = spec.strip()
    if text.startswith((LOCAL, HF_DIR, HUB)):
        address = _ADDRESS.match(text.removeprefix(HUB))
        return HUB + _repository(spec, text.removeprefix(HUB)) if address else text
    if text.startswith((*LIBRARIES, WRAPPED)):
        return text
    if _ADDRESS.match(text):
        return _of_repository(_repository(spec, text))
    architecture, _, _ = text.rpartition("/")
    # Before files, so that these mean the same in every folder.
    if text == "mini" or architecture in architectures() or split_file(text) is not None:
        return text
    if is_folder(text):
        return LOCAL + text
    known = [name.lower() for name in ("mini", *architectures())]
    if _REPOSITORY.fullmatch(text) and not difflib.get_close_matches(
        architecture.lower(), known, n=1, cutoff=0.75
    ):
        return _of_repository(text)
    return text


def _repository(spec: str, address: str) -> str:
    """`ORG/NAME` of an address of the hub."""
    path = _ADDRESS.sub("", address, count=1)
    parts = [part for part in re.split(r"[?#]", path, maxsplit=1)[0].split("/") if part]
    if len(parts) < 2 or parts[0] in ("datasets", "spaces", "collections", "papers", "docs"):
        raise SynestheteError(f"{spec!r} is not the address of a model", hint="expected " + FORMS)
    if parts[2:3] in (["tree"], ["blob"], ["resolve"]) and parts[3:4] != ["main"]:
        raise SynestheteError(
            f"{spec!r} names a revision, and only `main` is fetched",
            hint="copy that revision's files into a folder and name it local-dir:PATH",
        )
    return "/".join(parts[:2])


def _of_repository(repository: str) -> str:
    """open_clip's name for the same weights, unless the repository's own are on this machine already."""
    same = SAME_WEIGHTS.get(repository)
    return HUB + repository if same is None or cached(repository, "model.safetensors") else same


def is_folder(text: str) -> bool:
    """Whether `text` is the path of a folder with a model's configuration in it."""
    try:
        folder = Path(text).expanduser()
        return bool(text) and any(
            (folder / name).is_file() for name in ("open_clip_config.json", "config.json")
        )
    except (OSError, ValueError, RuntimeError):
        return False


def split_file(text: str) -> tuple[str, Path] | None:
    """The architecture and file of `ARCHITECTURE@FILE`; for a file of weights alone, the architecture is empty."""
    before, at, after = text.partition("@")
    # open_clip and OpenAI have no @ in the names of architectures; a path may.
    architecture, path = (before, after) if at and "/" not in before else ("", text)
    try:
        file = Path(path).expanduser()
        named = file.suffix.lower() in WEIGHT_SUFFIXES
        return (architecture, file) if architecture or (named and file.is_file()) else None
    except (OSError, ValueError, RuntimeError):
        return None


@cache
def architectures() -> dict[str, Path]:
    """open_clip's architectures and the files that describe them."""
    files = (_open_clip() / "model_configs").glob("*.json")
    return {file.stem: file for file in sorted(files)}


def configuration_of(architecture: str) -> dict[str, Any] | None:
    """open_clip's `model_cfg` of an architecture; None if there is no such."""
    file = architectures().get(architecture)
    found = read_json(file) if file is not None else None
    return found if isinstance(found, dict) else None


@cache
def pretrained() -> dict[str, dict[str, Pretrained]]:
    """Of open_clip's architectures, the weights by tag, read from the table in its source without running it."""
    file = _open_clip() / "pretrained.py"
    source = decoded(read_named(file), file)
    tables: dict[str, ast.expr] = {
        node.targets[0].id: node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    found: dict[str, dict[str, Pretrained]] = {}
    quick: dict[str, dict[str, Pretrained]] = {}
    for architecture, tags in _items(tables["_PRETRAINED"]):
        table = tables[tags.id] if isinstance(tags, ast.Name) else tags
        for tag, call in _items(table):
            settings = {k: v.value for k, v in _items(call) if isinstance(v, ast.Constant)}
            repository, _, filename = str(settings.get("hf_hub", "")).rpartition("/")
            one = Pretrained(repository, filename, str(settings.get("url", "")))
            found.setdefault(architecture, {})[tag] = one
            if settings.get("quick_gelu"):
                quick.setdefault(architecture + "-quickgelu", {})[tag] = one
    return found | quick


def _items(node: ast.expr) -> list[tuple[str, ast.expr]]:
    """Of `{"a": b}` and of `f(a=b)`, the names and what they stand for."""
    if isinstance(node, ast.Dict):
        return [
            (str(k.value), v)
            for k, v in zip(node.keys, node.values, strict=True)
            if isinstance(k, ast.Constant)
        ]
    return [(k.arg, k.value) for k in node.keywords if k.arg] if isinstance(node, ast.Call) else []


def _open_clip() -> Path:
    found = find_spec("open_clip")
    if found is None or found.origin is None:
        raise SynestheteError(
            "open_clip is missing from this installation", hint="install the package again"
        )
    return Path(found.origin).parent


def no_such_model(spec: str) -> SynestheteError:
    """What to raise for a name that is none, with the nearest that are."""
    names = {_plain(name): name for name in reversed(architectures())}
    architecture = names.get(_plain(spec))
    if architecture is not None:
        tags = [f"{architecture}/{tag}" for tag in pretrained().get(architecture, {})]
        more = [f"{len(tags) - 2} more (`synesthete models list`)"] if len(tags) > 4 else []
        choice = ", ".join([*(tags[:2] if more else tags), *more, f"{architecture}/random"])
        return SynestheteError(f"{spec!r} names no weights", hint="expected " + choice)
    try:
        if spec and Path(spec).expanduser().is_dir():
            return SynestheteError(f"no such model {spec!r}", hint=f"a folder is local-dir:{spec}")
    except (OSError, ValueError, RuntimeError):
        pass
    parts = [nearest(spec), f"expected {FORMS}", "`synesthete models list` names them all"]
    return SynestheteError(f"no such model {spec[:200]!r}", hint="; ".join(filter(None, parts)))


def nearest(name: str) -> str:
    """The two names that are nearest to one that may be none, as a hint; for one of another format, open_clip's."""
    if name in SAME_WEIGHTS:
        return f"the same weights are {SAME_WEIGHTS[name]}"
    table = pretrained()
    known = ["mini", *SAME_WEIGHTS, *(f"{a}/{tag}" for a, tags in table.items() for tag in tags)]
    known += [one.repository for tags in table.values() for one in tags.values() if one.repository]
    return "" if name in known else near(name, known, limit=2)


def _plain(name: str) -> str:
    """A name without what people write in different ways."""
    return re.sub(r"^(openai|open)?clip|[^a-z0-9+]", "", re.sub(r"[-_ /]", "", name.lower()))
