"""Predictions by ONNX Runtime, from a file of `flower-client export-onnx`; no PyTorch."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.decoding.parallel import usable_cores
from fedshelf.common.inference.predictors.description import ModelDescription, read_description
from fedshelf.common.inference.predictors.model_kinds import check_kind
from fedshelf.common.inference.predictors.onnx_seal import check_seal
from fedshelf.common.inference.predictors.predictor import (
    Pixels,
    Predictions,
    empty_predictions,
    interpret,
)
from fedshelf.common.models.spec import Output
from fedshelf.common.names import DESCRIPTION_KEY
from fedshelf.common.release.verify import verify_release_of
from fedshelf.common.system.extras import import_onnx_runtime

# the graph's input, uint8 [N, H, W, C], and its outputs, float32: [N, classes], [N, D] and
# [N, classes]
IMAGES = "images"
PROBABILITIES = "probabilities"
EMBEDDING = "embedding"
LOGITS = "logits"

MODEL_SHA256_KEY = "model_sha256"
"""The key, in an ONNX file's metadata, of the SHA-256 of the `model.safetensors` it was made of."""

OUTPUT_KEY = "output"
"""The key, in an ONNX file's metadata, of the kind of its result; without it, classes."""

# More photos in a pass take no less time for each and hold more memory: for 288 px on two cores 8.6
# ms of CPU and 108 MB alone, 9 to 10 ms and 190 MB by four, 18 to 25 ms and 530 MB by sixteen. What
# a small network gains by four is less than the decoding of a photo costs.
_PIXELS_PER_PASS = 4 * 64 * 64


class OnnxPredictor:
    """A model in an ONNX file, on the CPU.

    Args:
        session: of ONNX Runtime, with the graph
        description: of its model
    """

    def __init__(self, session: Any, description: ModelDescription) -> None:
        self._session = session  # may be called from several threads
        self._description = description

    @property
    def description(self) -> ModelDescription:
        """The model: classes, image size, calibration."""
        return self._description

    @property
    def pixel_format(self) -> PixelFormat:
        """The form to which training decoded photos."""
        return self._description.pixel_format

    def predict(self, pixels: Pixels) -> Predictions:
        """Predict the classes of photos; see `Predictor.predict`."""
        count, height, width, _ = pixels.shape
        if count == 0:
            return empty_predictions(self._description)
        step = max(1, _PIXELS_PER_PASS // max(1, height * width))
        passes = [
            self._session.run(
                [PROBABILITIES, EMBEDDING, LOGITS],
                {IMAGES: np.ascontiguousarray(pixels[start : start + step])},
            )
            for start in range(0, count, step)
        ]
        probabilities, embeddings, logits = (
            np.concatenate(parts) for parts in zip(*passes, strict=True)
        )
        told = interpret(logits, embeddings, self._description)
        return replace(told, probabilities=probabilities)


def open_onnx(file: Path) -> OnnxPredictor:
    """Return the model in an ONNX file, ready for use.

    Raises:
        DataError: see `read_onnx` and `open_onnx_content`
        ConfigError: ONNX Runtime is not installed, or the keys of releases cannot be read.
    """
    return open_onnx_content(read_onnx(file), file)


def read_onnx(file: Path) -> bytes:
    """Return the content of an ONNX file that Fedshelf exported.

    Raises:
        DataError: it cannot be read, is damaged or none of ours, or is one of a release that is not
            as it was signed.
        ConfigError: the keys of releases cannot be read.
    """
    verify_release_of(file)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read the model {file} ({error.strerror or error}).") from error
    check_seal(content, file)
    return content


def open_onnx_content(content: bytes, file: Path) -> OnnxPredictor:
    """Return the model in the content of an ONNX file, ready for use.

    Args:
        content: see `read_onnx`
        file: where it lies

    Raises:
        DataError: it is none of ours, or belongs to another description than the one beside it.
        ConfigError: ONNX Runtime is not installed.
    """
    session, description = open_session(content, file, "classes")
    classes = len(description.classes)
    outputs = {
        PROBABILITIES: ("tensor(float)", classes),
        EMBEDDING: ("tensor(float)", None),
        LOGITS: ("tensor(float)", classes),
    }
    check_form(session.get_outputs(), outputs, file)
    return OnnxPredictor(session, description)


def open_session(content: bytes, file: Path, output: Output) -> tuple[Any, ModelDescription]:
    """Return ONNX Runtime's session for a model of one kind, and the model's description.

    Args:
        content: see `read_onnx`
        file: where it lies
        output: the kind of result that is needed

    Raises:
        DataError: it is none of ours, of another kind, or belongs to another description than the
            one beside it.
        ConfigError: ONNX Runtime is not installed.
    """
    session = start_session(content, file)
    metadata = session.get_modelmeta().custom_metadata_map
    if DESCRIPTION_KEY not in metadata:
        raise _foreign(file)
    found = metadata.get(OUTPUT_KEY, "classes")
    if found not in get_args(Output):
        raise _foreign(file)
    check_kind(found, output, file)
    description = read_description(file, metadata, metadata.get(MODEL_SHA256_KEY, ""))
    description.check_usable(file)
    check_form(session.get_inputs(), {IMAGES: ("tensor(uint8)", description.spec.channels)}, file)
    return session, description


def start_session(content: bytes, source: Path) -> Any:
    """Return ONNX Runtime's session for a file's content.

    Memory goes back to the system after a pass: an arena would keep the most that any size of photo
    ever took. Threads do not spin while they wait, so that an idle service takes no CPU.

    Args:
        content: of the file
        source: its name, for errors

    Raises:
        DataError: it cannot be run.
        ConfigError: ONNX Runtime is not installed.
    """
    runtime = import_onnx_runtime("use")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False  # patterns are for one size of photos
    options.log_severity_level = 4  # errors come as exceptions
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common class of their own
        raise DataError(
            f"ONNX Runtime {runtime.__version__} cannot run the model {source}"
            f" ({type(error).__name__}); update it, or export the model once more."
        ) from error
    # It would hold the file's content, a second copy of all weights, to start anew elsewhere.
    session._model_bytes = None
    return session


def check_form(values: Any, expected: dict[str, tuple[str, int | None]], file: Path) -> None:
    """Check names, types and last lengths (None: any) of a graph's inputs or outputs.

    Raises:
        DataError: they are others.
    """
    found = {value.name: (value.type, value.shape[-1:]) for value in values}
    if set(found) != set(expected):
        raise _foreign(file)
    for name, (kind, length) in expected.items():
        if found[name][0] != kind or (length is not None and found[name][1] != [length]):
            raise DataError(
                f"{file} does not fit its own description: {name} is {json.dumps(found[name])},"
                f" expected {kind} with {length} values; export the model once more."
            )


def _foreign(file: Path) -> DataError:
    return DataError(
        f"{file} is not an ONNX file that Fedshelf exported; expected one made by:"
        " flower-client export-onnx."
    )
