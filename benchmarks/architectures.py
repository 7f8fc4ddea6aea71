"""Which architectures of open_clip and types of transformers are read exactly, and which edits of them exported.

`python benchmarks/architectures.py` builds all, or those named. Each is built offline with random weights in a process of its own, with limits of memory and of time, the smallest first. A row of
`docs/architectures.jsonl` says what came of it; a later run goes on with those that have none, or with those named. Then
`docs/architectures.md` is written from the rows (`--page` alone does only that).

What is compared, on images of noise and random tokens:

- embeddings while every layer is read, with those of the library's plain pass;
- every block that the library itself can return (`forward_intermediates`; of text towers of transformers `output_hidden_states`), with
  what is read there;
- MLP neurons of the first and the last block: the rest of the MLP applied to them, with what the MLP returned; of text towers of
  transformers, with what the linear layer behind them is given;
- `:pre`: the non-linearity applied to it, with the layer itself;
- edits at the last layer of every kind: the library's plain pass with the folded weights, with the live edit. It is the comparison
  that `export_edits` makes, without writing the file.

Types of transformers have the sizes that the library's configuration of the type has where nothing is said. Every layer of them is
compared: blocks with what the module gives, neurons with what the linear layer behind them is given, and `:pre` with what the one
before them gives, each noted in a plain pass without hooks.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import resource
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
ROWS, PAGE = DOCS / "architectures.jsonl", DOCS / "architectures.md"
EXACT = 1e-4  # of the largest value
EXPORTED = 1e-4  # of an embedding's components, as `export_edits` demands
MEMORY = 12.0  # gigabytes of one
GB, BYTES = 2**30, 4  # bytes of a float32
NOT_BUILT = "not built"
UNSTEADY = "a text has another embedding with padding than without"
CONTEXT = 77  # tokens that open_clip gives a text tower of transformers
CONFIGURATION = "open_clip_config.json"
TIMES = 1.25  # memory that a network takes while it is built and edited, in sizes of its weights
TOO_LARGE = "more than"
PREFIX = "transformers:"
# All that have features of images and of texts, and the towers of images that people fine-tune.
TYPES = (
    "aimv2", "align", "altclip", "blip", "blip-2", "chinese_clip", "clip", "clipseg", "flava", "groupvit", "metaclip_2", "owlv2",
    "owlvit", "siglip", "siglip2", "tipsv2", "vision-text-dual-encoder",
    "aimv2_vision_model", "beit", "bit", "chinese_clip_vision_model", "clip_vision_model", "convnext", "convnextv2", "cvt",
    "data2vec-vision", "deit", "dinov2", "dinov2_with_registers", "dinov3_convnext", "dinov3_vit", "efficientnet", "focalnet", "hiera",
    "ijepa", "levit", "mobilenet_v1", "mobilenet_v2", "mobilevit", "mobilevitv2", "poolformer", "pvt", "pvt_v2", "regnet", "resnet",
    "segformer", "siglip_vision_model", "siglip2_vision_model", "swiftformer", "swin", "swinv2", "vit", "vit_msn",
)  # fmt: skip
KINDS = {"mlp": "MLP neurons", "heads": "heads", "residual": "residual stream", "block": "block channels"}  # fmt: skip


def measure(name: str) -> dict[str, Any]:
    """Build one architecture with random weights, read it, edit it."""
    import torch

    from synesthete.models import load_model
    from synesthete.models.adapter import Network
    from synesthete.models.building import ImageOnly
    from synesthete.models.hub_text import HubTower

    torch.set_num_threads(1)
    model = load_model(f"{name}/random", device="cpu")
    side = model.preprocessing.image_size
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    seen = isinstance(model.network, Network)
    read = _read_beside_modules if seen else _read
    with torch.inference_mode():
        image = read(model, model._taps, pixels)
        text = read(model, model._text_taps, _tokens(model)) if model._text_taps else None
    layers = [layer for one in (image, text) if one for layer in one["units"]]
    errors = {
        f"{tower}_{kind}": value
        for tower, one in (("image", image), ("text", text))
        if one
        for kind, value in one["errors"].items()
    }
    tower = model._text_tower
    kind = type(tower.encoder.transformer if isinstance(tower, HubTower) else tower).__name__
    if seen and text is None:
        two = hasattr(model.network.visual.trunk, "get_text_features")
        kind = UNSTEADY if two else NOT_BUILT
    edits = _edits(model, pixels, image, text)
    return {
        "image_tower": model.description["image_tower"],
        "image_size": side,
        "text_tower": NOT_BUILT if isinstance(model.network, ImageOnly) else kind,
        "layers": {"image": len(image["units"]), "text": len(text["units"]) if text else 0},
        "units": sum(unit for one in (image, text) if one for unit in one["units"].values()),
        "default": model.default_layers[0],
        "errors": errors,
        "exact": bool(layers) and all(value <= EXACT for value in errors.values()),
        "edits": edits,
    }


def _tokens(model: Any) -> Any:
    """Random tokens with an end in the middle, as every tower finds it."""
    import torch

    from synesthete.models.adapter import TextTower
    from synesthete.models.hub_text import HubTower

    tower = model._text_tower
    if isinstance(tower, TextTower):
        return _tokens_of_transformers(tower)
    known = int(tower.vocab_size)
    if isinstance(tower, HubTower):
        # The lowest numbers mark start, end and padding.
        tokens = torch.full((2, CONTEXT), tower.pad)
        tokens[:, : CONTEXT // 2] = torch.randint(
            8, known, (2, CONTEXT // 2), generator=torch.Generator().manual_seed(0)
        )
        return tokens
    tokens = torch.zeros(2, int(tower.context_length), dtype=torch.long)
    half = tokens.shape[1] // 2
    tokens[:, :half] = torch.randint(
        1, known - 2, (2, half), generator=torch.Generator().manual_seed(0)
    )
    eos = getattr(tower, "eos_id", getattr(tower, "text_eos_id", None))
    marked = getattr(tower, "pool_type", getattr(tower, "text_pool_type", "")) == "eos"
    tokens[:, half] = eos if marked else known - 1
    return tokens


def _tokens_of_transformers(tower: Any) -> Any:
    """Random tokens, of the first text as many as fit, of the second half as many, as far as the tower masks padding."""
    import torch

    from synesthete.models.adapter import HIDDEN

    length, vocabulary = tower.context_length, tower.vocabulary
    length = length if tower.pool == "last" else min(length, CONTEXT)
    # The lowest numbers mark start, end and padding, as do the highest.
    tokens = torch.randint(8, vocabulary - 2, (2, length), generator=torch.Generator().manual_seed(0))  # fmt: skip
    if tower.pool == "last":
        return tokens
    end = getattr(tower.trunk.config.text_config, "eos_token_id", None)
    end = end if isinstance(end, int) and 2 < end < vocabulary else vocabulary - 1
    tokens[0, -1] = tokens[1, length // 2] = end
    tokens[1, length // 2 + 1 :] = HIDDEN
    return tokens


def _read_beside_modules(model: Any, taps: Any, given: Any) -> dict[str, Any]:
    """As `_read`, of a network of transformers: every layer beside what its modules give in a pass without hooks."""
    import torch
    from torch.nn.functional import normalize

    from synesthete.models.hooks import capture

    of_text = given.ndim == 2
    network = model.network
    tower = network.text if of_text else network.visual
    noted: dict[tuple[str, int], Any] = {}
    sources: dict[str, tuple[str, int]] = {}
    for tap in taps.values():
        before = tap.layer.endswith(":pre")
        if tap.kind == "mlp":
            sources[tap.layer] = (tap.writer, 1) if before else (tap.reader, 0)
        elif not before:
            sources[tap.layer] = (tap.layer, 1)

    def first(one: Any) -> Any:
        return one if isinstance(one, torch.Tensor) else one[0]

    replaced = {path: network.get_submodule(path) for path, _ in sources.values()}
    for path, module in replaced.items():

        def forward(*args: Any, _own: Any = module.forward, _path: str = path, **more: Any) -> Any:
            if (_path, 0) in sources.values():
                noted[_path, 0] = first(next(iter((*args, *more.values())))).clone()
            out = _own(*args, **more)
            if (_path, 1) in sources.values():
                noted[_path, 1] = first(out).clone()
            return out

        module.forward = forward
    plain = normalize(tower.call(tower.trunk, given), dim=-1)
    for module in replaced.values():
        del module.forward
    units: dict[str, int] = {}
    errors: dict[str, float] = {}
    strongest: dict[str, int] = {}
    largest: dict[str, float] = {}
    kept: dict[str, Any] = {}

    def take(tap: Any, found: Any) -> None:
        assert torch.isfinite(found.patches).all()
        units[tap.layer] = int(found.patches.shape[2])
        values = found.patches.abs().amax((0, 1))
        strongest[tap.layer], largest[tap.layer] = int(values.argmax()), float(values.max())
        if tap.layer not in sources:
            kept[tap.layer] = found.patches.clone()
            return
        raw = noted.pop(sources[tap.layer])
        kind = "blocks" if tap.kind != "mlp" else "pre" if tap.layer.endswith(":pre") else "mlp"
        beside = tap.arranged.responses(raw, tap.layer)
        error = _error(found.patches, beside.patches)
        if found.cls is not None:
            error = max(error, _error(found.cls, beside.cls))
        errors[kind] = max(errors.get(kind, 0.0), error)
        if f"{tap.layer}:pre" in kept:
            kept[tap.layer] = found.patches.clone()

    with capture(list(taps.values()), take):
        embedded = (network.encode_text if of_text else network.encode_image)(given, normalize=True)
    for name in [one for one in kept if one.endswith(":pre")]:
        again = taps[name].source(kept[name])
        error = _error(again, kept[name.removesuffix(":pre")])
        errors["pre"] = max(errors.get("pre", 0.0), error)
    errors["embedding"] = _error(embedded, plain)
    mlps = [tap.layer for tap in taps.values() if tap.kind == "mlp"]
    blocks = [name for name in sources if taps[name].kind != "mlp"]
    alive = {name: strongest[name] for name in mlps[-1:] + blocks[-1:]}
    return {"units": units, "errors": errors, "alive": alive, "largest": largest}


def _read(model: Any, taps: Any, given: Any) -> dict[str, Any]:
    """Layers, units and errors of one tower."""
    import torch
    from torch.nn.functional import normalize

    from synesthete.models.hooks import capture
    from synesthete.models.hub_text import HubTower

    of_text = given.ndim == 2
    tower = model._text_tower if of_text else model.network.visual
    mlps = [tap for tap in taps.values() if tap.kind == "mlp"]
    ends = {id(tap.window) for tap in (mlps[0], mlps[-1])} if mlps else set()
    blocks = [t for t in taps.values() if t.kind != "mlp" and not t.layer.endswith(":pre")]
    # Of every stage (or of the only one) what it ends with; for blocks in a row, every block.
    units, kept, returned, readers = {}, {}, {}, {}

    def take(tap: Any, found: Any) -> None:
        units[tap.layer] = int(found.patches.shape[2])
        if tap.kind != "mlp" or id(tap.window) in ends:
            kept[tap.layer] = found.patches.clone()

    handles = [
        tap.window.register_forward_hook(
            lambda module, args, out, tap=tap: returned.__setitem__(tap.layer, out.clone())
        )
        for tap in mlps
        if id(tap.window) in ends and not tap.layer.endswith(":pre")
    ]
    of_hub = isinstance(tower, HubTower)
    if of_hub:
        handles += [
            model.network.get_submodule(tap.reader).register_forward_pre_hook(
                lambda module, args, tap=tap: readers.__setitem__(tap.layer, args[0].clone())
            )
            for tap in mlps
            if id(tap.window) in ends and not tap.layer.endswith(":pre")
        ]
    with capture(list(taps.values()), take):
        whole = model.network.encode_text if of_text else model.network.encode_image
        embedded = whole(given, normalize=True)
    for handle in handles:
        handle.remove()
    if of_hub:
        plain = _hidden_states(tower, given)
    elif of_text:
        more = {} if tower is model.network else {"output_fmt": "NLC"}
        plain = tower.forward_intermediates(text=given, **more)
    else:
        plain = tower.forward_intermediates(given)
    key = "text" if of_text else "image"
    errors = {"embedding": _error(embedded, normalize(plain[f"{key}_features"], dim=-1))}
    features = plain[f"{key}_intermediates"]
    last = {
        tap.layer.rpartition(".")[0] if tap.kind == "block" else tap.layer: tap for tap in blocks
    }
    if of_hub:
        pairs = [(last[name], state) for name, state in features.items()]
    else:
        pairs = list(zip(reversed(last.values()), reversed(features), strict=False))
    compared = [
        _error(kept[tap.layer][:, : _flat(feature).shape[1]], _flat(feature))
        for tap, feature in pairs
    ]
    errors["blocks"] = max(compared)
    for tap in mlps:
        if tap.layer in readers:
            errors["mlp"] = max(errors.get("mlp", 0.0), _error(kept[tap.layer], readers[tap.layer]))
        elif tap.layer in returned and tap.layer in kept:
            out = tap.arranged.responses(returned[tap.layer], tap.layer).patches
            errors["mlp"] = max(errors.get("mlp", 0.0), _error(_rest(tap, kept[tap.layer]), out))
    for name in [one for one in kept if f"{one}:pre" in kept]:
        tap = taps[f"{name}:pre"]
        if tap.kind == "mlp" or tap.closing:
            again = tap.source(kept[f"{name}:pre"].clone())
            errors["pre"] = max(errors.get("pre", 0.0), _error(again, kept[name]))
    alive = {
        tap.layer: int(kept[tap.layer].abs().amax((0, 1)).argmax())
        for tap in (mlps[-1:] if mlps else []) + blocks[-1:]
    }
    assert all(torch.isfinite(values).all() for values in kept.values())
    return {"units": units, "errors": errors, "alive": alive, "compared": len(compared)}


def _hidden_states(tower: Any, tokens: Any) -> dict[str, Any]:
    """What transformers itself returns of a text tower: its embeddings, and by its last layer the stream behind every block.

    Of towers that end in a norm, what is returned as the last block's has been through it, and is left out.
    """
    out = tower.encoder.transformer(
        input_ids=tokens, attention_mask=(tokens != tower.pad).long(), output_hidden_states=True
    )
    states = out.hidden_states[1:]
    if any("final" in name or name == "layer_norm" for name, _ in tower.encoder.transformer.named_children()):  # fmt: skip
        states = states[:-1]
    blocks: dict[int, str] = {}
    for place in tower.places:
        if place.kind == "residual":
            blocks[int(re.findall(r"\d+", place.name)[0])] = f"text.{place.name}"
    return {
        "text_features": tower.encoder.proj(
            tower.encoder.pooler(out, (tokens != tower.pad).long())
        ),
        "text_intermediates": {blocks[at]: state for at, state in enumerate(states)},
    }


def _rest(tap: Any, neurons: Any) -> Any:
    """What an MLP makes of its neurons."""
    children = list(tap.window.children())
    if tap.side == "output":  # of the non-linearity; whatever comes after it is the rest
        after = children[children.index(tap.source) + 1 :]
    else:
        after = children[children.index(tap.source) :]
    for module in after:
        neurons = module(neurons)
    return neurons


def _flat(feature: Any) -> Any:
    """`[batch, positions, units]` of maps or tokens."""
    return feature.flatten(2).transpose(1, 2) if feature.ndim == 4 else feature


def _error(found: Any, expected: Any) -> float:
    """The largest difference, as a share of the largest value."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


