"""Names that people paste, and a hub that answers, is slow, breaks off or is out of reach."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from synesthete.errors import SynestheteError
from synesthete.models import hub, load_model, names
from synesthete.models.names import canonical
from synesthete.models.sources import resolve
from tests.models.conftest import Writer
from tests.models.test_own_weights import (
    clip,
    hf_config,
    in_transformers_names,
    same,
    write_clips_tokenizer,
)

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
SITE = "https://huggingface.co/"


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_ANSWERED", set())
    return tmp_path / "cache"


@pytest.mark.parametrize(
    ("pasted", "expected"),
    [
        ("openai/clip-vit-base-patch32", "ViT-B-32/openai"),
        (" openai/clip-vit-large-patch14-336\n", "ViT-L-14-336/openai"),
        (SITE + "openai/clip-vit-base-patch16", "ViT-B-16/openai"),
        (SITE + "openai/clip-vit-base-patch16/tree/main", "ViT-B-16/openai"),
        (SITE + "org/name/blob/main/config.json?download=true#L1", "hf-hub:org/name"),
        ("huggingface.co/org/name/", "hf-hub:org/name"),
        ("hf://org/name", "hf-hub:org/name"),
        ("hf-hub:" + SITE + "org/name", "hf-hub:org/name"),
        ("hf-hub:openai/clip-vit-base-patch32", "hf-hub:openai/clip-vit-base-patch32"),
        ("google/siglip2-base-patch16-224", "ViT-B-16-SigLIP2/webli"),
        (
            "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
            "hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        ),
        ("RN50/openai", "RN50/openai"),
        ("RN50x4/openia", "RN50x4/openia"),
        ("rn50/openai", "rn50/openai"),
        ("mini", "mini"),
        ("local-dir:/a/b", "local-dir:/a/b"),
    ],
)
def test_what_people_paste(pasted: str, expected: str) -> None:
    assert canonical(pasted) == expected


@pytest.mark.parametrize(
    ("pasted", "expected"),
    [
        (
            "ViT-B-32",
            "'ViT-B-32' names no weights (expected ViT-B-32/openai, ViT-B-32/laion400m_e31,",
        ),
        ("clip-vit-b-32", "expected ViT-B-32/openai, ViT-B-32/laion400m_e31,"),
        ("clip-vit-b-32", "ViT-B-32/random"),
        ("ViT-B/32", "expected ViT-B-32/openai"),
        ("openai-clip-vit-base-patch32", "did you mean 'openai/clip-vit-base-patch32' or "),
        (SITE + "org/name/tree/v2", "only `main` is fetched"),
        (SITE + "datasets/org/name", "is not the address of a model"),
        (SITE + "org", "is not the address of a model"),
    ],
)
def test_what_names_no_model(pasted: str, expected: str) -> None:
    with pytest.raises(SynestheteError) as caught:
        resolve(pasted)
    assert expected in str(caught.value)


def test_open_clip_s_files_say_what_open_clip_says() -> None:
    """They are read without importing it, which would import torch."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    ours = {(a, tag): one for a, tags in names.pretrained().items() for tag, one in tags.items()}
    assert set(ours) == set(open_clip.list_pretrained())
    for (architecture, tag), one in ours.items():
        theirs = get_pretrained_cfg(architecture, tag)
        assert theirs["hf_hub"] == (f"{one.repository}/{one.filename}" if one.repository else "")
        assert theirs["url"] == one.url
    assert set(names.architectures()) == set(open_clip.list_models())
    for name in names.architectures():
        assert names.configuration_of(name) == open_clip.get_model_config(name)
    for name in names.SAME_WEIGHTS.values():
        assert tuple(name.split("/")) in ours


