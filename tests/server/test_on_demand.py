"""What a neuron's page lacks is computed in the background, as the commands compute it, and shown; or is not offered."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from synesthete._core.progress import Progress
from synesthete.analysis.rendered_words import QUICK, draw_words
from synesthete.atlas import open_atlas
from synesthete.atlas.visualizations import claim_visualizations
from synesthete.errors import SynestheteError
from synesthete.models.sources import weights_here
from synesthete.server.errors import Refused
from synesthete.server.export import export_site
from synesthete.server.jobs import MOST_WAITING, Jobs
from synesthete.server.pages import on_demand
from synesthete.visualization.features import visualize
from tests.server.conftest import TOKEN, client_of
from tests.small_atlas import LAYER

HTML = {"accept": "text/html"}
ADDRESS = f"{LAYER}:5"
NEURON = f"/neuron/{ADDRESS}"
MINUTES = 600.0


def jobs_of(client: TestClient) -> Jobs:
    jobs: Jobs = client.app.state.library.jobs  # type: ignore[attr-defined]
    return jobs


def start(client: TestClient, kind: str, address: str = ADDRESS) -> dict[str, Any]:
    answer = client.post("/compute.json", data={"kind": kind, "address": address})
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    assert (found.pop("kind"), found.pop("address")) == (kind, address)
    return found


def offered(client: TestClient, neuron: str = NEURON) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{neuron}.json").json()["on_demand"]
    return found


@pytest.fixture
def beside_its_images(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe set of the small atlas is called `images`, as its folder is."""
    monkeypatch.chdir(original.parent)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[Path]]]:
    """Words that are 3 of 10 until they are let go on; which atlases they were drawn for."""
    drawn: list[Path] = []
    reached, go_on = threading.Event(), threading.Event()

    def draw(path: Path, *, rendered: int, replace: bool, progress: Progress) -> None:
        drawn.append(path)
        progress(3, 10)
        reached.set()
        assert go_on.wait(MINUTES)

    monkeypatch.setattr(on_demand, "draw_words", draw)

    def wait() -> list[Path]:
        assert reached.wait(MINUTES)
        return drawn

    yield wait
    go_on.set()


@pytest.mark.usefixtures("beside_its_images")
def test_words_and_an_image_are_those_of_the_commands(
    client: TestClient, atlas_path: Path, original: Path, tmp_path: Path
) -> None:
    page = client.get(NEURON, headers=HTML).text
    assert (
        {"words", "image"}
        == set(offered(client))
        == set(re.findall(r'name="kind" value="(words|image)"', page))
    )
    for kind in ("words", "image"):
        assert start(client, kind)["state"] in ("waiting", "running")
    assert jobs_of(client).wait(MINUTES)

    facts = client.get(f"{NEURON}.json").json()
    assert facts["on_demand"] == {}
    assert [one["facet"] for one in facts["visualizations"]] == ["plain"]
    # All but the word that it answers to least.
    assert set() < {one["word"] for one in facts["words"]} < set(open_atlas(original).concepts)
    page = client.get(NEURON, headers=HTML).text
    assert "on-demand" not in page
    assert "Of 4 drawn words" in page

    own = Path(shutil.copytree(original, tmp_path / "by-command.atlas"))
    draw_words(own, rendered=QUICK)
    visualize(own, [ADDRESS], facets="none")
    here, there = open_atlas(atlas_path), open_atlas(own)
    assert here.manifest == there.manifest
    assert [asdict(one) for one in here.visualizations(LAYER)] == [
        asdict(one) for one in there.visualizations(LAYER)
    ]
    assert here.verify() == []


def test_a_second_request_joins_the_first_and_others_wait(
    client: TestClient, slow: Callable[[], list[Path]], beside_its_images: None
) -> None:
    del beside_its_images
    start(client, "words")
    drawn = slow()
    expected = {"state": "running", "done": 3, "total": 10, "message": ""}
    assert start(client, "words") == start(client, "words", f"{LAYER}:0") == expected
    assert offered(client, f"/neuron/{LAYER}:1")["words"] == expected
    assert start(client, "image")["state"] == "waiting"
    assert len(drawn) == 1
    assert jobs_of(client).wait(0.05) is False

    page = client.get(NEURON, headers=HTML).text
    assert '<noscript><meta http-equiv="refresh"' in page
    assert 'value="3" max="10"' in page
    assert "3 of 10" in page
    assert "waiting for another computation" in page


