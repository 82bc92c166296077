"""An index belongs to a model, in whatever file; and an ONNX file searches without PyTorch."""

import subprocess
import sys
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from fedshelf.client.main import app
from tests.helpers.exported_models import save_exported

USE_WITHOUT_TORCH = """
import sys
from fedshelf.client.main import app
model, photo, index, out = sys.argv[1:]
for command in (
    ["similar", model, photo, "--index", index, "--html", out + ".html"],
    ["explain", model, photo, "--index", index, "--out", out],
    ["classify", model, photo, "--index", index],
    ["index", model, photo.rpartition("/")[0], "--out", index],
):
    app(command, standalone_mode=False)
assert "torch" not in sys.modules, "loaded"
"""


def test_an_index_made_by_pytorch_is_used_by_the_onnx_file(tmp_path: Path) -> None:
    weights, file = save_exported(tmp_path / "model")
    (tmp_path / "shop").mkdir()
    for number in range(4):
        image = Image.new("RGB", (60, 40), (240, 240, 240))
        image.paste((200, 0, 40 * number), (5, 5, 25, 20))
        image.save(tmp_path / "shop" / f"{number}.png")
    index = str(tmp_path / "shop.index")
    made = CliRunner().invoke(app, ["index", str(weights), str(tmp_path / "shop"), "--out", index])
    assert made.exit_code == 0, made.output
    photo, out = str(tmp_path / "shop" / "0.png"), str(tmp_path / "heat.png")
    done = subprocess.run(
        [sys.executable, "-c", USE_WITHOUT_TORCH, str(file), photo, index, out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "0 added, 0 changed, 0 removed" in done.stdout
