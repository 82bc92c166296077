"""A service in a thread of this process, over a real socket, with a model that needs no network."""

import asyncio
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from fedshelf.client.service.classification.served_model import ModelFiles
from fedshelf.client.service.photo_service import PhotoService
from fedshelf.client.service.requests.api_keys import ApiKeys
from fedshelf.client.service.requests.limits import ServiceLimits
from fedshelf.client.service.server import ServiceServer, bind
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.inference.loading import load, load_locator, onnx_file_of
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.predictor import Pixels, Predictions
from fedshelf.common.inference.search.index_file import SearchIndex, read_index
from fedshelf.common.inference.search.updating import update_index
from tests.helpers.saved_models import spec_of

COLOURS = ("red", "green", "blue")


class ColourPredictor:
    """Tells of which colour a photo has most: a class's probability is its channel's share.

    gate: batches wait until it is set
    batches: photos of each batch so far
    """

    def __init__(self, size: int = 8) -> None:
        self.description = ModelDescription(spec_of(classes=COLOURS, size=size), COLOURS)
        self.pixel_format: PixelFormat = self.description.pixel_format
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[int] = []

    def predict(self, pixels: Pixels) -> Predictions:
        self.batches.append(len(pixels))
        assert self.gate.wait(60)
        sums = pixels.mean(axis=(1, 2), dtype=np.float32) + np.float32(1e-6)
        shares = sums / sums.sum(axis=1, keepdims=True)
        return Predictions(shares, sums, np.full(len(pixels), np.nan, np.float32))


def coloured(red: int, green: int, blue: int, kind: str = "PNG", side: int = 64) -> bytes:
    """A photo whose left half is of that colour, and the right half black: nobody calls it flat."""
    image = Image.new("RGB", (side, side))
    image.paste((red, green, blue), (0, 0, side // 2, side))
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def coloured_index(folder: Path) -> tuple[SearchIndex, Path]:
    """An index of three photos by their colour, red, rose and blue, and the folder of these."""
    shop = folder / "shop"
    shop.mkdir()
    colours = {"red": (200, 10, 10), "rose": (200, 90, 90), "blue": (0, 0, 200)}
    for name, colour in colours.items():
        (shop / f"{name}.png").write_bytes(coloured(*colour))
    predictor = ColourPredictor()
    predictor.description = replace(predictor.description, sha256="ab" * 32)
    update_index(folder / "shop.index", shop, predictor, [])
    return read_index(folder / "shop.index"), shop


@dataclass
class RunningService:
    """The address of a service, and what is behind it."""

    url: str
    predictor: ColourPredictor
    service: PhotoService
    server: ServiceServer
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    key: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=60, headers=self.headers)

    def stop(self) -> None:
        """As SIGTERM does."""
        self.loop.call_soon_threadsafe(self.server.stop)


@contextmanager
def running_service(
    folder: Path,
    limits: ServiceLimits | None = None,
    key: str = "",
    index: SearchIndex | None = None,
    onnx_file: Path | None = None,
    locator: Path | None = None,
) -> Iterator[RunningService]:
    """A service until the context ends. Its model's one file lies in `folder`, unless an ONNX file
    is given.
    """
    file = onnx_file or folder / "colours.onnx"
    if onnx_file is None:
        file.write_bytes(b"first")
    predictor = ColourPredictor()
    keys = ApiKeys([key] if key else [])
    listener = bind("127.0.0.1", 0, keys)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    started = threading.Event()
    found: list[RunningService] = []

    async def run() -> None:
        files = ModelFiles(
            [file],
            lambda: (load(file) if onnx_file else predictor, index),
            locator,
            load_locator,
        )
        by_browsers = None if locator is None else onnx_file_of(locator)
        service = PhotoService(files, limits or ServiceLimits(), onnx_file, by_browsers)
        server = ServiceServer(service, keys, started.set)
        loop = asyncio.get_running_loop()
        headers = {"authorization": f"Bearer {key}"} if key else {}
        found.append(RunningService(url, predictor, service, server, loop, thread, key, headers))
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert started.wait(60)
    (running,) = found
    try:
        yield running
    finally:
        predictor.gate.set()
        if thread.is_alive():
            running.stop()
        thread.join(60)
        assert not thread.is_alive()
