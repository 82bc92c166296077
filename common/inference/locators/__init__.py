"""A finished locator ready for use: PyTorch and ONNX Runtime behind one method."""
