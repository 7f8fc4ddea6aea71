"""All claims side by side in one run, with what the machine itself can do: `make bench`.

    python benchmarks/run_all.py [--only PART ...] [--out docs/benchmarks]

Each part is a command of this folder, or a measurement below; its ratios are of one run on one machine, with both sides in turns or one after the
other, and `n` is the number of repetitions: the interval is from the lowest to the highest of them where there are several. Writes Markdown and JSON.
scikit-learn and open_clip are installed anyway; other peers are run from folders of theirs, and left out without:

    git clone https://github.com/Trustworthy-ML-Lab/CLIP-dissect                                            --clip-dissect CLIP-dissect
    pip install --no-deps --target lucent torch-lucent==0.1.8 kornia==0.4.1 future decorator                --lucent lucent
    pip install --no-deps --target more overcomplete==0.3.0 einops scikit-image lazy_loader matplotlib==3.8.4 contourpy cycler fonttools
        kiwisolver pyparsing opencv-python-headless faiss-cpu                                               --peers more

`--atlas demo.atlas` (`synesthete demo`) is what the part `images` needs.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
PACKAGES = ("torch", "open_clip_torch", "numpy", "scipy", "scikit-learn", "lancedb", "ray")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A figure and what it should be; `aim` None for what the machine can do."""

    claim: str
    value: float
    unit: str
    n: int = 1
    low: float | None = None
    high: float | None = None
    aim: float | None = None
    at_most: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the aim is reached."""
        if self.aim is None:
            return None
        return self.value <= self.aim if self.at_most else self.value >= self.aim


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is run, and how its figures are read."""

    name: str
    run: Callable[[argparse.Namespace], Iterator[Row]]
    command: str


def repeated(work: Callable[[], Any], times: int = 5) -> list[float]:
    """Seconds of each of several repetitions, after one that does not count."""
    work()
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return found


def spread(claim: str, amounts: list[float], unit: str, **more: Any) -> Row:
    """The median of several figures, with the lowest and the highest."""
    return Row(
        claim=claim, value=float(np.median(amounts)), unit=unit,
        n=len(amounts), low=min(amounts), high=max(amounts), **more,
    )  # fmt: skip


def limits(options: argparse.Namespace) -> Iterator[Row]:
    """Matrix products and copies of memory."""
    import torch

    torch.set_num_threads(options.threads)
    side = 2048
    for dtype in (torch.float32, torch.bfloat16):
        one = torch.randn(side, side).to(dtype)
        seconds = repeated(lambda one=one: one @ one)
        name = f"matrix product, {str(dtype).removeprefix('torch.')}"
        yield spread(name, [2 * side**3 / s / 1e9 for s in seconds], "GFLOP/s")
    source = torch.zeros(1 << 26)
    target = torch.empty_like(source)
    moved = 2 * source.numel() * source.element_size()
    seconds = repeated(lambda: target.copy_(source))
    yield spread("memory copy, read and written", [moved / s / 1e9 for s in seconds], "GB/s")
    seconds = repeated(lambda: source.sum())
    yield spread("memory read", [moved / 2 / s / 1e9 for s in seconds], "GB/s")


def search(options: argparse.Namespace) -> Iterator[Row]:
    """Exact search of vectors against the time that reading them takes."""
    import torch

    torch.set_num_threads(options.threads)
    vectors = torch.randn(options.vectors, 512)
    query = torch.randn(512)
    reading = repeated(lambda: vectors.sum())
    found = repeated(lambda: torch.topk(vectors @ query, 10))
    yield spread(
        f"exact search of {options.vectors:,} x 512, time over that of reading them",
        [mine / min(reading) for mine in found], "times", aim=2.0, at_most=True,
        note="scoring alone, in memory; benchmarks/catalog_speed.py measures a catalogue",
    )  # fmt: skip
    with_import_of(options.peers)
    if find_spec("faiss") is None:
        return
    import faiss

    index = faiss.IndexFlatIP(512)
    index.add(vectors.numpy())
    theirs = repeated(lambda: index.search(query.numpy()[None], 10))
    yield spread(
        "the same, time of FAISS over ours", [one / float(np.median(found)) for one in theirs], "times"
    )  # fmt: skip


