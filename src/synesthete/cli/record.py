"""Commands that make an atlas: demo, record, analyze."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from synesthete.atlas import Atlas, open_atlas
from synesthete.atlas.manifest import MANIFEST, TWINS, WORD_ORDER
from synesthete.cli.atlas import neurons_view, summary_view
from synesthete.cli.command import AtlasArgument, ModelSpec, Output, Positive, Share, command
from synesthete.cli.console import Note, count, dim, say
from synesthete.cli.progress import Reporter, StatusLine
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.models.image_text_model import ImageTextModel
    from synesthete.probes import ProbeSet

PANEL = "Make an atlas"
MODEL = "mini"
PROBES = "concepts"
CARDS = 3
IMAGES = 10
AUDITED = 30  # the fewest that an audit takes
COMPLETE = "the atlas is complete; analyse it next: synesthete analyze"
INCOMPLETE = (
    "this task's share is recorded; the task that records the last shard completes the atlas"
)

app = typer.Typer()


@dataclass(frozen=True, kw_only=True)
class Recording:
    """How a probe set is recorded.

    Attributes
    ----------
    layer : L
        A layer to read (repeat for more); without it the model's last block. `synesthete models layers MODEL` lists them. L@FILE are the
        latents of a sparse dictionary of the layer, such as visual.layer4.1@x.sae.
    reduction
        How a response map becomes one number: max, mean or cls.
    text_reduction
        How the responses to a text's tokens become one number: end, where the text's embedding is read, max or mean.
    batch_size
        Images decoded ahead of the model, at most. It changes speed and memory, never a result.
    twins : NAMES
        What to record as controls: all, none, or some of random_twin,random_he,permuted (untrained networks; each costs one more
        pass over the images) and word_order (the words of each text shuffled). Without it all up to 20,000 images, and random_twin beyond.
    sample : N
        Where the activations take more than 4 GB, of how many images and texts every one is kept, for the analysis; without it 20,000, or
        what 4 GB hold; 0 for none.
    seed
        Seed of the untrained networks and of the shuffled labels.
    precision : P
        In which the image tower computes: fp32 (the same bytes on every machine that sums alike), bf16 or auto. auto measures once which is quicker, with images of
        the probe set, and takes bf16 only where the embeddings agree (cosine at least 0.999); with fewer than 4,096 images it is fp32. What was chosen
        is printed, and resumed work keeps it.
    words
        Draw the names of the concepts and add them, unless the probe set has written words.
    texts
        Record the texts of the probe set, too: the last layer of the text tower that has neurons, and the space that images and texts share.
    executor : WHO
        Who records: local (this process), processes (of this machine), ray (actors, of this machine or of the cluster that RAY_ADDRESS names), or array: this is one
        task of several that run this command on a shared folder, as RANK and WORLD_SIZE, Slurm's or Kubernetes' variables say.
    workers : N
        How many processes or actors; 0 for one for each core.
    trust_cluster
        Use a cluster of Ray that asks for no token.
    """

    layer: list[str] | None = None
    reduction: str = "max"
    text_reduction: str = "end"
    batch_size: Positive = 128
    twins: str | None = None
    sample: Annotated[int | None, typer.Option(min=0)] = None
    seed: int = 0
    precision: str = "fp32"
    words: bool = True
    texts: bool = False
    executor: str = "local"
    workers: Annotated[int, typer.Option(min=0)] = 0
    trust_cluster: bool = False


@command(app, panel=PANEL)
def demo(out: Path = Path("demo.atlas"), serve: bool | None = None) -> Output:
    """From nothing to measured multimodal neurons, with the shipped model and the built-in probes.

    Records the model mini on the images and texts of the probe set concepts (the last layer of either tower, and the space
    that they share), analyses what was recorded, names the neurons, lays them out on the map, shows the model every concept's written word, optimises images of what the first ten
    neurons see, audits it with a few images (X.audit), compares two layers, prints the counts with their controls and the seconds of each step, writes the cards of the best neurons beside the
    atlas, and opens the microscope. Interrupted, the same command goes on with the step that it was at; a second run finds everything there and only shows it.

    Parameters
    ----------
    out : X.atlas
        Where the atlas is written.
    serve
        Open the microscope at the end; without it only on a terminal.

    Returns
    -------
    the summary, as `synesthete summary` prints it.

    Examples
    --------
    synesthete demo
    """
    seconds: dict[str, float] = {}
    for step, work in DEMO.items():
        started = time.monotonic()
        work(out)
        seconds[step] = time.monotonic() - started
    opened = open_atlas(out)
    return Output(opened.summary, lambda: _demo_view(opened, seconds, serve))


@command(app, panel=PANEL)
def record(
    model: ModelSpec,
    *,
    out: str,
    probes: str = PROBES,
    settings: Recording,
    analyze: bool = True,
) -> Output:
    """Show a model every image of a probe set, record what its neurons do, and analyse it.

    Interrupted work is resumed: run the same command again. An atlas that is complete is not recorded again, and a folder
    that holds something else is never overwritten. Images that cannot be read are set aside with the reason, and the rest
    goes on. Images without labels, or in too few modalities, are recorded too: the last line says what the atlas shows.

    Parameters
    ----------
    out : X.atlas
        Where the atlas is written: a folder, or s3://BUCKET/X.atlas or gs://BUCKET/X.atlas.
    probes : P
        concepts, a folder of images, a metadata.csv or .jsonl, captions_*.json of COCO, parquet files or WebDataset tars, several as in 'shards/{000..009}.tar' or
        '*.parquet'; also by URL: s3://, gs://, hf://datasets/ and, for files, https://.
    analyze
        Analyse what was recorded, as `synesthete analyze` does.

    Returns
    -------
    the summary, as `synesthete summary` prints it; of a task of an array job, which analyses nothing, `complete`.

    See Also
    --------
    recording.md

    Examples
    --------
    synesthete record mini --probes my-images --out my.atlas
    synesthete record mini --probes my-images --out my.atlas --executor processes --workers 2
    """
    path = record_set(model, probes, out, settings)
    if settings.executor == "array":
        complete = (path / MANIFEST).exists()
        if complete and settings.sample != 0:
            complete = bool(open_atlas(path).sampled.manifest["dense"])
        return Output({"complete": complete}, [dim(COMPLETE if complete else INCOMPLETE)])
    if analyze:
        analyze_atlas(path, seed=settings.seed)
    return _recorded(open_atlas(path))


@command(app, panel=PANEL)
def analyze(
    atlas: AtlasArgument,
    threshold: Annotated[float, typer.Option(min=0.5, max=1.0)] = 0.9,
    q: Share = 0.01,
    ap: Share = 0.2,
    cell: Share = 0.5,
    seed: int = 0,
    test: Annotated[Path | None, typer.Option(metavar="ATLAS")] = None,
) -> Output:
    """Find the multimodal neurons of an atlas, with their controls. It replaces an earlier analysis.

    For every neuron, one half of the artists chooses its concept and the other half measures it. The same test is run on
    the recorded untrained networks, on random mixtures of the neurons, on shuffled labels, and without what simple statistics of the
    images explain.

    Parameters
    ----------
    threshold
        The AUC that a modality must reach.
    q
        The false discovery rate to allow.
    ap
        The average precision that a modality must reach too, for a multimodal neuron.
    cell
        The same for a concept cell.
    seed
        Seed of the shuffled labels and the mixtures.
    test
        An atlas of the same model on other artists (--probes concepts-test): count on those too.

    Returns
    -------
    the summary, as `synesthete summary` prints it.

    Examples
    --------
    synesthete analyze demo.atlas --threshold 0.9 --q 0.01
    """
    analyze_atlas(atlas.path, threshold=threshold, q=q, ap=ap, cell=cell, seed=seed, test=test)
    return _recorded(open_atlas(atlas.path))


def record_set(
    model: str,
    probes: str | Callable[[ImageTextModel], ProbeSet],
    out: str | Path,
    settings: Recording,
    *,
    if_any: bool = False,
) -> Path:
    """Record a model on a probe set by its name, or on one that a function chooses when the model is there; texts only `if_any`."""
    from synesthete.models import load_model
    from synesthete.probes import load_probes
    from synesthete.recording.executors import Executor

    who = Executor(
        kind=settings.executor, workers=settings.workers, trust_cluster=settings.trust_cluster
    )
    loaded = load_model(
        model
    )  # before what imports torch: a name that nothing has is answered at once
    from synesthete.models.dictionary_formats import with_named_dictionaries
    from synesthete.recording import record as record_atlas
    from synesthete.recording.plan import needed_part, reading_texts
    from synesthete.recording.precision import check_precision

    if isinstance(probes, str):
        probe_set = load_probes(probes, words=settings.words)
        for note in probe_set.notes:
            say(f"note: {note}")
    else:
        probe_set = probes(loaded)
    loaded, layers = with_named_dictionaries(loaded, settings.layer or loaded.default_layers)
    some = bool(probe_set.is_text.any())
    if settings.texts and (some or not if_any):
        if not loaded.reads_texts:
            raise SynestheteError(f"{loaded.name} reads no texts", hint="leave out --texts")
        if not some:
            raise SynestheteError(
                f"the probe set {probe_set.name} has no texts",
                hint="docs/probes.md says how they are added; or leave out --texts",
            )
        layers = [*layers, *(one for one in reading_texts(loaded) if one not in layers)]
    if naming := len(needed_part(loaded, probe_set, layers).naming_texts):
        say(f"note: {count(naming)} descriptions and anecdotes say the name of their concept")
    with Reporter("recording") as reporter:
        return record_atlas(
            loaded,
            probe_set,
            layers,
            out,
            reduction=settings.reduction,
            text_reduction=settings.text_reduction,
            batch_size=settings.batch_size,
            twins=_twins(settings.twins),
            sample=settings.sample,
            seed=settings.seed,
            precision=check_precision(settings.precision),
            chosen=lambda forward: say(f"precision: {forward}"),
            executor=who,
            progress=reporter,
        )


def _twins(names: str | None) -> Sequence[str] | None:
    """Names given as one word; None where the number of images decides."""
    if names is None:
        return None
    return {"all": (*TWINS, WORD_ORDER), "none": ()}.get(
        names, tuple(map(str.strip, names.split(",")))
    )


def analyze_atlas(path: Path, **settings: Any) -> None:
    """Analyse an atlas, with progress."""
    from synesthete.analysis import analyze

    with Reporter("analysing", unit="steps") as reporter:
        analyze(path, progress=reporter, **settings)


def name_atlas(path: Path) -> None:
    """Name its neurons and give them families, with progress."""
    from synesthete.analysis.families import assign_families
    from synesthete.analysis.naming import name_neurons

    with Reporter("naming", unit="steps") as reporter:
        name_neurons(path, progress=reporter)
    with Reporter("families", unit="steps") as reporter:
        assign_families(path, progress=reporter)


def _record_demo(path: Path) -> None:
    record_set(MODEL, PROBES, path, Recording(texts=True), if_any=True)


def unless(section: str, work: Callable[[Path], object]) -> Callable[[Path], None]:
    """Some work on an atlas, which is left out where the manifest has the section that it writes."""

    def step(path: Path) -> None:
        if open_atlas(path).manifest.get(section) is None:
            work(path)

    return step


def _lay_out(path: Path) -> None:
    from synesthete.analysis.layout import lay_out

    lay_out(path)


def _draw_words(path: Path) -> None:
    from synesthete.analysis.rendered_words import QUICK, draw_words

    with Reporter("drawing", unit="words") as reporter:
        draw_words(path, rendered=QUICK, progress=reporter)


def _visualize(path: Path) -> None:
    """An image of what each of the first neurons sees, unless the atlas has as many already."""
    opened = open_atlas(path)
    first = [neuron.address for neuron in opened.neurons() if neuron.std > 0][:IMAGES]
    if sum(len(opened.visualizations(layer)) for layer in opened.layers) >= len(first):
        return
    from synesthete.visualization.features import visualize
    from synesthete.visualization.settings import Settings

    with Reporter("visualizing", unit="steps") as reporter:
        visualize(opened, first, facets="none", settings=Settings(steps=60), progress=reporter)


def _audit(path: Path) -> None:
    """A small audit of the atlas's model, beside it, where the microscope looks for reports."""
    folder = path.with_suffix(".audit")
    if (folder / "report.json").exists():
        return
    from synesthete.audits import run_audit, write_report

    write_report(run_audit(MODEL, "typographic", limit=AUDITED, progress=StatusLine()), folder)


