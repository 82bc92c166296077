"""The Python client in docs/how-to/use.md, as it stands there."""

import re
from pathlib import Path

import pytest

from tests.helpers.services import coloured, running_service

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "use.md"


def test_it_classifies(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?ADDRESS.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    with running_service(tmp_path, key="k" * 16) as running:
        names: dict[str, object] = {}
        exec(code, names)
        names |= {"ADDRESS": running.url, "KEY": "k" * 16}
        classify = names["classify"]
        assert callable(classify)
        red, broken = classify([coloured(200, 0, 0), b"no photo"], top=1)
        assert red["verdict"] == "sure"
        assert red["guesses"][0]["class"] == "red"
        assert broken["problem"]["status"] == 415
        with pytest.raises(ValueError, match="not an image"):
            classify([b"no photo"])
