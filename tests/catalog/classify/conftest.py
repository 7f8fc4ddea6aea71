"""A table of records as a clinic might send one: images, texts, labels, and columns that name people."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from synesthete.catalog.classify import Classifier, fit, read_records
from synesthete.models.image_text_model import ImageTextModel

SECRETS = ("Zebulon", "Quagmire", "MRN-778899", "zq@clinic.example", "1931-02-03")
RECORDS = 120
SHAPES = {"round": ("a round spot", "smooth"), "square": ("a square patch", "edged")}


def draw(kind: str, rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (64, 64), "white")
    pen = ImageDraw.Draw(image)
    x, y, size = (int(v) for v in rng.integers(4, 20, 3))
    box = (x, y, x + size + 20, y + size + 20)
    colour = tuple(int(v) for v in rng.integers(0, 160, 3))
    (pen.ellipse if kind == "round" else pen.rectangle)(box, fill=colour)
    return image


def write_records(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    columns = ("patient_name", "mrn", "email", "birth_date", "image", "text", "label", "group")
    with (folder / "records.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for i in range(RECORDS):
            kind = ("round", "square")[i % 2]
            name = f"{SECRETS[0]}_{SECRETS[1]}_{i}.png"
            draw(kind, rng).save(folder / name)
            words = SHAPES[kind if rng.random() < 0.9 else ("round", "square")[1 - i % 2]]
            text = f"{words[0]}, {words[1]}"
            if i == 5:
                text += f", seen with {SECRETS[0]} {SECRETS[1]}, {SECRETS[2]}, born {SECRETS[4]}"
            writer.writerow(
                (
                    f"{SECRETS[0]} {SECRETS[1]}",
                    SECRETS[2],
                    SECRETS[3],
                    SECRETS[4],
                    name,
                    text,
                    kind,
                    f"p{i // 2}",
                )
            )
        writer.writerow(("", "", "", "", f"{SECRETS[1]}-missing.png", "", "round", ""))
        writer.writerow(("", "", "", "", "", "", "round", ""))
        writer.writerow(("", "", "", "", "../elsewhere.png", "text", "round", ""))
    return folder / "records.csv"


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_records(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="session")
def classifier(
    table: Path, model: ImageTextModel, tmp_path_factory: pytest.TempPathFactory
) -> Classifier:
    out = tmp_path_factory.mktemp("fitted") / "spots.classifier"
    return fit(read_records(table, template="health"), out, model, template="health", risk=0.2)