def _write_on_photos(path: Path) -> None:
    """The examples of the microscope's first page."""
    from synesthete.editing.sticker_survey import survey_stickers

    with Reporter("words on photos", unit="photos") as reporter:
        survey_stickers(path, progress=reporter)


name_if_needed, lay_out_if_needed = unless("families", name_atlas), unless("layout", _lay_out)
# What `demo` does, in this order; each step leaves what is there already.
DEMO: dict[str, Callable[[Path], None]] = {
    "record": _record_demo,
    "analyse": unless("analysis", analyze_atlas),
    "name": name_if_needed,
    "map": lay_out_if_needed,
    "words": unless("words", _draw_words),
    "visualize": _visualize,
    "audit": _audit,
    "bench": unless("stickers", _write_on_photos),
}


def _recorded(atlas: Atlas) -> Output:
    def view() -> Iterator[RenderableType]:
        yield from summary_view(atlas)
        yield Note(f"next: synesthete neurons {atlas.path}")

    return Output(atlas.summary, view)


def _demo_view(
    atlas: Atlas, seconds: dict[str, float], serve: bool | None
) -> Iterator[RenderableType]:
    from synesthete.report import write_card

    path, here = atlas.path, program()
    yield from summary_view(atlas)
    found = atlas.neurons(multimodal=True) or atlas.neurons()
    yield from neurons_view(atlas, found, 12)
    cards = [write_card(atlas, neuron, path.with_suffix(".cards")) for neuron in found[:CARDS]]
    yield from _compared(atlas)
    steps = ", ".join(f"{step} {spent:.0f} s" for step, spent in seconds.items())
    yield f"Done in {sum(seconds.values()):.0f} s ({steps}). The cards of the best neurons:"
    yield from (f"  {card.html}" for card in cards)
    yield f"\nGo on with   {here} neurons {path} --multimodal"
    yield f"             {here} show {path} {found[0].address}"
    if sys.stdin.isatty() if serve is None else serve:
        from synesthete.cli.serve import serve as open_microscope

        open_microscope([path], browser=has_screen())
    else:
        yield f"See it with  {here} serve {path}"


def _compared(atlas: Atlas) -> Iterator[RenderableType]:
    """How far two layers of an atlas find the same concepts, in a line; nothing of an atlas of one layer."""
    layers = [name for name in atlas.layers if atlas.layer(name).get("tower", "image") != "text"]
    if len(layers) < 2:
        return
    known = [{n.concept for n in atlas.neurons(layer=layer, multimodal=True)} for layer in layers]
    both = len(known[0] & known[1])
    yield (
        f"Concepts with a multimodal neuron: {count(len(known[0]))} in {layers[0]}, {count(len(known[1]))} in {layers[1]}, {count(both)} in both. With "
        f"controls: {program()} compare {atlas.path} --layer {layers[0]} --other-layer {layers[1]}"
    )


def program() -> str:
    """How this program is called from here: by its name, or by its path where that is not on PATH."""
    if shutil.which("synesthete") or Path(sys.argv[0]).name != "synesthete":
        return "synesthete"
    return os.path.relpath(sys.argv[0])


def has_screen() -> bool:
    """Whether a browser can be opened here."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True
