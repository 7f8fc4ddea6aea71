"""One CLIP in two formats compared, and how soon a model out of reach is refused: `python benchmarks/two_formats.py`.

transformers draws a small CLIP (`CLIPModel`, three blocks, 48 pixels, random weights) and saves it as its own folder; the same weights are written as a
folder of open_clip. Both are recorded on the built-in images of `--concepts` concepts, analysed, and compared as two models are. mini
itself has no such copy: its image tower is a ModifiedResNet, and transformers' CLIP has vision transformers only. Then a model that
is not on this machine is loaded in fresh processes with nothing behind the hub's address, and with HF_HUB_OFFLINE=1.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import synesthete as syn

SIDE, CONTEXT = 48, 77
LAYER = "visual.transformer.resblocks.2.mlp"
VISION = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4,
          "image_size": SIDE, "patch_size": 16, "hidden_act": "gelu"}  # fmt: skip
TEXT = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 1,
        "hidden_act": "gelu", "bos_token_id": 49406, "eos_token_id": 49407}  # fmt: skip
ABSENT = "openai/clip-vit-base-patch32"


@dataclass(frozen=True)
class Copies:
    """What was found of one model in two formats.

    Attributes
    ----------
    images
        How many both were shown.
    difference
        Largest difference of an activation between the two atlases.
    to_the_library
        Largest difference of a component of an embedding between the folder as loaded here and transformers' own forward pass.
    own_partner
        Units that pass by activation and have themselves as partner.
    comparison
        From `compare_models`.
    """

    images: int
    difference: float
    to_the_library: float
    own_partner: int
    comparison: Any


def write_copies(folder: Path) -> tuple[str, str]:
    """A random CLIP as transformers saves it, and as open_clip does: two names of models."""
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPConfig, CLIPModel

    theirs, ours = folder / "transformers", folder / "open_clip"
    ours.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # Larger than usual weights, so that blocks change what passes through them.
        more = {"initializer_factor": 4.0}
        config = CLIPConfig(text_config=TEXT | more, vision_config=VISION | more, projection_dim=24)
        CLIPModel(config).save_pretrained(theirs)
    # To open_clip's names and layout, as every folder of transformers' CLIP is read here.
    weights = syn.load_model(f"hf-dir:{theirs}", device="cpu").network.state_dict()
    save_file(
        {name: one.contiguous().clone() for name, one in weights.items()},
        ours / "open_clip_model.safetensors",
    )
    vision = {"image_size": SIDE, "layers": 3, "width": 64, "patch_size": 16, "head_width": 16}
    text = {"context_length": CONTEXT, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    both = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    (ours / "open_clip_config.json").write_text(json.dumps({"model_cfg": both}), encoding="utf-8")
    return f"hf-dir:{theirs}", f"local-dir:{ours}"


def compare_copies(work: Path, concepts: int, seed: int = 0) -> Copies:
    """Record, analyse and compare both."""
    import torch
    from transformers import CLIPModel

    from synesthete.analysis.compare import compare_models

    probes = syn.load_probes("concepts", texts=False)
    names = sorted(probes.concepts)
    drawn = np.random.default_rng(seed).choice(len(names), concepts, replace=False)
    probes = probes.select(concepts=[names[one] for one in drawn])
    atlases = []
    for spec in write_copies(work):
        model = syn.load_model(spec, device="cpu")
        path = work / f"{Path(spec).name}.atlas"
        syn.analyze(syn.record(model, probes, [LAYER], path, twins=["random_twin"]), seed=seed)
        atlases.append(syn.open_atlas(path))
    found = compare_models(*atlases, seed=seed)
    first, second = (one.activations(LAYER) for one in atlases)
    model = syn.load_model(f"hf-dir:{work / 'transformers'}", device="cpu")
    pixels = torch.stack([model.preprocess(probes.image(index)) for index in range(16)])
    plain = CLIPModel.from_pretrained(work / "transformers", local_files_only=True).eval()
    with torch.inference_mode():
        theirs = plain.get_image_features(pixel_values=pixels)
        theirs = getattr(theirs, "pooler_output", theirs)
        theirs = torch.nn.functional.normalize(theirs, dim=-1).numpy()
    matches = found.by_activation.of_first
    itself = matches.passes & (matches.partner == np.arange(len(matches.partner)))
    return Copies(
        len(probes),
        float(np.abs(first - second).max()),
        float(np.abs(theirs - model.encode_images(pixels)).max()),
        int(itself.sum()),
        found,
    )


def refused_after(environment: dict[str, str]) -> tuple[float, str]:
    """Seconds of a fresh process until a model out of reach is refused, the interpreter's start included, and the message."""
    code = (
        "import sys\nfrom synesthete.models import load_model\n"
        "try:\n    load_model(sys.argv[1])\nexcept Exception as error:\n    print(error)\n"
    )
    with tempfile.TemporaryDirectory() as empty:
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code, ABSENT],
            env=os.environ | {"HF_HOME": empty} | environment,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    return time.monotonic() - started, done.stdout.strip()


def main() -> None:
    """Both figures; of the seconds, the median of three."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--concepts", type=int, default=60, help="whose images are shown")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copies = compare_copies(Path(folder), given.concepts)
    print(f"{copies.images} images; largest difference of an activation {copies.difference:.1g}, to transformers' own embeddings {copies.to_the_library:.1g}")  # fmt: skip
    for way in ("by_profile", "by_activation"):
        one = getattr(copies.comparison, way).first
        print(f"{way}: {one.matched} of {one.live} live units ({one.units} units) match, range {one.low} to {one.high}, random twin {one.random_twin}, mixtures {one.rotation}, shuffled {one.shuffled}")  # fmt: skip
    print(f"{copies.own_partner} have themselves as partner by activation")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        cases = {
            "nothing at the hub's address": {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"},
            "a hub that never answers": {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"},
            "HF_HUB_OFFLINE=1": {"HF_HUB_OFFLINE": "1"},
        }  # fmt: skip
        for name, environment in cases.items():
            seconds, message = sorted(refused_after(environment) for _ in range(3))[1]
            print(f"{name}: {seconds:.1f} s, {message[:100]}…")


if __name__ == "__main__":
    main()