def _edits(model: Any, pixels: Any, image: Any, text: Any) -> dict[str, Any]:
    """By tower and kind of unit: the difference between folded and live, or why there is none."""
    import torch

    from synesthete.editing import Edit, Edits
    from synesthete.editing.fold import Unfoldable, fold

    found: dict[str, Any] = {}
    passes = {"image": (image, pixels, model.network.encode_image)}
    if text is not None:
        passes["text"] = (text, _tokens(model), model.network.encode_text)
    for tower, (read, given, embed) in passes.items():
        wanted: dict[str, list[Edit]] = {}
        for layer, unit in read["alive"].items():
            kind, address = model.site(layer).kind, f"{layer}:{unit}"
            # Of maps without a norm behind them, the values of random weights can be of any size.
            shift = Edit(address, "steer", max(3.0, read.get("largest", {}).get(layer, 0.0)))
            # Nothing but a shift of the residual stream can be folded, and of some blocks.
            wanted[kind] = {"residual": [shift], "block": [Edit(address, "ablate"), shift]}.get(kind, [Edit(address, "ablate")])  # fmt: skip
        heads = [name for name, site in model._sites.items() if site.kind == "heads" and name.startswith("text.") == (tower == "text")]  # fmt: skip
        if heads:
            wanted["heads"] = [Edit(f"{heads[-1]}:0", "ablate")]
        fine = []
        for kind, choices in wanted.items():
            for edit in choices:
                edits = Edits((edit,), model.name, model.weights_sha256)
                try:
                    fold(model, edits)
                    fine.append((kind, edit))
                    break
                except Unfoldable as error:
                    found.setdefault(f"{tower} {kind}", error.message.partition(": ")[2])
        if not fine:
            continue
        edits = Edits(tuple(edit for _, edit in fine), model.name, model.weights_sha256)
        with torch.inference_mode():
            before = embed(given, normalize=True)
            with model.edited(edits):
                live = embed(given, normalize=True)
            folded = fold(model, edits)
            given_weights = model.network.state_dict()
            # A state dict's tensors are new ones each time, of the same memory.
            changed = {
                n: w for n, w in folded.items() if w.data_ptr() != given_weights[n].data_ptr()
            }
            kept = {n: given_weights[n].clone() for n in changed}
            for name, weight in changed.items():
                given_weights[name].copy_(weight)
            plain = embed(given, normalize=True)
            for name, weight in kept.items():
                given_weights[name].copy_(weight)
        difference = float((plain - live).abs().max())
        effect = float((live - before).abs().max())
        for kind, _ in fine:
            key = f"{tower} {kind}"
            if key in found:
                found[f"{key} ablated"] = found[key]
            found[key] = difference
        found[f"{tower} effect"] = effect
    return found


