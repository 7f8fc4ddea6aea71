"""`python -m training STEP`: build the data, teach the text tower, train the image tower, export; `mini` does all of it."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from training import arguments

if TYPE_CHECKING:
    from training.corpus import Corpus


def _cores(text: str) -> frozenset[int]:
    return frozenset(int(core) for core in text.split(",") if core)


def _lines(path: Path) -> frozenset[str]:
    return frozenset(path.read_text().split("\n"))


def main() -> None:
    parser = arguments.parser(__doc__ or "")
    args = parser.parse_args()
    try:
        _run(parser, args)
    except FileNotFoundError as missing:
        parser.exit(
            1, f"{args.step}: there is no {missing.filename}; has the step before it run?\n"
        )


def _stages(sizes: str) -> tuple[tuple[float, int], ...]:
    found = [size.split(":") for size in sizes.split(",")]
    return tuple((float(start), int(size)) for size, start in found)


def _corpus(args: argparse.Namespace, *, drawn: bool = False) -> Corpus:
    """What the arguments of `draw` and `image` name."""
    from training import teacher
    from training.corpus import load_corpus
    from training.words import font_files

    bank, _, _ = teacher.lookup(args.out)
    corpus = load_corpus(
        args.out,
        args.table,
        args.candidates,
        bank,
        font_files(args.fonts, held_out=frozenset(args.held_out_fonts.split(","))),
        _lines(args.held_out_photos),
        _lines(args.held_out_words) if args.held_out_words else frozenset(),
        drawn=drawn,
    )
    corpus.concept_share = args.concept_share
    print(
        f"{len(corpus.names)} concepts, {len(corpus.others)} other images, {len(bank)} texts, {len(corpus.fonts)} fonts",
        flush=True,
    )
    return corpus


def _run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.step == "needs":
        from training import needs

        print("\n".join(needs.lines()))
    if args.step == "mini":
        from training import mini

        try:
            mini.run(
                args.out,
                photos=args.photos,
                packages=args.packages,
                minutes=args.minutes,
                text_minutes=args.text_minutes,
                extra=tuple(shlex.split(args.image)),
            )
        except OSError as problem:
            parser.exit(1, f"{problem}\n")
    if args.step == "photos":
        from training import photographs

        try:
            archive = args.archive or photographs.ARCHIVE
            folder = photographs.NEVER_TRAINED if args.never_trained else photographs.HERE
            there, listed = photographs.fetch_all(args.out, args.sources, archive, folder)
        except ValueError as problem:
            parser.error(str(problem))
        print(f"{there} of {listed} photographs in {args.out}")
    if args.step == "evaluate":
        from training.evaluation import run as evaluation

        photos = sorted(p for p in (args.photos / args.held_out_source).rglob("*") if p.is_file())
        results = evaluation.measure(
            evaluation.spec_of(args.out),
            args.data,
            words=args.held_out_words.read_text().split(),
            clip_art=args.held_out_clip_art.read_text().split("\n"),
            photos=[f"photo:{path.relative_to(args.photos)}" for path in photos],
            facts=evaluation.training_facts(args.data, args.photos, args.fonts),
        )
        evaluation.write(args.out, results)
    if args.step == "neurons":
        from training.evaluation import run as evaluation

        evaluation.add_neurons(args.out, args.atlas)
    if args.step == "average":
        from training import averaging

        try:
            shares = [float(share) for share in args.shares.split(",") if share]
            averaging.average(args.checkpoints, args.out, shares)
        except ValueError as problem:
            parser.error(str(problem))
    if args.step == "export":
        from training import export

        export.export(args.data, args.out)
        photos = [key for key in args.held_out_photos.read_text().split("\n") if key]
        export.write_held_out(args.out, photos, args.held_out_fonts.split(","))
    if args.step == "start":
        from training import shipped

        shipped.write(args.model, args.out)
    if args.step == "lists":
        from training import lists as result

        print(result.write(args.data, args.candidates, args.packages))
    if args.step == "teach":
        from training import shipped, teacher, text_tower
        from training.architecture import EMBED_DIM

        if not (args.out / "teacher.npz").exists():
            found = teacher.gather(
                args.out, args.candidates, args.table, args.packages, args.wordnet
            )
            print({kind: len(rows) for kind, rows in found.items()}, flush=True)
            teacher.build(args.out, found, EMBED_DIM)
            if args.like:
                print("cosine before and after turning:", shipped.turn_teacher(args.like, args.out))
        text_tower.train(
            args.out,
            minutes=args.minutes,
            peak=args.peak,
            threads=args.threads,
            init=args.init,
            spelling=args.spelling,
        )
    if args.step == "sentences":
        from training import sentences
        from training.evaluation import run as evaluation

        sentences.teach(
            args.data,
            args.model,
            args.wordnet,
            minutes=args.minutes,
            steps=args.steps,
            peak=args.peak,
            threads=args.threads,
        )
        sentences.ship(args.data, args.model)
        if (args.model / "evaluation.json").exists():
            evaluation.add_texts(args.model)
    if args.step == "look":
        from training import looks

        held_out = _lines(args.held_out_photos)
        print(looks.write(args.data, held_out, bf16=not args.full_precision), "images")
    if args.step == "draw":
        from training.loading import Order

        of = Order(args.steps, args.batch, _stages(args.sizes), args.seed)
        number, count = map(int, args.share.split("/"))
        try:
            print(of.draw(_corpus(args), args.batches, (number, count)), "batches")
        except ValueError as problem:
            parser.error(str(problem))
    if args.step == "image":
        from training import image_tower, looks, running
        from training.loading import Order

        if args.looks and not (args.out / looks.FILE).exists():
            parser.error(f"--looks needs {args.out / looks.FILE}: run `look` first")
        samples, batch, parts, stages = args.samples, args.batch, args.parts, _stages(args.sizes)
        if args.batches:
            if args.helpers:
                parser.error("--helpers would see the examples of --batches twice")
            order = Order.read(args.batches)
            samples, batch, parts = order.batches * order.batch, order.batch, 1
            stages = order.stages
        corpus = _corpus(args, drawn=args.batches is not None)
        recipe = running.Recipe(
            minutes=args.minutes,
            samples=samples,
            peak=args.peak,
            batch=batch,
            scale=args.scale,
            parts=parts,
            sparsity=args.sparsity,
            votes=args.votes,
            spread=args.spread,
            letters=args.letters,
            last_letters=args.last_letters,
            looks=args.looks,
            others=args.others,
            bf16=not args.full_precision,
        )
        stay = [part for part in args.frozen.split(",") if part and part != "stem"]
        frozen = (*image_tower.STEM, *stay) if "stem" in args.frozen else tuple(stay)
        image_tower.train(
            corpus,
            args.out,
            recipe,
            threads=args.threads,
            cores=_cores(args.cores),
            helpers=_cores(args.helpers),
            init=args.init,
            stages=stages,
            frozen=frozen,
            waking=args.wake,
            batches=args.batches,
        )
    if args.step == "build":
        from training.sources import build as run

        n = run(
            args.packages,
            args.photos,
            args.out,
            clip_art=args.clip_art,
            stamps=args.stamps,
            scenes=args.scenes,
            candidates=args.candidates,
        )
        print(f"{n} images in {args.out}")


if __name__ == "__main__":
    main()
