"""CIFAR-10 in each form in which it is published: the same pixels, and clear about files that are
not it.
"""

import io
import json
import os
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.helpers.dataset_loading import load, refusal


def test_cifar10_is_read_from_its_binary_version(tmp_path, monkeypatch):
    folder = tmp_path / "cifar10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    planes = np.arange(2 * 3 * 32 * 32, dtype=np.int64).reshape(2, 3, 32, 32) % 251
    records = np.concatenate([[[3], [9]], planes.reshape(2, -1)], axis=1).astype(np.uint8)
    for number in range(1, 6):
        records.tofile(folder / f"data_batch_{number}.bin")
    records[1:].tofile(folder / "test_batch.bin")
    monkeypatch.setenv("FEDSHELF_DATA", str(tmp_path))
    dataset = load("cifar10")
    assert dataset.classes[3] == "cat"
    assert dataset.classes[9] == "truck"
    assert dataset.train.targets().tolist() == [3, 9] * 5
    assert (dataset.train.inputs.numpy()[:2] == planes.transpose(0, 2, 3, 1)).all()
    assert dataset.test.targets().tolist() == [9]
    (folder / "test_batch.bin").write_bytes(b"short")
    assert "has 5 bytes, not a multiple of 3073" in refusal("cifar10")
    (folder / "test_batch.bin").write_bytes(b"\x0a" + bytes(3072))
    assert "has labels up to 10" in refusal("cifar10")
    (folder / "data_batch_4.bin").unlink()
    assert "no data_batch_4.bin" in refusal("cifar10")


def pickled_batch(pixels: np.ndarray, labels: list[int]) -> bytes:
    """A file of cifar-10-batches-py, opcode by opcode as Python 2 wrote them. pixels: uint8 [n,
    3072]
    """
    kind = b"cnumpy\ndtype\nq\x05(U\x02u1K\x00K\x01tRq\x06(K\x03U\x01|NNN"
    kind += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    content = b"T" + len(pixels.tobytes()).to_bytes(4, "little") + pixels.tobytes()
    shape = b"K" + bytes([len(pixels)]) + b"M\x00\x0c\x86q\x07"
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03"
    array += b"K\x00\x85U\x01b\x87Rq\x04(K\x01" + shape + kind + b"\x89" + content + b"tb"
    told = b"]q\x08(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return (
        b"\x80\x02}q\x01(U\x04data"
        + array
        + b"U\x06labels"
        + told
        + b"U\x0bbatch_labelU\x0ctest batch 1u."
    )


def test_cifar10_is_read_from_torchvisions_files_and_nothing_in_them_is_run(tmp_path, monkeypatch):
    folder = tmp_path / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    planes = (np.arange(2 * 3 * 32 * 32) % 251).astype(np.uint8).reshape(2, 3, 32, 32)
    written = pickled_batch(planes.reshape(2, -1), [3, 9])
    understood = pickle.loads(written, encoding="latin1")
    assert (understood["data"] == planes.reshape(2, -1)).all()  # as Python and torchvision read it
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(written)
    monkeypatch.setenv("FEDSHELF_DATA", str(tmp_path))
    dataset = load("cifar10")
    assert dataset.train.targets().tolist() == [3, 9] * 5
    assert (dataset.test.inputs.numpy() == planes.transpose(0, 2, 3, 1)).all()
    marker = tmp_path / "was-run"
    (folder / "test_batch").write_bytes(pickle.dumps(Touch(marker), protocol=2))
    assert "holds no batch of CIFAR-10" in refusal("cifar10")
    assert not marker.exists()
    (folder / "test_batch").write_bytes(written[:-20])
    assert "test_batch cannot be read as a pickle" in refusal("cifar10")


class Touch:
    """Makes a file, if it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_cifar10_is_read_from_the_hubs_lossless_images_as_they_are(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    rows = []
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        rows.append({"bytes": file.getvalue(), "path": None})
    names = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    features = {"img": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
    table = pa.table({"img": rows, "label": [0, 5, 9]})
    table = table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    folder = tmp_path / "cifar10" / "plain_text"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    monkeypatch.setenv("FEDSHELF_DATA", str(tmp_path))
    dataset = load("cifar10")
    assert (dataset.train.inputs.numpy() == pixels).all()
    assert [dataset.classes[label] for label in dataset.train.targets()] == [
        "airplane",
        "dog",
        "truck",
    ]