def test_a_form_without_scripts_leads_back_to_the_page(
    client: TestClient, slow: Callable[[], list[Path]]
) -> None:
    page = client.get(NEURON, headers=HTML).text
    (form,) = re.findall(r'<form class="on-demand" id="words".*?</form>', page, re.DOTALL)
    action = re.search(r'action="([^"]*)"', form)
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
    assert action
    assert (fields["kind"], fields["address"]) == ("words", ADDRESS)
    answer = client.post(action[1], data=fields, headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, NEURON)
    assert len(slow()) == 1


@pytest.mark.parametrize(
    ("address", "kind", "status", "message"),
    [
        (ADDRESS, "nonsense", 422, "kind"),
        (ADDRESS, "", 422, "kind"),
        ("", "words", 422, "address"),
        (f"{LAYER}:99999", "words", 404, "no unit 99999"),
        ("nowhere", "words", 404, "nowhere"),
        (f"{LAYER}:2", "image", 409, "the same value for every image"),
        (ADDRESS, "image", 409, "the probe set 'images' of the atlas was not found"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_one_line(
    client: TestClient, address: str, kind: str, status: int, message: str
) -> None:
    answer = client.post("/compute.json", data={"address": address, "kind": kind})
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]
    assert "\n" not in answer.json()["error"]["message"]
    assert jobs_of(client).wait(0)


def test_a_page_of_another_site_starts_nothing(atlas_path: Path) -> None:
    with client_of(atlas_path) as client:
        gate = client.app.state.gate  # type: ignore[attr-defined]
        client.cookies.set(gate.cookie, gate.session)
        own = {"origin": "http://127.0.0.1:8000"}
        for headers, csrf, status in (
            ({"origin": "http://evil.example"}, gate.csrf, 403),
            (own, "", 403),
            (own, gate.csrf, 409),
        ):
            data = {"kind": "image", "address": ADDRESS, "csrf": csrf}
            assert client.post("/compute", data=data, headers=headers).status_code == status
        assert TOKEN not in client.get(NEURON).text


@pytest.mark.usefixtures("beside_its_images")
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weights_here", False, "the weights of local-dir:"),
        ("os.access", False, "cannot write"),
        ("mirror_at", object(), "cannot write"),
    ],
)
def test_without_weights_or_an_atlas_to_write_into_it_is_not_offered(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, name: str, value: object, message: str
) -> None:
    monkeypatch.setattr(f"synesthete.server.pages.on_demand.{name}", lambda *_: value)
    assert offered(client) == {}
    page = client.get(NEURON, headers=HTML).text
    assert "on-demand" not in page
    assert "synesthete words own.atlas" in page, "the command is named"
    for kind in ("words", "image"):
        answer = client.post("/compute.json", data={"kind": kind, "address": ADDRESS})
        assert answer.status_code == 409
        assert message in answer.json()["error"]["message"]


@pytest.mark.usefixtures("beside_its_images")
def test_weights_that_arrive_later_are_noticed_and_looked_for_no_more(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool] = []

    def look(model: str) -> bool:
        looks.append(len(looks) >= 2)
        return looks[-1]

    monkeypatch.setattr(on_demand, "weights_here", look)
    assert offered(client) == {}, "each of the two kinds looks"
    for _ in range(2):
        assert set(offered(client)) == {"words", "image"}
    assert looks == [False, False, True]


@pytest.mark.usefixtures("beside_its_images")
def test_a_static_site_does_not_offer_it(atlas_path: Path, tmp_path: Path) -> None:
    export_site(atlas_path, tmp_path / "site", neurons=1)
    pages = list((tmp_path / "site").rglob("*.html"))
    assert any("No words were drawn" in page.read_text(encoding="utf-8") for page in pages)
    assert not any("on-demand" in page.read_text(encoding="utf-8") for page in pages)