def _work(name: str, memory: int, row: dict[str, Any], path: str) -> None:
    """In a process of its own: one row into a file."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    start = time.process_time()
    try:
        row = row | measure(name)
    except Exception as error:  # noqa: BLE001 (whatever it is stands in the table)
        text = " ".join(str(error).split())[:200] or type(error).__name__
        if isinstance(error, MemoryError) or "can't allocate memory" in text:
            text = f"{TOO_LARGE} {memory / GB:.0f} GB of memory"
        row = row | {"failure": text, "type": type(error).__name__}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    row |= {"seconds": round(time.process_time() - start, 1), "peak_gb": round(peak / GB, 2)}
    Path(path).write_text(json.dumps(row), encoding="utf-8")


def _sizes(names: Sequence[str], path: str) -> None:
    """How many weights each has, from builds that allocate nothing."""
    import tempfile

    import torch
    from open_clip.coca_model import CoCa
    from open_clip.model import CLIP, CustomTextCLIP

    from synesthete.models.building import shape_of_text, write_configuration
    from synesthete.models.sources import resolve

    rows = []
    for name in names:
        source = resolve(f"{name}/random")
        if name.startswith(PREFIX):
            from transformers import __version__

            size = _size_in_transformers(source)
            rows.append({"architecture": name, "parameters": size, "transformers": __version__})
            continue
        shape = shape_of_text(source)
        with tempfile.TemporaryDirectory() as folder, torch.device("meta"):
            write_configuration(Path(folder), source, shape)
            config = json.loads((Path(folder) / CONFIGURATION).read_text())["model_cfg"]
            kept = ("embed_dim", "vision_cfg", "text_cfg", "multimodal_cfg")
            parts = {key: config[key] for key in kept if key in config}
            if shape:
                parts["text_cfg"]["hf_model_pretrained"] = False
            plain = CustomTextCLIP if shape else CLIP
            network = (CoCa if "multimodal_cfg" in parts else plain)(**parts)
        size = sum(weight.numel() for weight in network.parameters())
        rows.append({"architecture": name, "parameters": size})
    Path(path).write_text(json.dumps(rows), encoding="utf-8")


def _size_in_transformers(source: Any) -> int:
    """How many weights a type has in its default size; 0 where it cannot be built, as its row will say."""
    import torch

    from synesthete.models.transformers_models import TransformersModel

    try:
        with torch.device("meta"):
            network = TransformersModel(source)._build()
        return sum(weight.numel() for weight in network.parameters())
    except Exception:  # noqa: BLE001 (whatever it is, building it says it again)
        return 0


def run(names: Sequence[str], *, limit: int, memory: float, seconds: float) -> None:
    """Measure what has no row yet, or the architectures named."""
    import tempfile

    from synesthete.models.names import architectures

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "open_clip", "synesthete.editing.fold", "synesthete.models.loading", "synesthete.models.text", "synesthete.models.building", "synesthete.models.transformers_models", "transformers.modeling_utils", "transformers.models.auto.modeling_auto"])  # fmt: skip
    rows = read_rows()

    def child(target: Any, *args: Any, patience: float) -> Any:
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            process = context.Process(target=target, args=(*args, file.name))
            process.start()
            process.join(patience)
            if process.is_alive():
                process.kill()
                process.join()
                return None
            text = Path(file.name).read_text(encoding="utf-8")
            return json.loads(text) if text else process.exitcode

    def keep(row: dict[str, Any]) -> None:
        rows[row["architecture"]] = row
        write_rows(rows.values())

    everything = (*architectures(), *(PREFIX + one for one in TYPES))
    unknown = [name for name in everything if name not in rows]
    if unknown:
        rows |= {row["architecture"]: row for row in child(_sizes, unknown, patience=seconds)}
        write_rows(rows.values())
    wanted = [
        row
        for row in sorted(rows.values(), key=_order)
        if (row["architecture"] in names if names else "seconds" not in row)
    ]
    for row in wanted[: limit or None]:
        name = row["architecture"]
        known = {k: row[k] for k in ("architecture", "parameters", "transformers") if k in row}
        need = _need(row)
        free = min(memory, _free() - 2)
        if need > free:
            print(f"{name}: needs about {need:.0f} GB, {free:.0f} GB are free", flush=True)
            continue
        found = child(_work, name, int(memory * GB), known, patience=seconds)
        if found is None:
            found = known | {"failure": f"more than {seconds:g} seconds", "seconds": seconds}
        elif not isinstance(found, dict):
            found = known | {"failure": f"the process ended with {found}", "seconds": 0}
        keep(found)
        print(f"{name}: {found.get('failure') or found['errors']}", flush=True)


def _free() -> float:
    """Gigabytes that are free on this machine."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024 / GB
    return 0.0


