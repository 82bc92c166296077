"""The file of class names that people use, and the contents that it refuses."""

import unicodedata
from pathlib import Path

import pytest

from fedshelf.common.classes import display_names
from fedshelf.common.errors import ConfigError, DataError


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "names.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        'folder,name\n10,Chair\n2,"Shirts, blue"\n',
        'Folder , Name\r\n10,Chair\r\n\r\n2,"Shirts,  blue"\r\n',
        '10,Chair\n2,"Shirts, blue"',
        '10,Chair,\n2,"Shirts, blue",,\n',
        '\ufefffolder;name\n10;Chair\n2;"Shirts, blue"\n',
        "folder\tname\n10\tChair\n2\tShirts, blue\n".encode("utf-16"),
    ],
)
def test_pairs_are_read_as_spreadsheets_write_them(tmp_path: Path, text: str | bytes) -> None:
    assert display_names.read(written(tmp_path, text)) == {"10": "Chair", "2": "Shirts, blue"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10,Chair\n2\n", "line 2 has '2'; expected folder,name"),
        ("10,Chair\n2,\n", "line 2 has '2,'; expected folder,name"),
        (",Chair\n", "line 1 has ',Chair'"),
        ("10,Shirts, blue\n2,Hat\n", "line 1 has '10,Shirts,blue'.*in double quotes"),
        (
            "10,Chair\n2,Hat\n10,Table\n",
            "line 3 names the folder '10' again, 'Table' after 'Chair'",
        ),
        (
            "10,Chair\n2,Hat\n11, chair \n",
            "line 3 calls the folder '11' 'chair', like the folder '10'",
        ),
        ("", "names no class"),
        ("folder,name\n", "names no class"),
    ],
)
def test_what_is_no_list_of_names_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        display_names.read(written(tmp_path, text))


def test_a_file_that_is_not_there_or_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ConfigError, match=f"--class-names got {path}, which is no file"):
            display_names.read(path)
    with pytest.raises(DataError, match=r"names\.csv is in no encoding"):
        display_names.read(written(tmp_path, b"10,Ch\x81ir\n"))


def test_what_is_kept_reads_back_the_same(tmp_path: Path) -> None:
    assert display_names.read_from_run(tmp_path) == {}
    names = {"10": 'Chair, "oak"', "a,b": "Jäger; grün", "2": "Hat"}
    assert display_names.choose_for_run(tmp_path, names) == names
    assert (
        display_names.choose_for_run(tmp_path, None)
        == display_names.read_from_run(tmp_path)
        == names
    )
    assert (
        display_names.choose_for_run(tmp_path, {"2": "Cap"})
        == display_names.read_from_run(tmp_path)
        == {"2": "Cap"}
    )
    display_names.write_to_run(tmp_path, {})
    assert display_names.read_from_run(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_class_is_found_in_any_unicode_form_and_else_called_like_its_folder() -> None:
    names = {"Röcke": "Skirts"}
    assert display_names.display_name(names, unicodedata.normalize("NFD", "Röcke")) == "Skirts"
    assert display_names.display_name(names, "Hosen") == "Hosen"


def test_lines_for_other_classes_are_told_at_once() -> None:
    assert display_names.check_classes({"10": "Chair", "2": "Hat"}, ["10", "2", "3"]) == ""
    names = {"10": "Chair"} | {str(number): f"product {number}" for number in range(7)}
    assert (
        display_names.check_classes(names, ["10", "20"])
        == "--class-names has lines for folders that are no class of the run: '0', '1', '2', '3',"
        " '4' and 2 more."
    )


def test_a_class_without_a_line_must_not_be_called_like_one_that_has_one() -> None:
    with pytest.raises(ConfigError, match=r"calls the folder '10' 'Hat', as another class .*'hat'"):
        display_names.check_classes({"10": "Hat"}, ["10", "hat"])
    assert "no class of the run: '11'" in display_names.check_classes({"11": "Hat"}, ["10", "hat"])
    assert display_names.check_classes({"10": "hat", "hat": "cap"}, ["10", "hat"]) == ""