class Hub(ThreadingHTTPServer):
    """A server that speaks as much of the hub's language as its client asks for.

    Attributes
    ----------
    files
        By `ORG/NAME/FILE`.
    breaks
        How many times a file's transfer breaks off half way.
    log
        Method, file and range of every request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.files: dict[str, bytes] = {}
        self.breaks: dict[str, int] = {}
        self.log: list[tuple[str, str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        pass

    def add(self, repository: str, folder: Path) -> None:
        for file in folder.iterdir():
            self.files[f"{repository}/{file.name}"] = file.read_bytes()


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, body: bool) -> None:
        listed = re.match(r"/api/models/([^/]+/[^/]+)/(revision|tree)/", self.path)
        if listed:
            self.list(listed[1], tree=listed[2] == "tree")
            return
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/([^/?]+).*", self.path)
        name = f"{match[1]}/{match[2]}" if match else ""
        ranged = self.headers.get("Range")
        self.server.log.append((self.command, name or self.path, ranged))
        data = self.server.files.get(name)
        if data is None:
            repositories = {file.rpartition("/")[0] for file in self.server.files}
            known = match is not None and match[1] in repositories
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(ranged.removeprefix("bytes=").rstrip("-")) if ranged else 0
        self.send_response(206 if ranged else 200)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{len(data)}-{sum(data[:1000])}"')
        self.send_header("Content-Length", str(len(data) - start))
        if ranged:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if not body:
            return
        if self.server.breaks.get(name, 0):
            self.server.breaks[name] -= 1
            self.wfile.write(data[start : start + (len(data) - start) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.wfile.write(data[start:])

    def list(self, repository: str, *, tree: bool) -> None:
        """A repository's revision, or what is in it."""
        self.server.log.append((self.command, self.path, None))
        files = [
            {"type": "file", "path": name.rpartition("/")[2], "oid": "0" * 40, "size": len(data)}
            for name, data in self.server.files.items()
            if name.startswith(f"{repository}/")
        ]
        text = json.dumps(files if tree else {"id": repository, "sha": "0" * 40}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        template = running.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(scope="module")
def good(write_model: Writer) -> Path:
    return Path(write_model("vit").removeprefix("local-dir:"))


def test_a_hub_cold_warm_and_gone(server: Hub, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add("org/name", good)
    expected = load_model(f"local-dir:{good}", device="cpu").weights_sha256
    found = load_model("org/name", device="cpu")
    assert (found.name, found.weights_sha256) == ("hf-hub:org/name", expected)
    assert {name for method, name, _ in server.log if method == "GET" and "org/name" in name} == {
        f"org/name/{CONFIG}", f"org/name/{WEIGHTS}",
    }  # fmt: skip
    server.log.clear()
    assert load_model(SITE + "org/name", device="cpu").weights_sha256 == expected
    assert not server.log
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert load_model("hf-hub:org/name", device="cpu").weights_sha256 == expected


def test_what_the_hub_does_not_have(server: Hub, good: Path) -> None:
    server.add("org/name", good)
    with pytest.raises(SynestheteError, match="the hub has no model org/nam"):
        resolve("org/nam")
    with pytest.raises(SynestheteError, match="did you mean 'openai/clip-vit-base-patch32' or '"):
        resolve("openai/clip-vit-base-patch31")
    del server.files[f"org/name/{CONFIG}"]
    with pytest.raises(SynestheteError, match=f"org/name has no file {CONFIG}"):
        resolve("org/name")
    server.files["org/name/config.json"] = b'{"model_type": "siglip"}'
    with pytest.raises(SynestheteError, match=r"org/name has no model\.safetensors"):
        resolve("org/name")
    server.files["org/other/config.json"] = b'{"model_type": "clip"}'
    with pytest.raises(SynestheteError, match=r"org/other has no model\.safetensors"):
        resolve("org/other")


def test_a_repository_in_transformers_format(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, folder = clip(quick_gelu=True), tmp_path / "hf"
    folder.mkdir()
    save_file(in_transformers_names(network.state_dict()), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(hf_config()))
    server.add("org/bare", folder)
    with pytest.raises(SynestheteError, match="no files of a tokenizer"):
        load_model("org/bare", device="cpu").encode_texts(["apple"])
    write_clips_tokenizer(folder)
    server.add("org/hf", folder)
    model = load_model("org/hf", device="cpu")
    same(model, network, 1e-6)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SynestheteError, match="HF_HUB_OFFLINE forbids it"):
        # How its images are prepared is not known here: there may be a file that says so.
        resolve("org/hf")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    server.files["org/hf/preprocessor_config.json"] = b"{}"
    resolve("org/hf")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    gone = load_model("org/hf", device="cpu")
    assert gone.weights_sha256 == model.weights_sha256
    same(gone, network, 1e-6)


def test_a_siglip_of_transformers_cold_warm_and_gone(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    from tests.models.families import write_family

    (tmp_path / "siglip").mkdir()
    folder = write_family(tmp_path / "siglip", "siglip")
    server.add("org/siglip", folder)
    texts = ["an apple", "two red dogs"]
    own = load_model(f"hf-dir:{folder}", device="cpu")
    expected = own.encode_texts(texts)
    model = load_model("org/siglip", device="cpu")
    assert model.name == "hf-hub:org/siglip"
    assert "transformers" in model.description
    assert model.weights_sha256 == own.weights_sha256
    np.testing.assert_array_equal(model.encode_texts(texts), expected)
    server.log.clear()
    warm = load_model("hf-hub:org/siglip", device="cpu")
    assert warm.weights_sha256 == own.weights_sha256
    assert not server.log
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    gone = load_model(SITE + "org/siglip", device="cpu")
    assert gone.preprocessing == own.preprocessing
    np.testing.assert_array_equal(gone.encode_texts(texts), expected)


def test_a_repository_of_timm_cold_warm_and_gone(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.models.test_vision_libraries import write_timm

    folder = write_timm(tmp_path / "timm")
    server.add("org/timm", folder)
    own = load_model(f"local-dir:{folder}", device="cpu")
    model = load_model("org/timm", device="cpu")
    assert (model.name, model.weights_sha256) == ("hf-hub:org/timm", own.weights_sha256)
    assert "timm" in model.description
    assert not model.reads_texts
    assert {name for method, name, _ in server.log if method == "GET" and "org/timm" in name} == {
        "org/timm/config.json", "org/timm/model.safetensors",
    }  # fmt: skip
    server.log.clear()
    assert load_model("hf-hub:org/timm", device="cpu").weights_sha256 == own.weights_sha256
    assert not server.log
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    gone = load_model("org/timm", device="cpu")
    assert gone.weights_sha256 == own.weights_sha256
    assert gone.preprocessing == own.preprocessing


def test_an_open_clip_tag_is_fetched_from_its_repository(server: Hub, good: Path) -> None:
    server.files[f"timm/resnet50_clip.openai/{WEIGHTS}"] = (good / WEIGHTS).read_bytes()
    found = resolve("RN50/openai")
    assert found.checkpoint is not None
    assert found.checkpoint.read_bytes() == (good / WEIGHTS).read_bytes()
    assert found.quick_gelu


def test_a_repository_on_this_machine_comes_before_the_same_weights(
    server: Hub, tmp_path: Path
) -> None:
    """Of a prepared HF_HOME."""
    name = "openai/clip-vit-base-patch32"
    assert canonical(name) == "ViT-B-32/openai"
    folder = tmp_path / "cache" / ("models--" + name.replace("/", "--"))
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (folder / "snapshots" / ("0" * 40) / "model.safetensors").write_bytes(b"")
    assert canonical(name) == "hf-hub:" + name


def test_a_transfer_that_breaks_off_goes_on_where_it_was(server: Hub, good: Path) -> None:
    server.add("org/name", good)
    # The client keeps what it has in steps of 10 MB.
    data = np.random.default_rng(0).bytes(24_000_000)
    server.files[f"org/name/{WEIGHTS}"] = data
    server.breaks[f"org/name/{WEIGHTS}"] = 1
    found = resolve("org/name")
    assert found.checkpoint is not None
    assert found.checkpoint.read_bytes() == data
    ranges = [ranged for method, name, ranged in server.log if method == "GET" and WEIGHTS in name]
    assert ranges == [None, f"bytes={10 * 1024 * 1024}-"]


def test_a_transfer_that_always_breaks_off(
    server: Hub, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("org/name", good)
    server.breaks[f"org/name/{WEIGHTS}"] = 1000
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    with pytest.raises(SynestheteError) as caught:
        resolve("org/name")
    assert f"the download of {WEIGHTS} broke off: " in str(caught.value)
    assert "run it again" in str(caught.value)
    assert "\n" not in str(caught.value)
    server.breaks.clear()
    found = resolve("org/name")
    assert found.checkpoint is not None
    assert found.checkpoint.read_bytes() == (good / WEIGHTS).read_bytes()


ADVICE = ("HF_HOME", "HF_ENDPOINT", "models--timm--vit_base_patch32_clip_224.openai", "its snapshot",
          "local-dir:PATH", "ViT-B-32/random")  # fmt: skip


@pytest.mark.parametrize("how", ["refused", "silent", "gateway"])
def test_out_of_reach(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused at once, no answer ever, and a gateway with nobody behind it."""
    from huggingface_hub import constants

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if how != "refused":
            listening.listen()
        if how == "gateway":

            def answer() -> None:
                connection, _ = listening.accept()
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
                connection.close()

            Thread(target=answer, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{listening.getsockname()[1]}")
        # The hub's client would try again and again for most of a minute: it is not even called.
        called: list[object] = []
        monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *given: called.append(given))
        with pytest.raises(SynestheteError) as caught:
            resolve("openai/clip-vit-base-patch32")
        assert not called
    text = str(caught.value)
    assert "ViT-B-32/openai is not on this machine and could not be downloaded" in text
    assert "…" not in text
    for part in ADVICE:
        assert part in text


def test_the_answer_comes_before_torch(tmp_path: Path, good: Path) -> None:
    """As a user sees it: a fresh process, and nothing at the other end."""
    code = (
        "import sys\n"
        "from synesthete.models import load_model\n"
        "try:\n    load_model(sys.argv[1])\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
        "print('torch' in sys.modules, 'open_clip' in sys.modules)\n"
    )
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        environment = {
            "PYTHONPATH": ":".join(sys.path), "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", code, "openai/clip-vit-base-patch32"],
            env=environment, capture_output=True, text=True, timeout=600, check=True,
        )  # fmt: skip
    assert done.stdout.startswith("SynestheteError ViT-B-32/openai is not on this machine")
    assert f"{endpoint} cannot be reached" in done.stdout
    assert str(tmp_path / "hub") in done.stdout
    assert done.stdout.endswith("False False\n")
    assert done.stderr == ""


def prepare(home: Path, repository: str, folder: Path) -> None:
    """A repository in `HF_HOME` as huggingface_hub lays it out: blobs by their hash, a reference, links in a snapshot."""
    place = home / "hub" / f"models--{repository.replace('/', '--')}"
    snapshot = place / "snapshots" / ("0a1b2c3d" * 5)
    for one in (place / "blobs", place / "refs", snapshot):
        one.mkdir(parents=True)
    (place / "refs" / "main").write_text(snapshot.name)
    for file in folder.iterdir():
        data = file.read_bytes()
        blob = hashlib.sha256(data).hexdigest()
        (place / "blobs" / blob).write_bytes(data)
        (snapshot / file.name).symlink_to(f"../../blobs/{blob}")


def test_a_prepared_home_needs_no_network(tmp_path: Path, good: Path) -> None:
    """A fresh process in which nothing may even look for a host: both formats, images and texts."""
    pytest.importorskip("transformers")
    from tests.models.families import write_family

    folders = {"org/open-clip": good}
    for family in ("clip", "siglip"):
        (tmp_path / family).mkdir()
        folders[f"org/{family}"] = write_family(tmp_path / family, family)
    for repository, folder in folders.items():
        prepare(tmp_path / "home", repository, folder)
    code = (
        "import json, sys\n"
        "def watch(event, args):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname', 'socket.sendto'):\n"
        "        print('NETWORK', event, args, file=sys.stderr, flush=True)\n"
        "        raise OSError('no network here')\n"
        "sys.addaudithook(watch)\n"
        "import torch\nfrom synesthete.models import load_model\n"
        "found = {}\n"
        "for name in sys.argv[1:]:\n"
        "    model = load_model(name, device='cpu')\n"
        "    side = model.preprocessing.image_size\n"
        "    found[name] = [model.name, model.weights_sha256, model.encode_images(torch.ones(1, 3, side, side)).tolist(),\n"
        "                   model.encode_texts(['two red dogs']).tolist()]\n"
        "print(json.dumps(found))\n"
    )
    environment = {
        "PYTHONPATH": ":".join(sys.path), "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
        "HOME": str(tmp_path),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, *folders],
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "NETWORK" not in done.stderr
    found = json.loads(done.stdout)
    for repository, folder in folders.items():
        name, sha, seen, read = found[repository]
        own = load_model(f"local-dir:{folder}", device="cpu")
        side = own.preprocessing.image_size
        assert (name, sha) == (f"hf-hub:{repository}", own.weights_sha256)
        np.testing.assert_allclose(seen, own.encode_images(torch.ones(1, 3, side, side)), atol=1e-6)
        np.testing.assert_allclose(read, own.encode_texts(["two red dogs"]), atol=1e-6)


def test_a_folder_does_not_change_what_a_name_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mini", "RN50/openai", "some/other"):
        Path(name).mkdir(parents=True)
        (Path(name) / CONFIG).write_text("{}")
    assert [canonical(name) for name in ("mini", "RN50/openai", "some/other")] == [
        "mini", "RN50/openai", "local-dir:some/other",
    ]  # fmt: skip


def test_a_plain_path_is_a_folder(good: Path, tmp_path: Path) -> None:
    assert canonical(str(good)) == f"local-dir:{good}"
    assert resolve(str(good)).folder == good
    copy = Path(shutil.copytree(good, tmp_path / "copy"))
    (copy / CONFIG).rename(copy / "config.json")
    with pytest.raises(SynestheteError, match="names no model_type of transformers"):
        resolve(str(copy))
    (copy / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "evil.Evil"}}))
    with pytest.raises(SynestheteError, match="asks for Python code"):
        resolve(f"hf-dir:{copy}")