def _order(row: dict[str, Any]) -> tuple[int, str]:
    return row["parameters"], row["architecture"]


def read_rows() -> dict[str, dict[str, Any]]:
    """By architecture."""
    if not ROWS.exists():
        return {}
    rows = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    return {row["architecture"]: row for row in rows}


def write_rows(rows: Iterable[dict[str, Any]]) -> None:
    """Whole, smallest first."""
    text = "".join(json.dumps(row) + "\n" for row in sorted(rows, key=_order))
    draft = ROWS.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(ROWS)


def main() -> None:
    """Run, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("architectures", nargs="*", help="these, though they have a row")
    parser.add_argument("--limit", type=int, default=0, help="at most so many")
    parser.add_argument("--memory", type=float, default=MEMORY, help="gigabytes of one")
    parser.add_argument("--seconds", type=float, default=1800, help="of one")
    parser.add_argument("--page", action="store_true", help="only write the page")
    given = parser.parse_args()
    if not given.page:
        run(given.architectures, limit=given.limit, memory=given.memory, seconds=given.seconds)
    PAGE.write_text(page(read_rows().values()), encoding="utf-8")


HEAD = """# Architectures

Every architecture of open_clip {version}, built offline with random weights in a process of its own, the smallest first. **{ran} of {fit} that fit in
{memory:g} GB were run: {built} were built, {exact} are read exactly, edits of the image tower can be exported of {images} and of the
text tower of {texts}, and {crashed}.** {rest}

