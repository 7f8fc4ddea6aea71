"""Trained models compared with another: `python benchmarks/two_models.py --work DIR FIRST OTHER [OTHER …]`.

A name is an atlas, a git revision of this repository (its version of mini's weights; the history must be there, so not a shallow clone) or a model
such as `torchvision:resnet18/random`. All are shown the same built-in images, with a random twin each, analysed, and the first is
compared with every other as `synesthete compare` does. Which versions of mini were trained from nothing is in docs/training.md:
from the third on, each continues from one before it. After a kill the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import synesthete as syn
from synesthete._core.intervals import wilson_interval
from synesthete.analysis.compare import Comparison, compare_models

REPOSITORY = Path(__file__).resolve().parents[1]
MINI = "src/synesthete/models/mini"
FILES = ("open_clip_config.json", "open_clip_model.safetensors")


def model_name(given: str, work: Path) -> str:
    """The name of a model as `load_model` takes it; mini's weights at a git revision are written to a folder first."""
    found = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{given}^{{commit}}"],
        cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    if found.returncode:
        return given
    folder = work / f"mini-{found.stdout[:7]}"
    folder.mkdir(exist_ok=True)
    for name in FILES:
        content = subprocess.run(
            ["git", "show", f"{found.stdout.strip()}:{MINI}/{name}"],
            cwd=REPOSITORY, capture_output=True, check=True,
        ).stdout  # fmt: skip
        (folder / name).write_bytes(content)
    return f"local-dir:{folder}"


def atlas_of(given: str, probes: syn.ProbeSet, work: Path, seed: int) -> syn.Atlas:
    """The atlas of a model on the images, recorded and analysed unless that was done before."""
    if given.endswith(".atlas"):
        return syn.open_atlas(given)
    path = work / f"{given.replace('/', '-').replace(':', '-')}.atlas"
    model = syn.load_model(model_name(given, work), device="cpu")
    syn.record(model, probes, None, path, twins=["random_twin"])
    if not syn.open_atlas(path).analysed:
        syn.analyze(path, seed=seed)
    return syn.open_atlas(path)


def facts_of(first: str, other: str, found: Comparison) -> dict[str, Any]:
    """What the tables print, of one pair."""
    facts: dict[str, Any] = {"first": first, "other": other, "layers": list(found.layers)}
    for way in ("by_profile", "by_activation"):
        one = getattr(found, way)
        if one is None:
            facts[way] = found.missing[way]
            continue
        passing = one.of_first.r[one.of_first.passes]
        facts[way] = {
            "points": len(one.points),
            "scored": one.scored,
            "mutual": one.mutual,
            "median_r": float(np.median(passing)) if len(passing) else None,
            **{side: vars(getattr(one, side)) for side in ("first", "second")},
        }
    if (sets := found.concepts) is None:
        facts["concepts"] = found.missing["concepts"]
    else:
        both, mine, theirs = (len(one) for one in (sets.both, sets.only_first, sets.only_second))
        known = both + mine + theirs
        facts["concepts"] = {
            "tested": known + len(sets.neither), "first": both + mine, "other": both + theirs, "both": both,
            "of_either": wilson_interval(both, known) if known else None,
            "by_chance": sets.by_chance, "low": sets.low, "high": sets.high, "p": sets.p,
        }  # fmt: skip
    return facts


def tables(pairs: list[dict[str, Any]]) -> list[str]:
    """Three Markdown tables: units by profile, units by activation, concepts."""
    lines = []
    for way, what in (("by_profile", "concepts"), ("by_activation", "images")):
        lines += [
            "",
            f"| {way.replace('_', ' ')} | direction | {what}, scored | matched | range | median r | each other's best | random twin | mixtures | shuffled |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for pair in pairs:
            one = pair[way]
            if isinstance(one, str):
                lines.append(f"| {pair['first']}, {pair['other']} | {one} |")
                continue
            for side, name in (("first", "→"), ("second", "←")):
                c, r = one[side], one["median_r"]
                at = "" if side == "second" else f"{r:.2f}" if r is not None else "–"
                best = "" if side == "second" else f"{one['mutual']:,}"
                lines.append(
                    f"| {pair['first']}, {pair['other']} | {name} | {one['scored']:,} | {c['matched']:,} of {c['live']:,} | {c['low']:,} to {c['high']:,} | "
                    f"{at} | {best} | {c['random_twin']} | {c['rotation']} | {c['shuffled']} |"
                )
    lines += [
        "",
        "| concepts with a multimodal unit | tested | first | other | both | by chance | both, of those that either has | p |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for pair in pairs:
        c = pair["concepts"]
        if isinstance(c, str):
            lines.append(f"| {pair['first']}, {pair['other']} | {c} |")
            continue
        share = "–"
        if c["of_either"] is not None:
            low, high = c["of_either"]
            n = c["first"] + c["other"] - c["both"]
            share = f"{c['both'] / n:.0%} ({low:.0%} to {high:.0%}, n {n})"
        lines.append(
            f"| {pair['first']}, {pair['other']} | {c['tested']} | {c['first']} | {c['other']} | {c['both']} | "
            f"{c['by_chance']:.0f} ({c['low']} to {c['high']}) | {share} | {c['p']:.2g} |"
        )
    return lines


def main() -> None:
    """Record what is not recorded, compare, and print the tables (and JSON with --json)."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help="two or more: atlas, revision, or model"
    )
    parser.add_argument("--work", type=Path, help="where atlases are kept; without it nothing is")
    parser.add_argument(
        "--concepts", type=int, help="record this many concepts, drawn at random; all without it"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    given = parser.parse_args()
    if len(given.names) < 2:
        parser.error("two models are compared; name at least two")
    probes = syn.load_probes("concepts", texts=False)
    if given.concepts:
        names = sorted(probes.concepts)
        drawn = np.random.default_rng(given.seed).choice(len(names), given.concepts, replace=False)
        probes = probes.select(concepts=[names[one] for one in drawn])
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        atlases = [atlas_of(name, probes, work, given.seed) for name in given.names]
        pairs = [
            facts_of(given.names[0], name, compare_models(atlases[0], other, seed=given.seed))
            for name, other in zip(given.names[1:], atlases[1:], strict=True)
        ]
    print(f"{len(probes):,} images of {len(set(probes.concepts)):,} concepts where recorded here")
    print("\n".join(tables(pairs)))
    if given.json:
        given.json.write_text(json.dumps(pairs, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
