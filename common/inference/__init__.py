"""Use of a finished model: to classify, search, explain, export and release.

A `predictors.predictor.Predictor` stands in the middle: PyTorch and ONNX Runtime stand behind the
same method, and nothing outside their two files knows which. Programs that serve a released model
import no torch.
"""
