"""What first answers wait for (the first atlas's model, and what neurons' pages share), loaded while the first page is read."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from starlette.types import ASGIApp, Receive, Scope, Send

from synesthete.report.source import Links
from synesthete.server.library import Library, Site


class Preload:
    """An ASGI application that loads the model in the background, once it has answered somebody who is let in.

    A model that cannot be loaded is left to the page that needs it, which says why.

    Parameters
    ----------
    app
        The microscope.
    library
        Its atlases.
    """

    def __init__(self, app: ASGIApp, library: Library) -> None:
        self.app, self.library = app, library
        self.thread: threading.Thread | None = None
        self._stop = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.app(scope, receive, send)
        if self.thread is None and scope.get("state", {}).get("authenticated"):
            # No daemon: a thread that is inside of torch must not outlive the interpreter.
            self.thread = threading.Thread(target=self._load, name="preload")
            self.thread.start()

    def stop(self) -> None:
        """Leave out what has not started."""
        self._stop.set()

    def _load(self) -> None:
        with contextlib.suppress(Exception):
            for _ in _steps(self.library):
                if self._stop.is_set():
                    return


def _steps(library: Library) -> Iterator[None]:
    """What a first answer waits for, the import first."""
    from synesthete.analysis.towers import default_layers
    from synesthete.models.sources import weights_here
    from synesthete.report.neuron import pairs_of

    opened = library.get(library.first)
    layers = default_layers(opened.atlas)
    if layers is not None and opened.atlas.manifest["dense"]:
        pairs_of(opened, *layers)
    yield
    # Nothing is fetched that nobody asked for, and nothing imported for weights that are not there.
    if not weights_here(str(opened.atlas.manifest["model"]["name"])):
        return
    # One by one, since a server that ends waits for the one that is being imported.
    import torch  # noqa: F401

    yield
    import torchvision  # noqa: F401

    yield
    import open_clip  # noqa: F401

    yield
    from PIL import Image

    from synesthete.analysis.provenance import own_model
    from synesthete.server.pages.try_image import text_directions

    site = Site(opened=opened, links=Links(""), library=library)
    model = own_model(site.atlas)
    yield
    # The first pass of a network is slower than the next.
    side = model.preprocessing.image_size
    model.encode_images(model.preprocess(Image.new("RGB", (side, side)))[None])
    yield
    if site.atlas.concepts and model.reads_texts:
        text_directions(site)