- **Exact**: embeddings while every layer is read, every block that the library itself can return, the MLP neurons of the first and the last block, and `:pre`,
  against the library's plain pass, on two images of noise and two random texts. The number is the largest difference, as a share of the
  largest value; up to {limit:g} counts as exact.
- **Edits exported**: one edit at the last layer of each kind is folded into the weights, and the library's plain pass with them gives the embeddings of the
  live edit within {exported_limit:g} (an export does the same comparison, with the written file). Of the residual stream, only shifts can be folded. Numbers in
  brackets are reasons against it, below the table.
- **Text towers of transformers** (roberta, xlm-roberta, mt5, nllb) are built from the shapes in `synesthete/models/hub_text.py`.
- **Seconds** are of one processor core; memory is the peak of the whole process, of which about 0.6 GB are the libraries. Where it is
  two or three times the weights, the rest were copies that the benchmark itself held, as it does no more.

`make matrix` goes on with what was not run, and writes this page from `docs/architectures.jsonl`; `make matrix MATRIX="RN50 ViT-B-32"` runs those again.
`make test` runs one small architecture of each family that has no test of its own.
"""
TABLE = """
| architecture | image tower | weights, millions | layers, images + texts | units | reading | edits exported: images | texts | seconds | GB |
| --- | --- | ---: | ---: | ---: | --- | --- | --- | ---: | ---: |
"""
HEAD_OF_TRANSFORMERS = """
## Types of transformers

