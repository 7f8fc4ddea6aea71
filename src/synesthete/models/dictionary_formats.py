"""Sparse dictionaries as SAELens, ViT-Prisma, saev and Overcomplete write them: recognised by their files, and refused in one line.

Each is brought into the one form of `SparseDictionary`: `b_dec` that is taken off first goes into the encoder's bias, decoder norms
that are left to a run go into the weights, and a gate becomes a threshold (the gate of Rajamanoharan et al. 2024, arXiv 2404.16014,
with shared weights is open where the magnitude is above `b_mag - exp(r_mag) * b_gate`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete._core.arrays import Float32
from synesthete._core.json_reader import parse_json
from synesthete._core.user_files import (
    ANY_SIZE,
    open_named,
    read_inside,
    read_named,
    resolve_inside,
)
from synesthete.errors import SynestheteError
from synesthete.models.archives import read_archive
from synesthete.models.dictionaries import CONFIG, WEIGHTS, SparseDictionary, split_layer
from synesthete.models.hub import one_line, pickle_allowed, refuse_pickle, root_of

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel

Tensors = Mapping[str, Float32]
PRISMA_CONFIG, PRISMA_WEIGHTS = "config.json", ("weights.safetensors", "weights.pt")
FORMS = "a folder of SAELens or ViT-Prisma, a safetensors file, or with leave to read pickles a .pt file"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,39}")
_HEADER = 100_000  # bytes that saev's line of JSON may have
_LISTING = 1 << 26  # bytes of the list of tensors before their numbers, at most
_MOST = 1 << 33  # numbers of a matrix
_UNIT = 0.05  # how far directions of Overcomplete's may be from length 1


def read_dictionary(
    path: str | Path, *, k: int | None = None, allow_pickle: bool | None = None
) -> SparseDictionary:
    """Read a sparse dictionary.

    Parameters
    ----------
    path
        A folder with SAELens' `cfg.json` and `sae_weights.safetensors`, as `synesthete sae train` writes it; a folder with ViT-Prisma's
        `config.json` and `weights.safetensors` or `weights.pt`; a state dict of Overcomplete or saev as safetensors or `.pt`; or a
        checkpoint of saev.
    k
        How many latents are not zero at once, for state dicts, which do not say it.
    allow_pickle
        Whether anything but safetensors is read, by a reader that makes tensors only; without it `SYNESTHETE_ALLOW_PICKLE` decides.

    Raises
    ------
    SynestheteError
        There is no such file or folder, a file that leads out of the folder or is larger than its configuration says, a pickle without
        leave, a key, type or shape that is missing or wrong, numbers that are not finite, or an architecture that is not known.
    """
    path = Path(path).expanduser()
    leave = pickle_allowed() if allow_pickle is None else allow_pickle
    if path.is_dir():
        if (path / CONFIG).is_file():
            config = _json(read_inside(root_of(path), path / CONFIG), path / CONFIG)
            found = _of_folder(path, config, path / WEIGHTS, leave)
        elif (path / PRISMA_CONFIG).is_file():
            config = _json(read_inside(root_of(path), path / PRISMA_CONFIG), path / PRISMA_CONFIG)
            file = next(
                (path / one for one in PRISMA_WEIGHTS if (path / one).is_file()),
                path / PRISMA_WEIGHTS[0],
            )
            found = _of_folder(path, _as_saelens(config, path), file, leave)
        else:
            raise SynestheteError(
                f"{path} holds no sparse dictionary: neither {CONFIG} nor {PRISMA_CONFIG}",
                hint=f"expected {FORMS}",
            )
    elif path.is_file():
        found = _of_file(path, k, leave)
    else:
        raise SynestheteError(f"there is no sparse dictionary at {path}", hint=f"expected {FORMS}")
    for name, values in found.tensors().items():
        if not np.isfinite(values).all():
            raise SynestheteError(f"{name} of {path}, as its run needs it, holds NaN or infinity")
    if k is not None and found.k != k:
        raise SynestheteError(
            f"{path} has {found.k or 'no'} latents at a time by its own word, not {k}",
            hint="leave k out",
        )
    return found


def name_of(path: Path) -> str:
    """What a dictionary is called in addresses: its file or folder, without `.sae` and the like.

    Raises
    ------
    SynestheteError
        It would not fit an address.

    Examples
    --------
    >>> name_of(Path("runs/wide.sae")), name_of(Path("x.safetensors"))
    ('wide', 'x')
    """
    name = re.sub(r"\.(sae|safetensors|pt|pth|bin)$", "", path.expanduser().absolute().name)
    if not _NAME.fullmatch(name):
        raise SynestheteError(
            f"{name[:60]!r} cannot be the name of a dictionary",
            hint="rename it: up to 40 letters, digits, _, - and .",
        )
    return name


def with_named_dictionaries(
    model: ImageTextModel, layers: Sequence[str]
) -> tuple[ImageTextModel, list[str]]:
    """The model with the dictionaries that layers name as `LAYER@PATH`, and the names that these layers have then.

    Raises
    ------
    SynestheteError
        No such dictionary, one that cannot be read or does not fit its layer.
    """
    names: list[str] = []
    for name in layers:
        layer, path = split_layer(name)
        if path and name not in model.dictionaries:
            place = Path(path).expanduser()
            model = model.with_dictionary(layer, name_of(place), read_dictionary(place))
            name = f"{layer}@{name_of(place)}"
        names.append(name)
    return model, names


def from_bytes(data: bytes, source: str) -> SparseDictionary:
    """The dictionary in one safetensors file with `cfg.json` as metadata, as an atlas keeps it."""
    tensors, metadata = _safetensors(data, source)
    if "cfg" not in metadata:
        raise SynestheteError(f"{source} holds no sparse dictionary: it lacks its configuration")
    return _of_saelens(_json(metadata["cfg"].encode(), Path(source)), tensors, Path(source))


def _of_folder(path: Path, config: Mapping[str, Any], file: Path, leave: bool) -> SparseDictionary:
    """What a folder holds, whose weights lie in it and are as large as its configuration says."""
    dim, latents = _sizes(config, path)
    # In double precision at most, with a few numbers for each latent.
    limit = _LISTING + 8 * (2 * dim * latents + 8 * (dim + latents))
    if not file.is_file():
        raise SynestheteError(f"{path} lacks {file.name}")
    if file.suffix != ".safetensors":
        resolve_inside(root_of(path), file)
        return _of_saelens(config, _weights(file, leave), path)
    data = read_inside(root_of(path), file, max_bytes=limit)
    return _of_saelens(config, _safetensors(data, str(file))[0], path)


def _of_file(path: Path, k: int | None, leave: bool) -> SparseDictionary:
    with open_named(path, max_bytes=ANY_SIZE) as file:
        start = file.read(_HEADER)
    header, line, behind = start.partition(b"\n")
    if start.startswith(b"{") and line and behind.startswith(b"PK"):
        config = _json(header, path)
        return _of_saev(config, _weights(path, leave), path)
    tensors, metadata = _weights_and_metadata(path, leave)
    if "cfg" in metadata:
        return _of_saelens(_json(metadata["cfg"].encode(), path), tensors, path)
    if k is None:
        stated = metadata.get("top_k", metadata.get("k", ""))
        k = int(stated) if stated.isdecimal() else None
    if any(name.startswith("dictionary.") for name in tensors):
        return _of_overcomplete(tensors, k, path)
    if k is None:
        raise SynestheteError(
            f"{path} does not say what makes its latents sparse",
            hint="give k, how many are not zero at once, or keep its configuration beside it",
        )
    return _of_saev({"activation": {"cls": "TopK", "params": {"top_k": k}}, "schema": 2}, tensors, path)  # fmt: skip


@np.errstate(over="ignore", divide="ignore", invalid="ignore")  # what comes of it is refused
def _of_saelens(config: Mapping[str, Any], tensors: Tensors, path: Path) -> SparseDictionary:
    """SAELens' four architectures; keys of versions before 6 too."""
    architecture = config.get("architecture", "standard")
    k = config.get("k")
    activation = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    if activation == "topk":
        architecture, k = "topk", _object(config, "activation_fn_kwargs", path).get("k")
    elif activation != "relu":
        raise _refused(path, f"the activation function {activation!r}", "relu or topk")
    if architecture not in ("standard", "topk", "jumprelu", "gated"):
        raise _refused(
            path, f"the architecture {architecture!r}", "standard, topk, jumprelu or gated"
        )
    norm = config.get("normalize_activations") or "none"
    if norm not in ("none", "layer_norm"):
        raise _refused(
            path,
            f"normalize_activations {norm!r}",
            "none or layer_norm; fold it into the weights with SAELens first",
        )
    for key in ("finetuning_scaling_factor", "uses_scaling_factor"):
        if config.get(key):
            raise _refused(path, key, "none; fold it into the weights with SAELens first")
    if (config.get("reshape_activations") or "none") != "none":
        raise _refused(path, "activations of attention heads (hook_z)", "those of a layer")
    dim, latents = _sizes(config, path)
    parts = _Parts(tensors, path)
    encoder, decoder = parts.take("W_enc", (dim, latents)), parts.take("W_dec", (latents, dim))
    bias, b_dec = np.zeros(latents, np.float32), parts.take("b_dec", (dim,))
    threshold: Float32 | None = None
    if architecture == "gated":
        gate, magnitude = parts.take("b_gate", (latents,)), parts.take("b_mag", (latents,))
        scale = np.exp(parts.take("r_mag", (latents,)))
        encoder, bias = np.asarray(encoder * scale, np.float32), magnitude
        threshold = np.asarray(magnitude - scale * gate, np.float32)
        parts.leave("b_enc")
    else:
        bias = parts.take("b_enc", (latents,))
    if architecture == "jumprelu":
        threshold = parts.take("threshold", (latents,))
    elif architecture == "standard":
        threshold = np.zeros(latents, np.float32)
    parts.leave("scaling_factor")
    parts.finish()
    if config.get("apply_b_dec_to_input", True):
        bias = bias - b_dec @ encoder
    if config.get("rescale_acts_by_decoder_norm"):
        norms = np.linalg.norm(decoder, axis=1)
        encoder, bias, decoder = encoder * norms, bias * norms, decoder / norms[:, None]
    if architecture == "topk":
        k = _count(k, latents, path)
    facts = _object(config, "metadata", path)
    l0 = _object(facts, "held_out", path).get("l0", 1.0)
    if type(l0) not in (int, float) or not 0 <= l0 <= latents:
        raise SynestheteError(
            f"the configuration of {path} has the l0 {_short(l0)}, which is no number of latents"
        )
    return SparseDictionary(
        encoder=np.ascontiguousarray(encoder, np.float32),
        encoder_bias=np.asarray(bias, np.float32),
        decoder=np.ascontiguousarray(decoder, np.float32),
        decoder_bias=b_dec,
        threshold=None if threshold is None else np.maximum(threshold, 0).astype(np.float32),
        k=k if architecture == "topk" else None,
        rectified=bool(facts.get("rectified", True)),
        layer_norm=norm == "layer_norm",
        facts={
            key: value
            for key, value in facts.items()
            if key not in ("rectified", "sae_lens_version")
        },
    )


