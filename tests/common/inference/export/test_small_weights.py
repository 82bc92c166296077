"""Smaller forms hold less, and predict nearly the same."""

from pathlib import Path

import numpy as np
import onnx

from fedshelf.common.inference.export.comparison import Comparison, cpu_milliseconds
from fedshelf.common.inference.export.onnx_file import drawn_photos, file_content, predictor_of
from fedshelf.common.inference.export.small_weights import with_half_weights, with_int8_arithmetic
from fedshelf.common.inference.loading import load
from tests.helpers.exported_models import save_exported


def test_half_weights_are_rounded_and_nothing_else(tmp_path: Path) -> None:
    file = save_exported(tmp_path)[1]
    whole = onnx.load(file)
    half = with_half_weights(whole)
    onnx.checker.check_model(half, full_check=True)
    assert whole == onnx.load(file)
    plain = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in whole.graph.initializer}
    small = {
        tensor.name.removesuffix(".half"): onnx.numpy_helper.to_array(tensor)
        for tensor in half.graph.initializer
    }
    assert plain.keys() == small.keys()
    assert any(weights.dtype == np.float16 for weights in small.values())
    for name, weights in plain.items():
        np.testing.assert_array_equal(weights.astype(small[name].dtype), small[name])
    assert len(half.SerializeToString()) < 0.6 * len(whole.SerializeToString())


def test_both_predict_nearly_the_same_and_can_be_loaded(tmp_path: Path) -> None:
    file = save_exported(tmp_path)[1]
    whole, original = onnx.load(file), load(file)
    photos = drawn_photos(original.description, 24)
    metadata = list(whole.metadata_props)
    del whole.metadata_props[-1]  # the seal
    for small in (with_half_weights(whole), with_int8_arithmetic(whole, photos)):
        assert list(small.metadata_props) == metadata[:-1]
        assert b"/tmp" not in small.SerializeToString()
        content = file_content(small)
        (tmp_path / "small.onnx").write_bytes(content)
        reopened = load(tmp_path / "small.onnx")
        assert reopened.description == original.description
        compared = Comparison()
        compared.add(
            original.predict(photos).probabilities,
            reopened.predict(photos).probabilities,
            [None] * len(photos),
        )
        assert 0 < compared.difference < 0.05
    assert {node.op_type for node in small.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}
    times = cpu_milliseconds([original, predictor_of(content, original.description)], photos)
    assert len(times) == 2
    assert min(times) > 0
