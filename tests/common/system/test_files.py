"""JSON that a person can read and a machine reads back, and whole folders."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as draw

from fedshelf.common.system.files import write_folder, write_json

plain = (
    draw.none()
    | draw.booleans()
    | draw.integers()
    | draw.floats(allow_nan=False, allow_infinity=False)
    | draw.text()
)
values = draw.recursive(
    plain, lambda inner: draw.lists(inner) | draw.dictionaries(draw.text(), inner), max_leaves=20
)


@given(values)
def test_json_reads_back(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert json.loads(path.read_text(encoding="utf-8")) == value


def test_a_list_of_plain_values_is_one_line(tmp_path: Path) -> None:
    write_json(
        tmp_path / "v.json",
        {"stores": {"paris": [1, 2], "rome": []}, "matrix": [[3, 0], [1, 2]], "more": {}},
    )
    assert (tmp_path / "v.json").read_text().splitlines() == [
        "{",
        '  "stores": {',
        '    "paris": [1, 2],',
        '    "rome": []',
        "  },",
        '  "matrix": [',
        "    [3, 0],",
        "    [1, 2]",
        "  ],",
        '  "more": {}',
        "}",
    ]


def test_what_json_does_not_know_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "v.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_folder(tmp_path / "new" / "two", {"a": b"1", "b": b"2"})
    assert {file.name: file.read_bytes() for file in (tmp_path / "new" / "two").iterdir()} == {
        "a": b"1",
        "b": b"2",
    }
    with pytest.raises(FileExistsError):
        write_folder(tmp_path / "new" / "two", {"a": b"3"})
    with pytest.raises(OSError, match="too long"):
        write_folder(tmp_path / "new" / "three", {"a": b"1", "b" * 300: b"2"})
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["two"]