def _as_saelens(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """ViT-Prisma's configuration in SAELens' words: it grew out of it, and always takes `b_dec` off first."""
    if config.get("is_transcoder"):
        raise SynestheteError("a transcoder of ViT-Prisma is no dictionary of one layer")
    keys = ("architecture", "activation_fn_str", "activation_fn_kwargs", "d_in", "d_sae")
    found = {key: config[key] for key in keys if key in config}
    if found.get("d_sae") is None and "expansion_factor" in config:
        found["d_sae"] = _whole(config, "d_in", path) * _whole(config, "expansion_factor", path)
    # Its other normalisations are those of SAELens; what it does not name it does not do.
    found["normalize_activations"] = config.get("normalize_activations", "layer_norm")
    if found["normalize_activations"] not in ("layer_norm", "constant_norm_rescale"):
        found["normalize_activations"] = "none"
    stated = ("model_name", "hook_point", "hook_point_layer", "layer_subtype", "dataset_name")
    facts = {key: config[key] for key in stated if isinstance(config.get(key), str | int)}
    return {**found, "apply_b_dec_to_input": True, "metadata": facts}


def _of_saev(header: Mapping[str, Any], tensors: Tensors, path: Path) -> SparseDictionary:
    """saev's: since schema 2 the encoder reads the responses as they are, before that without `b_dec`."""
    config = _object(header, "cfg", path) if "cfg" in header else header
    schema = header.get("schema", 0)
    if type(schema) is not int:
        raise _refused(path, f"the schema {_short(schema)}", "a number")
    where = config if "activation" in config else header
    activation = _object(where, "activation", path) or {"cls": header.get("cls", "Relu")}
    kind = activation.get("cls", "Relu")
    if kind not in ("Relu", "SparseAutoencoderConfig", "TopK", "BatchTopK"):
        raise _refused(path, f"the activation {kind!r}", "Relu, TopK or BatchTopK")
    encoder = tensors.get("W_enc")
    if encoder is None or encoder.ndim != 2:
        raise SynestheteError(f"{path} lacks the matrix W_enc [units, latents]")
    dim, latents = encoder.shape
    parts = _Parts(tensors, path)
    encoder, decoder = parts.take("W_enc", (dim, latents)), parts.take("W_dec", (latents, dim))
    bias, b_dec = parts.take("b_enc", (latents,)), parts.take("b_dec", (dim,))
    parts.finish()
    top = _object(activation, "params", path).get("top_k", config.get("top_k"))
    # Its BatchTopK chooses among the latents of each position too.
    k = _count(top, latents, path) if kind in ("TopK", "BatchTopK") else None
    return SparseDictionary(
        encoder=encoder,
        encoder_bias=bias if schema and schema >= 2 else bias - b_dec @ encoder,
        decoder=decoder,
        decoder_bias=b_dec,
        threshold=np.zeros(latents, np.float32) if k is None else None,
        k=k,
        rectified=k is None,
    )


def _of_overcomplete(tensors: Tensors, k: int | None, path: Path) -> SparseDictionary:
    """A state dict of Overcomplete's `TopKSAE` or `JumpSAE` with a linear encoder, tied or not."""
    if "dictionary.C" in tensors:
        raise _refused(path, "an archetypal dictionary", "TopKSAE or JumpSAE")
    weights = tensors.get("dictionary._weights")
    if weights is None or weights.ndim != 2:
        raise SynestheteError(f"{path} lacks the matrix dictionary._weights [latents, units]")
    latents, dim = weights.shape
    parts = _Parts(tensors, path)
    norms = np.linalg.norm(parts.take("dictionary._weights", (latents, dim)), axis=1)
    if np.abs(norms - 1).max() > _UNIT:
        raise _refused(
            path,
            f"directions of lengths up to {norms.max():.3g}",
            "length 1, Overcomplete's default",
        )
    scale = np.exp(parts.take("dictionary.multiplier", ())) if "dictionary.multiplier" in tensors else 1.0  # fmt: skip
    decoder = np.asarray(weights / norms[:, None] * scale, np.float32)
    for name in ("encoder.final_block.0.", "encoder."):
        if f"{name}weight" in tensors:
            encoder = parts.take(f"{name}weight", (latents, dim)).T
            break
    else:
        encoder = decoder.T
        parts.leave("encoder.tied_to._weights", "encoder.tied_to.multiplier")
    name = "encoder.final_block.0.bias" if "encoder.final_block.0.bias" in tensors else "encoder.bias"  # fmt: skip
    bias = parts.take(name, (latents,)) if name in tensors else np.zeros(latents, np.float32)
    threshold = None
    if "thresholds" in tensors:
        threshold = np.exp(parts.take("thresholds", (latents,)))
    elif k is None:
        raise SynestheteError(
            f"{path} does not say how many latents are not zero at once",
            hint="give k, the top_k of its TopKSAE",
        )
    parts.finish()
    return SparseDictionary(
        encoder=np.ascontiguousarray(encoder, np.float32),
        encoder_bias=bias,
        decoder=decoder,
        decoder_bias=np.zeros(dim, np.float32),
        threshold=threshold,
        k=None if threshold is not None else _count(k, latents, path),
    )


class _Parts:
    """Tensors taken one after the other, each of the shape that it must have; `finish` refuses what is left."""

    def __init__(self, tensors: Tensors, path: Path) -> None:
        self._left, self._path = dict(tensors), path

    def take(self, name: str, shape: tuple[int, ...]) -> Float32:
        if name not in self._left:
            there = ", ".join(map(_short, sorted(self._left)[:8]))
            raise SynestheteError(f"{self._path} lacks {name}", hint=f"it has {there}")
        found = self._left.pop(name)
        if found.shape != shape:
            raise SynestheteError(
                f"{name} of {self._path} has the shape {found.shape}, not {shape}"
            )
        if not np.isfinite(found).all():
            raise SynestheteError(f"{name} of {self._path} holds NaN or infinity")
        return found

    def leave(self, *names: str) -> None:
        for name in names:
            self._left.pop(name, None)

    def finish(self) -> None:
        if self._left:
            raise SynestheteError(
                f"{self._path} has parts that are not known: {', '.join(map(_short, sorted(self._left)[:4]))}"
            )


def _weights(path: Path, leave: bool) -> dict[str, Float32]:
    return _weights_and_metadata(path, leave)[0]


def _weights_and_metadata(path: Path, leave: bool) -> tuple[dict[str, Float32], dict[str, str]]:
    """Tensors as float32, and what a safetensors file says beside them."""
    if not path.is_file():
        raise SynestheteError(f"{path.parent} lacks {path.name}")
    if path.suffix.lower() == ".safetensors":
        return _safetensors(read_named(path, max_bytes=ANY_SIZE), str(path))
    if not leave:
        raise refuse_pickle(str(path))
    tensors = read_archive(path).tensors()
    return {name: one.float().numpy() for name, one in tensors.items()}, {}


def _safetensors(data: bytes, source: str) -> tuple[dict[str, Float32], dict[str, str]]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, AttributeError) as error:
        raise SynestheteError(
            f"{source} cannot be read as safetensors: {one_line(error)}"
        ) from None
    return {name: one.float().numpy() for name, one in tensors.items()}, metadata_of(data, source)


