"""The seal of an ONNX file is its SHA-256, in a form that every reader of ONNX takes."""

import hashlib

import onnx

from fedshelf.common.inference.predictors.onnx_seal import is_onnx, sealed


def test_any_reader_of_onnx_finds_the_hash_as_a_text() -> None:
    content = onnx.ModelProto(ir_version=10, producer_name="somebody").SerializeToString()
    (added,) = onnx.load_from_string(sealed(content)).metadata_props
    assert (added.key, added.value) == ("sha256", hashlib.sha256(content).hexdigest())
    assert sealed(content).endswith(added.value.encode())


def test_files_are_told_apart_by_their_beginning() -> None:
    assert is_onnx(onnx.ModelProto(ir_version=10, producer_name="somebody").SerializeToString())
    assert not is_onnx(b"\x08\0\0\0\0\0\0\0{}      ")  # a safetensors file without tensors
    assert not is_onnx(b"\xff\xd8\xff\xe0")
    assert not is_onnx(b"")