def start(options: argparse.Namespace) -> Iterator[Row]:
    """Seconds until the command line and the library are there."""
    for name, code in (("synesthete --version", ["-m", "synesthete", "--version"]), ("import synesthete", ["-c", "import synesthete"])):  # fmt: skip
        seconds = repeated(lambda code=code: subprocess.run([sys.executable, *code], check=True, capture_output=True), 3)  # fmt: skip
        yield spread(f"start-up: {name}", seconds, "s")


def recording(options: argparse.Namespace) -> Iterator[Row]:
    """`record` against its own loader, the bare forward and the stock loop."""
    for model, images in (
        ("mini", options.images),
        ("RN50/random", options.images // 4),
        ("ViT-B-32/random", options.images // 4),
    ):
        if model not in options.models:
            continue
        text = output(
            "recording.py", "--model", model, "--images", max(images, 64),
            "--rounds", 3, "--threads", options.threads, "--json",
        )  # fmt: skip
        found = json.loads(text[text.index("{") :])
        over, note = found["by_round"], f"{found['images']} images; {found['forward']}"
        for way, claim, aim in (
            ("loader", "decode, preprocess and forward", 0.95),
            ("bare", "the bare forward", None if model == "mini" else 0.95),
            ("stock", "the stock open_clip loop", 1.8),
        ):
            yield spread(f"{model}: record over {claim}", over[way], "times", aim=aim, note=note)
        yield Row(
            claim=f"{model}: lowest cosine with float32", value=found["cosine"], unit="", aim=0.999
        )


def executors(options: argparse.Namespace) -> Iterator[Row]:
    """The same recording by one process, by two, and by two actors of Ray."""
    text = output("executors.py", "--images", 2 * options.images, "--workers", 2, "--rounds", 2)
    found = json.loads(text)
    note = f"{found['images']} images, two workers, start of the workers left out"
    for kind, other, aim in (("ray", "processes", 1.15), ("processes", "local", None)):
        ratios = [
            a / b for a, b in zip(found["per_image"][kind], found["per_image"][other], strict=True)
        ]
        yield spread(
            f"record: time of {kind} over {other}",
            ratios,
            "times",
            aim=aim,
            at_most=True,
            note=note,
        )


def selectivity(options: argparse.Namespace) -> Iterator[Row]:
    """AUC of all units and concepts against scikit-learn, one by one."""
    text = output("selectivity.py", "--units", 256, "--concepts", 200, "--loop-units", 1)
    ratio = number(r"ratio ([\d,]+)", text)
    yield Row(
        claim="selectivity: scikit-learn's roc_auc_score in a loop over ours", value=ratio,
        unit="times", aim=1000, note="256 units x 200 concepts; AUC only",
    )  # fmt: skip


def naming(options: argparse.Namespace) -> Iterator[Row]:
    """SoftWPMI in chunks against the authors' own code."""
    from synesthete.analysis.naming.scorers import SCORERS

    units, words, images = options.naming
    rng = np.random.default_rng(0)
    shown, texts = (rng.normal(size=(n, 192)).astype(np.float32) for n in (images, words))
    for part in (shown, texts):
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    activations = rng.normal(size=(images, units)).astype(np.float16)
    started = time.perf_counter()
    mine = SCORERS["softwpmi"](activations, shown, texts)
    ours = time.perf_counter() - started
    if options.clip_dissect is None:
        from plain_dissect import PLAIN

        peer = "the plain formulation"
        started = time.perf_counter()
        other = PLAIN["softwpmi"](activations, shown, texts)
    else:
        import torch

        sys.path.insert(0, str(options.clip_dissect))
        import similarity

        peer = "CLIP-Dissect's own code"
        started = time.perf_counter()
        likeness = torch.from_numpy(shown @ texts.T)
        found = similarity.soft_wpmi(likeness, torch.from_numpy(activations).float(), device="cpu")
        other = found.numpy()
    theirs = time.perf_counter() - started
    same = float((mine.argmax(1) == other.argmax(1)).mean())
    yield Row(
        claim=f"naming {units:,} x {words:,} x {images:,}: {peer} over ours",
        value=theirs / ours, unit="times", aim=10, note=f"softWPMI, same best word {same:.1%}",
    )  # fmt: skip


def dictionaries(options: argparse.Namespace) -> Iterator[Row]:
    """A training step of a TopK dictionary, beside Overcomplete's own loop on the same rows in memory."""
    import torch

    from synesthete.analysis.dictionary_training import Recipe, Trainer, random_start

    torch.set_num_threads(options.threads)
    rows, dim, latents, k, batch = 65_536, 192, 1_024, 16, 1_024
    torch.manual_seed(0)
    data = torch.randn(rows, 64) @ torch.randn(64, dim) + 0.1 * torch.randn(rows, dim)
    data = (data - data.mean(dim=0)) / data.pow(2).sum(dim=1).mean().sqrt()
    held, batches = data[-4_096:], data[:-4_096].split(batch)

    def explained(rebuilt: torch.Tensor) -> float:
        return 1 - float((held - rebuilt).square().sum() / (held - held.mean(dim=0)).square().sum())

    def ours() -> float:
        recipe = Recipe(latents=latents, k=k, seed=0, resampled_every=20)
        trainer = Trainer(*random_start(dim, latents, 0), recipe=recipe)
        for number, one in enumerate(batches):
            trainer.step(one, number / len(batches))
        encoder, bias, decoder = map(torch.from_numpy, trainer.parts())
        values = torch.relu(held @ encoder + bias)
        kept = torch.topk(values, k)
        return explained(torch.zeros_like(values).scatter(1, kept.indices, kept.values) @ decoder)

    with_import_of(options.peers)
    if options.peers is None or find_spec("overcomplete") is None:
        return
    from overcomplete.sae import TopKSAE, train_sae

    def theirs() -> float:
        torch.manual_seed(0)
        model = TopKSAE(dim, latents, top_k=k)
        adam = torch.optim.Adam(model.parameters(), lr=1e-3)
        loss = lambda x, rebuilt, *more: (x - rebuilt).square().sum(dim=1).mean()  # noqa: E731
        train_sae(model, batches, loss, adam, nb_epochs=1, monitoring=0)
        with torch.no_grad():
            return explained(model.eval()(held)[2])

    ratios, mine, peer = [], 0.0, 0.0
    for _ in range(3):
        started = time.perf_counter()
        mine = ours()
        between = time.perf_counter()
        peer = theirs()
        ratios.append((time.perf_counter() - between) / (between - started))
    yield spread(
        f"training of a TopK dictionary, {dim} x {latents}, k {k}: time of Overcomplete's loop over ours", ratios, "times",
        note=f"one epoch of {rows - 4_096:,} rows; held-out explained variance ours {mine:.3f}, theirs {peer:.3f}",
    )  # fmt: skip


def images(options: argparse.Namespace) -> Iterator[Row]:
    """Images of units per minute of processor beside Lucent's."""
    if options.lucent is None or options.atlas is None:
        return
    text = output(
        "visualization.py", options.atlas, "--part", "speed", "--peer", options.lucent, "--json"
    )
    found = json.loads(next(line for line in text.splitlines() if line.startswith("{")))
    rows = found["rows"]
    for name, aim in (("Lucent, as many steps", 5), ("Lucent, its default", None)):
        same = rows["ours, all steps"], rows[name]
        yield Row(
            claim=f"images of units: ours at {same[0]['limit']} steps over {name}", value=same[0]["rate"] / same[1]["rate"],
            unit="times", n=rows[name]["units"], aim=aim,
            note=f"units per minute of processor; beyond 99.9 % of real images ours {same[0]['beyond_of']}, theirs {same[1]['beyond_of']}",
        )  # fmt: skip


def with_import_of(folder: Path | None) -> None:
    """Import from a folder first."""
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


PARTS = (
    Part(name="limits", run=limits, command="this file"),
    Part(name="start", run=start, command="this file"),
    Part(name="search", run=search, command="this file"),
    Part(name="selectivity", run=selectivity, command="benchmarks/selectivity.py"),
    Part(name="naming", run=naming, command="this file; benchmarks/naming.py --full"),
    Part(name="dictionaries", run=dictionaries, command="this file"),
    Part(name="images", run=images, command="benchmarks/visualization.py"),
    Part(name="recording", run=recording, command="benchmarks/recording.py"),
    Part(name="executors", run=executors, command="benchmarks/executors.py"),
)


def output(script: str, *arguments: object) -> str:
    """What a script of this folder prints."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def number(pattern: str, text: str) -> float:
    """The number that a pattern finds in a text."""
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"no {pattern!r} in {text!r}")
    return float(found[1].replace(",", ""))


def machine() -> dict[str, Any]:
    """The class of machine and the versions; no name of it."""
    import torch

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "cores": os.cpu_count(),
        # Above the number of cores others were at work as well, and only ratios mean anything.
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": versions,
    }


def markdown(result: dict[str, Any]) -> str:
    """The table for people."""
    about = result["machine"]
    lines = [
        "# Benchmarks", "",
        "Written by `make bench`: each part is one run, ratios of both sides on the same machine. "
        "An aim that was missed stands as missed.", "",
        f"{about['date']}; {about['processor']}, {about['cores']} cores, {result['threads']} thread, load average {about['load']}; Python {about['python']}, "
        + ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version)
        + ".",
        "", "| part | claim | measured | lowest to highest | n | aim | |", "| --- | --- | --: | --- | --: | --: | --- |",
    ]  # fmt: skip
    for part, row in result["rows"]:
        met = {None: "", True: "met", False: "missed"}[row.met]
        aim = "" if row.aim is None else f"{'≤' if row.at_most else '≥'} {row.aim:,g}"
        span = "" if row.low is None else f"{row.low:,.3g} to {row.high:,.3g}"
        measured = f"{row.value:,.4g} {row.unit}".strip()
        note = f" ({row.note})" if row.note else ""
        lines.append(
            f"| {part} | {row.claim}{note} | {measured} | {span} | {row.n} | {aim} | {met} |"
        )
    lines += ["", *(f"Not run: {name}: {why}" for name, why in result["failed"].items())]
    return "\n".join(lines).rstrip() + "\n"


def earlier(out: Path | None) -> list[tuple[str, Row]]:
    """The rows of an earlier file."""
    if out is None or not out.with_suffix(".json").exists():
        return []
    names = {one.name for one in fields(Row)}
    found = json.loads(out.with_suffix(".json").read_text())["rows"]
    return [(row["part"], Row(**{name: row[name] for name in names & row.keys()})) for row in found]


def write(out: Path, result: dict[str, Any]) -> None:
    """Both files, the parts in their order."""
    order = [part.name for part in PARTS]
    result = result | {"rows": sorted(result["rows"], key=lambda row: order.index(row[0]))}
    out.with_suffix(".md").write_text(markdown(result))
    rows = [{"part": name, **asdict(row), "met": row.met} for name, row in result["rows"]]
    out.with_suffix(".json").write_text(json.dumps({**result, "rows": rows}, indent=1) + "\n")


def main() -> None:
    """Run all parts, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=[], help="parts by name")
    parser.add_argument("--out", type=Path, help="writes OUT.md and OUT.json")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--models", nargs="*", default=["mini", "RN50/random", "ViT-B-32/random"])
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--naming", type=int, nargs=3, default=(200, 2_000, 10_000), metavar=("UNITS", "WORDS", "IMAGES"))  # fmt: skip
    for peer in ("--clip-dissect", "--lucent", "--peers", "--atlas"):
        parser.add_argument(peer, type=Path, metavar="FOLDER")
    options = parser.parse_args()
    chosen = {part.name for part in PARTS if not options.only or part.name in options.only}
    # What earlier runs measured of other parts stays.
    rows = [row for row in earlier(options.out) if row[0] not in chosen]
    failed: dict[str, str] = {}
    result = {"machine": machine(), "threads": options.threads, "rows": rows, "failed": failed}
    for part in PARTS:
        if part.name not in chosen:
            continue
        try:
            for row in part.run(options):
                rows.append((part.name, row))
                print(f"{part.name}: {row.claim}: {row.value:,.4g} {row.unit}", flush=True)
        except (OSError, ValueError, ImportError, subprocess.CalledProcessError) as error:
            failed[part.name] = f"{type(error).__name__}: {error}"[:300]
        # After each, so that a run that is ended keeps what it has.
        if options.out:
            write(options.out, result)
    print(f"\n{markdown(result)}")
    if failed:
        sys.exit(f"not run: {', '.join(failed)}")


if __name__ == "__main__":
    main()
