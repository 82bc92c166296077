"""`flower-client serve`, where it cannot begin."""

from pathlib import Path

from tests.helpers.client_command import refused
from tests.helpers.exported_models import save_exported


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    nothing = str(tmp_path / "nothing.onnx")
    onnx = str(save_exported(tmp_path / "run")[1])
    command = ("serve", "--port", "0")
    assert f"There is no model at {nothing}; expected" in refused(tmp_path, 3, *command, nothing)
    told = refused(tmp_path, 3, *command, onnx, "--index", nothing)
    assert f"There is no index at {nothing}; make one" in told
    told = refused(tmp_path, 3, *command, onnx, "--locator", nothing)
    assert f"There is no model at {nothing}; expected" in told