def test_an_atlas_without_texts_names_the_command_that_records_them(
    client: TestClient, atlas_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_atlas(atlas_path).manifest["model"]["name"]
    command = (
        f"synesthete record {model} --probes images --layer {LAYER} --texts --out own-texts.atlas"
    )
    assert client.get(f"{NEURON}.json").json()["with_texts"] == command
    assert f"<code>{command}</code>" in client.get(NEURON, headers=HTML).text
    library = client.app.state.library  # type: ignore[attr-defined]
    recipe = library.get(library.first).atlas.manifest["recipe"]
    monkeypatch.setitem(recipe, "reduction", "mean")
    monkeypatch.setitem(recipe, "precision", "bf16")
    command = command.replace("--texts", "--reduction mean --precision bf16 --texts")
    assert client.get(f"{NEURON}.json").json()["with_texts"] == command
    monkeypatch.setattr(on_demand, "TIMM", "local-dir:")
    assert client.get(f"{NEURON}.json").json()["with_texts"] == "", "a model of images only"
    assert "No text was recorded" not in client.get(NEURON, headers=HTML).text


@pytest.mark.usefixtures("beside_its_images")
def test_a_failure_is_shown_and_can_be_tried_again(client: TestClient, atlas_path: Path) -> None:
    with claim_visualizations(atlas_path):
        start(client, "image")
        assert jobs_of(client).wait(MINUTES)
    failed = offered(client)["image"]
    assert failed["state"] == "failed"
    assert "another process is making images" in failed["message"]
    page = client.get(NEURON, headers=HTML).text
    assert "Another process is making images" in page
    assert "refresh" not in page
    assert start(client, "image")["state"] in ("waiting", "running")
    assert jobs_of(client).wait(MINUTES)
    assert "image" not in offered(client)


def test_so_many_wait_and_the_server_ends_in_time() -> None:
    jobs, started = Jobs(), threading.Event()

    def endless(progress: Progress) -> None:
        while True:
            progress(1, 2)
            started.set()

    jobs.start("first", endless)
    assert started.wait(MINUTES)
    for number in range(MOST_WAITING):
        jobs.start(number, endless)
    with pytest.raises(Refused, match="wait already") as refused:
        jobs.start("more", endless)
    assert refused.value.status == 503
    assert jobs.start(3, endless).state == "waiting"
    jobs.stop()
    assert jobs.wait(0)
    assert (jobs.of("first").state, jobs.of(3).state) == ("failed", "none")
    with pytest.raises(Refused):
        jobs.start("late", endless)


def test_an_unexpected_error_is_one_line_and_the_next_job_is_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(progress: Progress) -> None:
        raise RuntimeError("secret\nof two lines")

    def ours(progress: Progress) -> None:
        raise SynestheteError("no disk", hint="buy one")

    jobs = Jobs()
    for name, work in (("a", broken), ("b", ours), ("c", lambda progress: progress(2, 2))):
        jobs.start(name, work)
    assert jobs.wait(MINUTES)
    assert "secret" not in jobs.of("a").message
    assert "secret" in caplog.text
    assert jobs.of("b").message == "no disk (buy one)"
    assert (jobs.of("c").state, jobs.of("c").done) == ("done", 2)


def test_which_weights_are_here(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = open_atlas(original).manifest["model"]["name"]
    assert weights_here("mini")
    assert weights_here(spec)
    assert weights_here("timm:resnet18/random:1")
    absent = ["RN50x4/openai", "hf-hub:no/such", "timm:resnet18", "RN50/nonsense", "no such"]
    absent += [f"local-dir:{tmp_path}", f"RN50@{tmp_path / 'a.safetensors'}", "", "/"]
    assert [one for one in absent if weights_here(one)] == []
    monkeypatch.setattr("synesthete.models.sources.cached", lambda *_: Path("there"))
    assert weights_here("RN50x4/openai")
    assert weights_here("hf-hub:no/such")
