"""Which of open_clip's architectures are read exactly, and which edits of them exported: `python benchmarks/architectures.py`.

Each is built offline with random weights in a process of its own, with limits of memory and of time, the smallest first. A row of
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
CONTEXT = 77  # tokens that open_clip gives a text tower of transformers
CONFIGURATION = "open_clip_config.json"
TIMES = 1.25  # memory that a network takes while it is built and edited, in sizes of its weights
TOO_LARGE = "more than"
KINDS = {"mlp": "MLP neurons", "heads": "heads", "residual": "residual stream", "block": "block channels"}  # fmt: skip


def measure(name: str) -> dict[str, Any]:
    """Build one architecture with random weights, read it, edit it."""
    import torch

    from synesthete.models import load_model
    from synesthete.models.building import ImageOnly
    from synesthete.models.hub_text import HubTower

    torch.set_num_threads(1)
    model = load_model(f"{name}/random", device="cpu")
    side = model.preprocessing.image_size
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        image = _read(model, model._taps, pixels)
        text = _read(model, model._text_taps, _tokens(model)) if model._text_taps else None
    layers = [layer for one in (image, text) if one for layer in one["units"]]
    errors = {
        f"{tower}_{kind}": value
        for tower, one in (("image", image), ("text", text))
        if one
        for kind, value in one["errors"].items()
    }
    tower = model._text_tower
    kind = type(tower.encoder.transformer if isinstance(tower, HubTower) else tower).__name__
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

    from synesthete.models.hub_text import HubTower

    tower = model._text_tower
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
        wanted: dict[str, Edit] = {}
        for layer, unit in read["alive"].items():
            kind = model.site(layer).kind
            # Nothing but a shift of the residual stream can be folded.
            wanted[kind] = Edit(f"{layer}:{unit}", *(("steer", 3.0) if kind == "residual" else ("ablate",)))  # fmt: skip
        heads = [name for name, site in model._sites.items() if site.kind == "heads" and name.startswith("text.") == (tower == "text")]  # fmt: skip
        if heads:
            wanted["heads"] = Edit(f"{heads[-1]}:0", "ablate")
        fine = []
        for kind, edit in wanted.items():
            edits = Edits((edit,), model.name, model.weights_sha256)
            try:
                fold(model, edits)
                fine.append((kind, edit))
            except Unfoldable as error:
                found[f"{tower} {kind}"] = error.message.partition(": ")[2]
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
            found[f"{tower} {kind}"] = difference
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


def run(names: Sequence[str], *, limit: int, memory: float, seconds: float) -> None:
    """Measure what has no row yet, or the architectures named."""
    import tempfile

    from synesthete.models.names import architectures

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "open_clip", "synesthete.editing.fold", "synesthete.models.loading", "synesthete.models.text", "synesthete.models.building"])  # fmt: skip
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

    unknown = [name for name in architectures() if name not in rows]
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
        known = {key: row[key] for key in ("architecture", "parameters")}
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

| architecture | image tower | weights, millions | layers, images + texts | reading | edits exported: images | texts | seconds | GB |
| --- | --- | ---: | ---: | --- | --- | --- | ---: | ---: |
"""


def page(rows: Iterable[dict[str, Any]]) -> str:
    """docs/architectures.md."""
    import open_clip

    rows = sorted(rows, key=_order)
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
    failed = [row for row in ran if "failure" in row]
    rest = "All of them were run."
    if waiting:
        smallest = waiting[0]["parameters"] / 1e6
        rest = f"{len(waiting)}, of {smallest:.0f} million weights or more, were not run yet."
    text = HEAD.format(
        version=open_clip.__version__,
        ran=len(ran),
        fit=len(rows) - len(large),
        memory=MEMORY,
        built=len(fine),
        exact=sum(row["exact"] for row in fine),
        images=images,
        texts=texts,
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
            text += f"\n## {title}\n\nWith their weights in millions: {names}.\n"
    return text


def _need(row: dict[str, Any]) -> float:
    """Gigabytes that an architecture takes, about."""
    return float(TIMES * BYTES * row["parameters"] / GB + 1)


def _line(row: dict[str, Any], reasons: list[str]) -> str:
    start = f"| `{row['architecture']}`"
    size, end = f"{row['parameters'] / 1e6:,.0f}", f"{row['seconds']:.0f} | {row.get('peak_gb', 0):.1f} |\n"  # fmt: skip
    if "failure" in row:
        return f"{start} | – | {size} | – | {row['failure'].replace('|', '/')} | – | – | {end}"
    largest = max(row["errors"].values())
    layers = f"{row['layers']['image']} + {row['layers']['text']}"
    reading = f"{'exact' if row['exact'] else 'differs'}, {largest:.0e}" if largest else "exact, 0"
    cells = [_cell(row, tower, reasons) for tower in ("image", "text")]
    if row["text_tower"] == NOT_BUILT:
        cells[1] = "none"
    return f"{start} | {row['image_tower']} {row['image_size']} px | {size} | {layers} | {reading} | {cells[0]} | {cells[1]} | {end}"  # fmt: skip


def _cell(row: dict[str, Any], tower: str, reasons: list[str]) -> str:
    parts = []
    for kind, name in KINDS.items():
        found = row["edits"].get(f"{tower} {kind}")
        if isinstance(found, str):
            found = re.sub(r"^after a \w+ every", "after such a block every", found)
            if found not in reasons:
                reasons.append(found)
            parts.append(f"no {name} [{reasons.index(found) + 1}]")
        elif found is not None:
            parts.append(name if found <= EXPORTED else f"no {name} ({found:.0e})")
    return ", ".join(parts) or "–"


def _exported(row: dict[str, Any], tower: str) -> bool:
    return any(
        isinstance(value := row["edits"].get(f"{tower} {kind}"), float) and value <= EXPORTED
        for kind in KINDS
    )


if __name__ == "__main__":
    main()
