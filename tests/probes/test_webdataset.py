"""WebDataset tars: samples, labels, texts, order; what is damaged, linked or pickled."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from synesthete.errors import SynestheteError
from synesthete.probes import load_probes
from synesthete.probes.locations import braces, is_pattern
from synesthete.probes.probe_set import UnreadableImage
from synesthete.probes.tar import members
from tests.probes.samples import png, write


def tar_bytes(
    files: Mapping[str, bytes | tarfile.TarInfo], kind: int = tarfile.PAX_FORMAT
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def sample(key: str, seed: int, **labels: Any) -> dict[str, bytes]:
    return {f"{key}.png": png(seed), f"{key}.json": json.dumps(labels).encode()}


def reason(probes: Any, row: int) -> str:
    with pytest.raises(UnreadableImage) as caught:
        probes.image(row)
    return caught.value.reason


def test_shards_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for shard in range(12):
        files = {}
        for number in range(2):
            files |= sample(f"{number:04d}", shard, concept=f"c{number}", artist="Ann")
            files[f"{number:04d}.txt"] = f"caption {shard}".encode()
        write(tmp_path / f"{shard:03d}.tar", tar_bytes(files))
    wanted = [f"{shard:03d}/{number:04d}.png" for shard in range(12) for number in range(2)]
    for spec in (f"{tmp_path}/{{000..011}}.tar", f"{tmp_path}/*.tar", tmp_path):
        probes = load_probes(spec)
        assert probes.labels["key"].to_pylist() == wanted
        assert probes.labels["concept"].to_pylist() == ["c0", "c1"] * 12
        assert set(probes.labels["artist"].to_pylist()) == {"Ann"}
        assert probes.labels["caption"].to_pylist()[-1] == "caption 11"
        assert probes.table["sha256"].to_pylist()[5] == hashlib.sha256(png(2)).hexdigest()
        assert probes.image(23).tobytes() == load_probes(tmp_path / "011.tar").image(1).tobytes()
    assert len(load_probes(f"{tmp_path}/{{003,001}}.tar")) == 4
    again = pickle.loads(pickle.dumps(probes))
    assert again.fingerprint == probes.fingerprint
    assert again.image(3).size == (40, 30)
    with pytest.raises(SynestheteError, match=r"no file like .*012\.tar"):
        load_probes(f"{tmp_path}/{{000..012}}.tar")


def test_labels_of_every_kind(tmp_path: Path) -> None:
    files = {
        "a/1.jpg": png(1), "a/1.cls": b"7", "a/1.seg.png": png(2),
        "a/2.PNG": png(2), "a/2.concept": "  Äpfel\n".encode(), "a/2.modality": b"drawings",
        "a/3.txt": b"a red fruit", "a/3.json": b'{"label": "apple", "modality": "description"}',
        "4.webp": png(4),
        "5.png": png(5), "5.json": b"[1]",
        "6.png": png(6), "6.cls": b"\xff",
        "7.pyd": pickle.dumps({"x": 1}), "7.cls": b"1",
        "8.png": png(8), "8.cls": b"8", "8.npy": b"x",
        "._9.png": b"resource fork", ".hidden": b"",
    }  # fmt: skip
    write(tmp_path / "x.tar", tar_bytes(files))
    probes = load_probes(tmp_path / "x.tar")
    labels = probes.labels.to_pylist()
    assert [one["key"] for one in labels] == [
        "x/a/1.jpg", "x/a/2.png", "x/a/3.txt", "x/4.webp", "x/5.png", "x/6.png", "x/7", "x/8.png",
    ]  # fmt: skip
    assert [(one["concept"], one["modality"]) for one in labels[:3]] == [
        ("7", "photo"), ("Äpfel", "drawing"), ("apple", "description"),
    ]  # fmt: skip
    assert probes.text(2) == "a red fruit"
    assert probes.image(0).size == (40, 30)
    assert "no concept" in reason(probes, 3)
    assert "is no object" in reason(probes, 4)
    assert "not UTF-8" in reason(probes, 5)
    assert "holds no image: .pyd alone" in reason(probes, 6)
    assert probes.image(7)
    assert probes.notes == ("2 members (.pyd, .npy) are not read: reading them could run code",)
    assert probes.select(indices=[0]).notes == probes.notes


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("unpickled").touch, ())


def test_nothing_is_extracted_or_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "secret.png").write_bytes(png(9))
    files: dict[str, bytes | tarfile.TarInfo] = {
        "/etc/1.png": png(1), "../../2.png": png(2), "3.pickle": pickle.dumps(Bomb()),
        "4.png": link("4.png", str(tmp_path / "secret.png")),
        "5.png": link("5.png", "../../2.png", tarfile.LNKTYPE),
        "6.png": link("6.png", "", tarfile.CHRTYPE), "7": link("7", "", tarfile.DIRTYPE),
    }  # fmt: skip
    path = write(tmp_path / "x.tar", tar_bytes(files))
    monkeypatch.chdir(work)
    probes = load_probes(path)
    assert probes.labels["key"].to_pylist() == [
        "x//etc/1.png", "x/../../2.png", "x/3", "x/4.png", "x/5.png", "x/6.png",
    ]  # fmt: skip
    assert probes.image(0)
    assert probes.image(1)
    for row, what in ((2, ".pickle alone"), (3, "a link"), (4, "a link"), (5, "a special file")):
        assert what in reason(probes, row)
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_every_format(tmp_path: Path, kind: int) -> None:
    stem = "/".join(["d" * 60] * 3) if kind == tarfile.USTAR_FORMAT else "n" * 300
    path = write(tmp_path / "x.tar", tar_bytes({f"{stem}.png": png(1)}, kind))
    assert load_probes(path).labels["key"].to_pylist() == [f"x/{stem}.png"]


def test_the_same_as_the_standard_library(tmp_path: Path) -> None:
    random = Random(1)
    files = {f"{n:03d}.png": random.randbytes(random.randrange(3000)) for n in range(50)}
    data = tar_bytes(files)
    found = {
        one.name: data[one.offset : one.offset + one.size]
        for one in members(io.BytesIO(data), len(data), "x")
    }
    assert found == files


def test_a_tar_that_is_cut_is_refused_whole(tmp_path: Path) -> None:
    data = tar_bytes({"1.png": png(1), "2.png": png(2)})
    stop = len(data.rstrip(b"\0"))
    for length in range(1, stop + 1024, 97):
        path = write(tmp_path / "x.tar", data[:length])
        with pytest.raises(SynestheteError, match=r"x\.tar' (ends|is)"):
            load_probes(path)
    whole = write(tmp_path / "x.tar", data)
    assert len(load_probes(whole)) == 2
    write(tmp_path / "x.tar", data + data)
    with pytest.raises(SynestheteError, match="behind its end mark"):
        load_probes(whole)


def test_what_is_no_tar_is_one_line(tmp_path: Path) -> None:
    import gzip

    data = tar_bytes({"1.png": png(1)})
    sparse = bytearray(data)
    for content, message in (
        (b"", "ends without its end mark"),
        (gzip.compress(data, mtime=0).ljust(600), "is no tar .unpack it"),
        (png(1) * 5, "is no tar"),
        (bytes(10240), "no images"),
        (data[:148] + b"0000000\0" + data[156:], "is no tar"),
    ):
        path = write(tmp_path / "x.tar", content)
        with pytest.raises(SynestheteError, match=message):
            load_probes(path)
    # A size beyond the file, and a name of a gigabyte.
    for kind, size in ((b"0", 1 << 33), (b"x", 1 << 30), (b"L", 1 << 30)):
        info = tarfile.TarInfo("a.png")
        info.size, info.type = size, kind
        sparse[:512] = info.tobuf(tarfile.GNU_FORMAT)
        write(path, bytes(sparse))
        with pytest.raises(SynestheteError, match=r"ends in the middle|a name of"):
            load_probes(path)


def test_any_damage_is_an_error_or_a_row(tmp_path: Path) -> None:
    """Bytes turned at random: no traceback, no hang."""
    random, seen = Random(0), 0
    files = sample("a", 1, concept="x") | sample("b" * 150, 2, concept="y")
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        whole = tar_bytes(files, kind)
        headers = [n for n in range(0, len(whole), 512) if b"ustar" in whole[n : n + 512]]
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(random.randrange(1, 4)):
                at = random.choice(headers)
                data[at + random.randrange(512)] = random.randrange(256)
                fixed = 256 + sum(data[at : at + 148]) + sum(data[at + 156 : at + 512])
                data[at + 148 : at + 156] = b"%06o\0 " % fixed
            path = write(tmp_path / "x.tar", bytes(data))
            with contextlib.suppress(SynestheteError):
                probes = load_probes(path)
                for row in range(len(probes)):
                    with contextlib.suppress(UnreadableImage):
                        probes.text(row) if probes.is_text[row] else probes.image(row)
                        seen += 1
    assert seen > 50


def test_attributes_of_a_megabyte_are_read_in_one_pass(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.png")
    info.pax_headers = {f"k{n}": "v" for n in range(60_000)}
    info.size = len(png(1))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(png(1)))
    assert len(load_probes(write(tmp_path / "x.tar", buffer.getvalue()))) == 1


def test_a_tar_that_changes_after_it_was_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar", tar_bytes({"1.png": png(1)}))
    probes = load_probes(path)
    write(path, tar_bytes({"1.png": png(1)[:-1] + b"x"}))
    assert "other bytes" in reason(probes, 0)


def test_braces() -> None:
    assert braces("a{8..11}{x,}") == [f"a{n}{x}" for n in (8, 9, 10, 11) for x in ("x", "")]
    assert braces("{008..010}") == ["008", "009", "010"]
    assert braces("plain") == ["plain"]
    assert not is_pattern("https://host/a.tar?sig=*")
    for bomb in ("{0..999999999}", "{0..999}{0..999}", "{a,b}" * 40):
        with pytest.raises(SynestheteError, match="more than 100,000"):
            braces(bomb)
    with pytest.raises(SynestheteError, match="counts down"):
        braces("{9..1}")


def test_files_of_two_kinds_are_refused(tmp_path: Path) -> None:
    for name in ("a.tar", "b.parquet"):
        write(tmp_path / name, b"x")
    with pytest.raises(SynestheteError, match="different kinds"):
        load_probes(f"{tmp_path}/*")
    with pytest.raises(SynestheteError, match="is no probe set"):
        load_probes(f"{write(tmp_path / 'c.zip', b'x').parent}/*.zip")