Types of transformers {transformers}, in the size that its configuration of the type has where nothing is said (`transformers:TYPE/random`), built and measured in
the same way: all whose model has features of images and of texts, and towers of images. **{ran} of {fit} that fit in {memory:g} GB were run:
{built} were built, {exact} are read exactly, edits of the image tower can be exported of {images} and of the text tower of {texts}, {refused} are refused in one line,
and {crashed}.** {rest}

- **Exact**: embeddings while every layer is read, against the model's own `get_image_features` and `get_text_features` (or `pooler_output`) without hooks; in
  the same plain pass every block as its module gives it, every layer of MLP neurons as the next linear layer is given it, and `:pre` as the one before gives it.
- **Edits exported**: as above; of blocks an ablation, or a shift where that alone can be folded.

`make matrix MATRIX="transformers:siglip transformers:dinov2"` runs these again.
"""


def page(rows: Iterable[dict[str, Any]]) -> str:
    """docs/architectures.md."""
    import open_clip

    rows = sorted(rows, key=_order)
    of_transformers = [row for row in rows if row["architecture"].startswith(PREFIX)]
    text = _part(
        HEAD.replace("{version}", open_clip.__version__) + TABLE,
        [row for row in rows if row not in of_transformers],
        "##",
    )
    if of_transformers:
        version = next(r["transformers"] for r in of_transformers if "transformers" in r)
        head = HEAD_OF_TRANSFORMERS.replace("{transformers}", version) + TABLE
        text += _part(head, of_transformers, "###")
    return text


def _part(head: str, rows: Sequence[dict[str, Any]], level: str) -> str:
    """What a library's architectures have on the page."""
    ran = [row for row in rows if "seconds" in row]
    large = [
        row
        for row in rows
        if row.get("failure", "").startswith(TOO_LARGE) or (row not in ran and _need(row) > MEMORY)
    ]
    ran = [row for row in ran if row not in large]
    fine = [row for row in ran if "failure" not in row]
    waiting = [row for row in rows if row not in ran and row not in large]
    images, texts = (sum(_exported(row, tower) for row in fine) for tower in ("image", "text"))
    refused = [row for row in ran if row.get("type") == "SynestheteError"]
    failed = [row for row in ran if "failure" in row and row not in refused]
    rest = "All of them were run."
    if waiting:
        smallest = waiting[0]["parameters"] / 1e6
        rest = f"{len(waiting)}, of {smallest:.0f} million weights or more, were not run yet."
    text = head.format(
        ran=len(ran),
        fit=len(rows) - len(large),
        memory=MEMORY,
        built=len(fine),
        exact=sum(row["exact"] for row in fine),
        images=images,
        texts=texts,
        refused=len(refused),
        crashed=f"{len(failed)} failed" if failed else "none crashed",
        rest=rest,
        limit=EXACT,
        exported_limit=EXPORTED,
    )
    reasons: list[str] = []
    for row in ran:
        text += _line(row, reasons)
    if reasons:
        text += "\n" + "".join(f"{n}. {one}\n" for n, one in enumerate(reasons, 1))
    for title, some in (
        (f"Larger than {MEMORY:g} GB", large),
        ("Not run yet", waiting),
    ):
        if some:
            names = ", ".join(f"`{row['architecture']}` ({row['parameters'] / 1e6:,.0f})" for row in some)  # fmt: skip
            text += f"\n{level} {title}\n\nWith their weights in millions: {names}.\n"
    return text


