"""Two real stores with goods of their own: the server says how to confirm them, and what it says
works.
"""

import json
import re
from pathlib import Path

import pytest

from tests.helpers.deployed import draw_photos, free_port
from tests.helpers.deployment_fixtures import Starter


@pytest.mark.slow
def test_goods_of_one_store_alone_are_confirmed_by_the_flag_that_the_server_names(
    command: Starter, tmp_path: Path
) -> None:
    port = free_port()
    out = tmp_path / "run"
    quick = [
        "--model",
        "niid-cnn",
        "--set",
        "data.image_size=32",
        "--rounds",
        "1",
        "--stores",
        "2",
        "--insecure",
    ]
    start = ["flower-server", "start", "--out", out, "--port", str(port), *quick]
    server = command(*start)
    for name, goods in {"oslo": ["boot", "hat"], "rome": ["boot", "mug"]}.items():
        command.store(draw_photos(tmp_path / name, goods), port)
    assert server.ends() == 3, server.text
    assert "Traceback" not in server.text
    told = re.search(
        r"2 classes need a person's word .*'hat' \(oslo\), 'mug' \(rome\).*", server.text
    )
    assert told, server.text
    assert (out / "unconfirmed-classes.txt").read_text() == "hat\nmug\n"
    flag = re.search(r"--confirm-classes (\S+)", told[0])
    assert flag
    again = command(*start, flag[0].split()[0], flag[1])
    assert again.ends() == 0, again.text
    assert json.loads((out / "model.json").read_text())["classes"] == ["boot", "hat", "mug"]
