"""A finished model as a program of torch.export, for PyTorch without our code."""

import io
from pathlib import Path

import torch

from fedshelf.common.errors import DataError
from fedshelf.common.inference.export.onnx_file import WholeModel, example_photos, start_autograd
from fedshelf.common.inference.predictors.torch_predictor import TorchPredictor
from fedshelf.common.system.files import write_bytes


def write_program(predictor: TorchPredictor, file: Path) -> None:
    """Write the program of a model, with the inputs and outputs of its ONNX file.

    Args:
        predictor: the model
        file: its name ends in .pt2

    Raises:
        DataError: PyTorch cannot export the network.
        OSError: the file cannot be written.
    """
    start_autograd()
    example, sizes = example_photos(predictor.network.spec.channels)
    try:
        with torch.no_grad():
            program = torch.export.export(
                WholeModel(predictor).eval(), (example,), dynamic_shapes={"images": sizes}
            )
    except Exception as error:  # a network may do anything
        raise DataError(
            f"PyTorch {torch.__version__} cannot export the network {predictor.network.spec.name}"
            f" ({type(error).__name__}); use its model.safetensors."
        ) from error
    for node in program.graph.nodes:
        for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn"):
            node.meta.pop(key, None)  # they tell paths of this machine
    content = io.BytesIO()
    torch.export.save(program, content)
    write_bytes(file, content.getvalue())