def _need(row: dict[str, Any]) -> float:
    """Gigabytes that an architecture takes, about."""
    return float(TIMES * BYTES * row["parameters"] / GB + 1)


def _line(row: dict[str, Any], reasons: list[str]) -> str:
    start = f"| `{row['architecture']}`"
    size, end = f"{row['parameters'] / 1e6:,.0f}", f"{row['seconds']:.0f} | {row.get('peak_gb', 0):.1f} |\n"  # fmt: skip
    if "failure" in row:
        return f"{start} | – | {size} | – | – | {row['failure'].replace('|', '/')} | – | – | {end}"
    largest = max(row["errors"].values())
    layers = f"{row['layers']['image']} + {row['layers']['text']}"
    reading = f"{'exact' if row['exact'] else 'differs'}, {largest:.0e}" if largest else "exact, 0"
    cells = [_cell(row, tower, reasons) for tower in ("image", "text")]
    if row["text_tower"] == NOT_BUILT:
        cells[1] = "none"
    if row["text_tower"] == UNSTEADY:
        cells[1] = f"not read [{_number(UNSTEADY, reasons)}]"
    return f"{start} | {row['image_tower']} {row['image_size']} px | {size} | {layers} | {row['units']:,} | {reading} | {cells[0]} | {cells[1]} | {end}"  # fmt: skip


def _cell(row: dict[str, Any], tower: str, reasons: list[str]) -> str:
    parts = []
    for kind, name in KINDS.items():
        found = row["edits"].get(f"{tower} {kind}")
        if isinstance(found, str):
            found = re.sub(r"^after a \w+ every", "after such a block every", found)
            parts.append(f"no {name} [{_number(found, reasons)}]")
        elif found is not None:
            only = row["edits"].get(f"{tower} {kind} ablated")
            shifts = f", by shifts alone [{_number(only, reasons)}]" if only else ""
            parts.append(name + shifts if found <= EXPORTED else f"no {name} ({found:.0e})")
    return ", ".join(parts) or "–"


def _number(reason: str, reasons: list[str]) -> int:
    """Of a reason, its number below the table."""
    if reason not in reasons:
        reasons.append(reason)
    return reasons.index(reason) + 1


def _exported(row: dict[str, Any], tower: str) -> bool:
    return any(
        isinstance(value := row["edits"].get(f"{tower} {kind}"), float) and value <= EXPORTED
        for kind in KINDS
    )


if __name__ == "__main__":
    main()
