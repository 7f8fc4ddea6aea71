"""COCO: captions and instances beside a folder of images, and files that are not as they should be."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from synesthete._core import json_reader
from synesthete._core.json_reader import InvalidJson, json_elements
from synesthete.errors import SynestheteError
from synesthete.probes import UnreadableImage, load_probes
from synesthete.probes.probe_set import ProbeSet
from tests.probes.samples import png, write
from tests.probes.test_remote import needs_s3, the_same, upload

IMAGES = [
    {
        "license": 4, "file_name": f"{number:012d}.jpg", "coco_url": f"http://images.cocodataset.org/val2017/{number:012d}.jpg",
        "height": 30, "width": 40, "date_captured": "2013-11-14 17:02:52", "id": number,
        "flickr_url": f"http://farm7.staticflickr.com/6116/{number}_z.jpg",
    }
    for number in (397133, 37777, 252219)
]  # fmt: skip
INFO = {"description": "COCO 2017 Dataset", "version": "1.0", "year": 2017}
LICENCES = [{"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "CC-BY"}]


def thing(image: int, category: int, area: float) -> dict[str, Any]:
    """An annotation of an object."""
    return {
        "segmentation": [[510.66, 423.01, 511.72, 420.03]], "area": area, "iscrowd": 0, "image_id": image,
        "bbox": [473.07, 395.93, 38.65, 28.67], "category_id": category, "id": image * 10 + category,
    }  # fmt: skip


CAPTIONS: dict[str, Any] = {
    "info": INFO, "licenses": LICENCES, "images": IMAGES,
    "annotations": [
        {"image_id": 397133, "id": 1, "caption": "A man cooks in a kitchen."},
        {"image_id": 37777, "id": 2, "caption": "Two dogs on a rug."},
        {"image_id": 397133, "id": 3, "caption": "A person at an oven."},
        {"image_id": 252219, "id": 4, "caption": ""},
        {"image_id": 9, "id": 5, "caption": "Of an image that is not listed."},
    ],
}  # fmt: skip
INSTANCES: dict[str, Any] = {
    "info": INFO, "licenses": LICENCES, "images": IMAGES,
    "annotations": [
        thing(397133, 79, 300.0), thing(397133, 1, 200.5), thing(397133, 1, 200.5),
        thing(37777, 18, 9.0), thing(37777, 1, 9.0),
    ],
    "categories": [
        {"supercategory": "person", "id": 1, "name": "person"},
        {"supercategory": "animal", "id": 18, "name": "dog"},
        {"supercategory": "appliance", "id": 79, "name": "oven"},
    ],
}  # fmt: skip


def annotate(folder: Path, captions: Any = CAPTIONS, instances: Any = INSTANCES) -> Path:
    for kind, content in (("captions", captions), ("instances", instances)):
        if content is not None:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            write(folder / "annotations" / f"{kind}_val2017.json", data)
    return folder


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    write(tmp_path / "outside.jpg", png(7))
    for number, image in enumerate(IMAGES):
        write(tmp_path / "coco" / "val2017" / str(image["file_name"]), png(number))
    return annotate(tmp_path / "coco")


def rows(probes: ProbeSet, *columns: str) -> list[tuple[str, ...]]:
    return [tuple(row[name] for name in columns) for row in probes.labels.to_pylist()]


def test_images_with_captions_as_texts_and_categories_as_concepts(coco: Path) -> None:
    probes = load_probes(coco)
    assert probes.name == "val2017"
    assert rows(probes, "key", "concept", "modality", "artist") == [
        ("val2017/000000397133.jpg", "person", "photo", "000000397133"),
        ("val2017/000000037777.jpg", "dog", "photo", "000000037777"),
        ("val2017/000000252219.jpg", "", "photo", "000000252219"),
        ("val2017/000000397133.jpg/caption-1", "person", "description", "000000397133"),
        ("val2017/000000397133.jpg/caption-2", "person", "caption", "000000397133"),
        ("val2017/000000037777.jpg/caption-1", "dog", "caption", "000000037777"),
        ("val2017/000000252219.jpg/caption-1", "", "description", "000000252219"),
    ]
    assert probes.is_text.tolist() == [False] * 3 + [True] * 4
    assert probes.naming_texts == []
    assert probes.text(4) == "A person at an oven."
    assert probes.image(1).size == (40, 30)
    first = probes.labels.to_pylist()[0]
    assert (first["family"], first["licence"]) == ("person", "CC-BY")
    assert first["source"] == IMAGES[0]["coco_url"]
    assert first["caption"] == "A man cooks in a kitchen."
    assert probes.notes == ("1 captions of images that are not listed are left out",)
    with pytest.raises(UnreadableImage, match="no concept is given for it"):
        probes.image(2)
    with pytest.raises(UnreadableImage, match="an empty text"):
        probes.text(6)


def test_one_file_of_annotations_is_enough(coco: Path) -> None:
    both = load_probes(coco)
    for kind in ("captions", "instances"):
        file = coco / "annotations" / f"{kind}_val2017.json"
        assert load_probes(file).fingerprint == both.fingerprint
    annotate(coco, captions=None)
    (coco / "annotations" / "captions_val2017.json").unlink()
    probes = load_probes(coco)
    assert (len(probes), probes.concepts, probes.modalities) == (3, ["dog", "person"], ["photo"])
    (coco / "annotations" / "instances_val2017.json").unlink()
    annotate(coco, instances=None)
    probes = load_probes(coco)
    assert (len(probes), probes.concepts) == (7, [])
    assert probes.image(2).size == (40, 30)


@pytest.mark.parametrize("place", ["images/val2017", "images", "."])
def test_other_usual_places_of_the_images(coco: Path, place: str) -> None:
    (coco / place).parent.mkdir(exist_ok=True)
    for image in sorted((coco / "val2017").iterdir()):
        write(coco / place / image.name, image.read_bytes())
        image.unlink()
    assert load_probes(coco).image(1).size == (40, 30)


def test_a_missing_image_is_set_aside(coco: Path) -> None:
    (coco / "val2017" / str(IMAGES[0]["file_name"])).unlink()
    probes = load_probes(coco)
    with pytest.raises(UnreadableImage, match="no such file"):
        probes.image(0)
    assert probes.text(3)
    for image in (coco / "val2017").iterdir():
        image.unlink()
    with pytest.raises(SynestheteError, match=r"none of the 3 images .*val2017/000000397133\.jpg"):
        load_probes(coco)


def test_a_split_must_be_chosen(coco: Path) -> None:
    write(coco / "annotations" / "captions_train2017.json", json.dumps(CAPTIONS).encode())
    with pytest.raises(
        SynestheteError, match=r"several splits: train2017, val2017 \(give the file"
    ):
        load_probes(coco)
    assert len(load_probes(coco / "annotations" / "captions_val2017.json")) == 7


def image(**changes: Any) -> dict[str, Any]:
    return {**CAPTIONS, "images": [{**IMAGES[0], **changes}]}


def annotation(**changes: Any) -> dict[str, Any]:
    return {**INSTANCES, "annotations": [{**thing(397133, 1, 2.0), **changes}]}


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        (image(file_name="../outside.jpg"), "leads out of the folder"),
        (image(file_name="/etc/passwd"), "absolute path"),
        (image(file_name="http://evil.example/1.jpg"), "never fetched"),
        (image(file_name="1\0.jpg"), "not a file name"),
        (image(file_name=None), "images 1: no file_name"),
        (image(id=[1]), "images 1: no id"),
        ({**CAPTIONS, "images": [IMAGES[0], IMAGES[0]]}, "two images of id 397133"),
        ({**CAPTIONS, "images": []}, "lists no images"),
        ({**CAPTIONS, "images": [3]}, "images 1: not an object"),
        ({**CAPTIONS, "annotations": [{"image_id": 397133, "caption": 3}]}, "no text"),
        ({**CAPTIONS, "annotations": [{"caption": "a"}]}, "annotations 1: no image_id"),
        ([], "'{' expected, '\\[' found"),
        (b'{"images": [{"id": 1', "it ends early|delimiter"),
        (b'{"images": [' + b"[" * 100_000, "nested too deep"),
        (b'{"images": [NaN]}', "NaN is not a JSON number"),
        (b"\xff\xfe{}", "not UTF-8"),
    ],
)  # fmt: skip
def test_hostile_captions_are_one_line(coco: Path, captions: Any, message: str) -> None:
    annotate(coco, captions, instances=None)
    (coco / "annotations" / "instances_val2017.json").unlink()
    with pytest.raises(SynestheteError, match=message) as caught:
        load_probes(coco)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        (
            {**INSTANCES, "images": [{**IMAGES[0], "file_name": "b"}]},
            "'b' is '0+397133.jpg' in the",
        ),
        (annotation(category_id=5), "category_id 5 is not among"),
        (annotation(area="a"), "its area is no number"),
        (annotation(category_id=None), "annotations 1: no category_id"),
        ({**INSTANCES, "annotations": [{"image_id": 397133}]}, "neither a caption nor"),
        ({**INSTANCES, "categories": [{"id": 1, "name": ""}]}, "categories 1: no name"),
    ],
)
def test_hostile_instances_are_one_line(coco: Path, instances: Any, message: str) -> None:
    annotate(coco, instances=instances)
    with pytest.raises(SynestheteError, match=message):
        load_probes(coco)


def test_links_that_lead_out_are_refused(coco: Path) -> None:
    inside = coco / "val2017" / str(IMAGES[0]["file_name"])
    inside.unlink()
    inside.symlink_to(coco.parent / "outside.jpg")
    with pytest.raises(SynestheteError, match="leads out"):
        load_probes(coco)
    inside.unlink()
    captions = coco / "annotations" / "captions_val2017.json"
    captions.rename(coco.parent / captions.name)
    captions.symlink_to(coco.parent / captions.name)
    with pytest.raises(SynestheteError, match="leads out"):
        load_probes(coco)


@needs_s3
def test_coco_in_an_object_store(coco: Path, bucket: str) -> None:
    upload(coco.parent, bucket)
    here = load_probes(coco)
    for spec in ("coco", "coco/annotations/captions_val2017.json"):
        the_same_images(here, load_probes(f"{bucket}/{spec}"))


def the_same_images(here: ProbeSet, there: ProbeSet) -> None:
    kept = [row for row in range(len(here)) if row not in here.problems]
    the_same(here.select(indices=kept), there.select(indices=kept))
    assert there.problems == here.problems


def test_another_json_file_is_no_probe_set(tmp_path: Path) -> None:
    with pytest.raises(SynestheteError, match=r"annotations/captions_X\.json"):
        load_probes(write(tmp_path / "a.json", b"{}"))


def test_elements_do_not_depend_on_where_a_block_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    document = {
        "info": {"a": [1]},
        "n": 12,
        "images": [{"id": 1, "ü": "\u2028\\"}, 345, "]"],
        "z": [],
    }
    data = json.dumps(document, ensure_ascii=False, indent=1).encode()
    wanted = [("images", one) for one in document["images"]]
    for block in range(1, 12):
        monkeypatch.setattr(json_reader, "BLOCK", block)
        assert list(json_elements(io.BytesIO(data), "x")) == wanted
        assert list(json_elements(io.BytesIO(b"\xef\xbb\xbf" + data), "x")) == wanted


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{} 1", "{1: []}", '{"a" []}', '{"a": [1,]}', '{"a": [1 2]}', '{"a": [],}', '{"a": [1}',
     '{"a": [1e999]}', '{"a": [123456789012345678901234]}', '{"a": ["\\ud800"]}', '{"a": [' + "[" * 80 + "]" * 80 + "]}"],
)  # fmt: skip
def test_elements_are_as_strict_as_a_document(text: str) -> None:
    with pytest.raises(InvalidJson):
        list(json_elements(io.BytesIO(text.encode()), "x"))


def test_a_long_element_is_refused_before_all_of_it_is_read() -> None:
    class Endless(io.RawIOBase):
        """A string that never ends."""

        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            return b'{"a": ["' + b"a" * size if self.given == size else b"a" * size

    file = Endless()
    with pytest.raises(InvalidJson, match="longer than"):
        list(json_elements(file, "x", max_bytes=1 << 20))  # type: ignore[arg-type]
    assert file.given < 1 << 24