def metadata_of(data: bytes, source: str) -> dict[str, str]:
    """What a safetensors file, which was loaded already and so is sound, says beside its tensors."""
    size = int.from_bytes(data[:8], "little")
    found: dict[str, str] = parse_json(data[8 : 8 + size], source).get("__metadata__", {})
    return found


def _json(data: bytes, path: Path) -> dict[str, Any]:
    found = parse_json(data, str(path))
    if not isinstance(found, dict):
        raise SynestheteError(f"{path} is no configuration of a dictionary: no JSON object")
    return found


def _object(config: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    found = config.get(key)
    if found is not None and not isinstance(found, dict):
        raise SynestheteError(
            f"{key} in the configuration of {path} is {_short(found)}, not an object"
        )
    return found or {}


def _sizes(config: Mapping[str, Any], path: Path) -> tuple[int, int]:
    """Units and latents."""
    dim, latents = (_whole(config, key, path) for key in ("d_in", "d_sae"))
    if dim * latents > _MOST:
        raise SynestheteError(
            f"the configuration of {path} has {latents:,} latents of {dim:,} units, more than {_MOST:,} numbers"
        )
    return dim, latents


def _whole(config: Mapping[str, Any], key: str, path: Path) -> int:
    found = config.get(key)
    if type(found) is not int or not 1 <= found <= _MOST:
        raise SynestheteError(
            f"the configuration of {path} lacks {key}, a number above 0 (at most {_MOST:,})"
        )
    return found


def _short(value: object) -> str:
    """Anything of a stranger's file on part of a line."""
    return one_line(Exception(value), 60)


def _count(k: Any, latents: int, path: Path) -> int:
    if type(k) is not int or not 1 <= k <= latents:
        raise SynestheteError(f"k of {path} is {_short(k)}, and must be from 1 to {latents}")
    return k


def _refused(path: Path, what: str, known: str) -> SynestheteError:
    return SynestheteError(
        f"{path} has {_short(what)}, which is not known here", hint=f"expected {known}"
    )
