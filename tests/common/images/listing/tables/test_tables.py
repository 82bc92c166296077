"""CSV files of photos as spreadsheets, pandas and people write them: read alike, or refused in one
sentence.
"""

from pathlib import Path

import pytest

from fedshelf.common.errors import DataError
from fedshelf.common.images.folder.photo_folder import open_folder
from fedshelf.common.images.folder.scan import scan
from fedshelf.common.images.listing.tables import Table, TableRow, read_table
from tests.helpers.photo_files import noise, save


def table(tmp_path: Path, text: str, encoding: str = "utf-8") -> Table:
    path = tmp_path / "photos.csv"
    path.write_bytes(text.encode(encoding))
    return read_table(path)


def pairs(found: Table) -> list[tuple[str, str]]:
    """Image and label of each row."""
    return [(row.image, row.label) for row in found.rows]


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(DataError) as raised:
        table(tmp_path, text)
    assert "\n" not in str(raised.value)
    return str(raised.value).removeprefix(str(tmp_path / "photos.csv"))


TWO = [("a/1.jpg", "hat"), ("b/2.jpg", "shoe, big")]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('image,label\na/1.jpg,hat\nb/2.jpg,"shoe, big"\n', id="comma"),
        pytest.param('a/1.jpg,hat\nb/2.jpg,"shoe, big"', id="no header"),
        pytest.param("image;label\r\na/1.jpg;hat\r\nb/2.jpg;shoe, big\r\n", id="semicolon"),
        pytest.param("a/1.jpg;hat\nb/2.jpg;shoe, big\n", id="semicolon without header"),
        pytest.param("image\tlabel\na/1.jpg\that\nb/2.jpg\tshoe, big\n", id="tab"),
        pytest.param("image|label\na/1.jpg|hat\nb/2.jpg|shoe, big\n", id="bar"),
        pytest.param(
            "sep=;\nimage;label\na/1.jpg;hat\nb/2.jpg;shoe, big\n", id="Excel's first line"
        ),
        pytest.param('\n\nimage, label\n\na/1.jpg, hat\nb/2.jpg, "shoe, big"\n', id="blanks"),
        pytest.param('# of March\nimage,label\na/1.jpg,hat\nb/2.jpg,"shoe, big"\n', id="comment"),
        pytest.param('image,label\ra/1.jpg,hat\rb/2.jpg,"shoe, big"\r', id="old Macs"),
        pytest.param(',image,label\n0,a/1.jpg,hat\n1,b/2.jpg,"shoe, big"\n', id="index"),
        pytest.param('label,image\nhat,a/1.jpg\n"shoe, big",b/2.jpg\n', id="swapped"),
        pytest.param('Filename,Class\na/1.jpg,hat\nb/2.jpg,"shoe, big"\n', id="filename and class"),
        pytest.param(
            'image_path,Category\na/1.jpg,hat\nb/2.jpg,"shoe, big"\n', id="path and category"
        ),
        pytest.param('image,label,,\na/1.jpg,hat,,\nb/2.jpg,"shoe, big",,\n', id="empty columns"),
        pytest.param('image,label\na\\1.jpg,hat\nb\\2.jpg,"shoe, big"\n', id="backslashes"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_what_people_save_is_read_alike(tmp_path: Path, text: str, encoding: str) -> None:
    found = table(tmp_path, text, encoding)
    assert pairs(found) == TWO
    assert (found.left_out, found.notes) == ((), ())


def test_a_western_windows_encoding_is_read_with_a_word(tmp_path: Path) -> None:
    found = table(tmp_path, "image,label\na.jpg,Mütze\n", "cp1252")
    assert pairs(found) == [("a.jpg", "Mütze")]
    assert found.notes == (
        (
            "photos.csv is not in UTF-8 but was read as Windows-1252; if names look wrong, save it"
            " as UTF-8"
        ),
    )


def test_columns_that_mean_nothing_are_named(tmp_path: Path) -> None:
    found = table(tmp_path, "Unnamed: 0,image,width,label\n0,a.jpg,640,hat\n")
    assert pairs(found) == [("a.jpg", "hat")]
    assert found.notes == ("photos.csv: columns not used: width",)


def test_a_split_column_means_what_it_says(tmp_path: Path) -> None:
    text = "image,label,split\na.jpg,hat,Train\nb.jpg,hat,dev\nc.jpg,hat,eval\nd.jpg,hat,\n"
    found = table(tmp_path, text)
    assert [row.split for row in found.rows] == ["train", "validation", "test"]
    assert found.left_out == (("d.jpg", "no split"),)
    assert "line 2 has the split 'extra'; expected one of train, " in refusal(
        tmp_path, "image,label,split\na.jpg,hat,extra\n"
    )


def test_the_split_column_decides_who_trains(tmp_path: Path) -> None:
    lines = ["image,label,split"]
    for number, split in enumerate(["train"] * 6 + ["val"] * 3 + ["testing"] * 2):
        save(tmp_path / "img" / f"{number}.png", noise(number))
        lines.append(f"img/{number}.png,{'hat' if number % 2 else 'shoe'},{split}")
    (tmp_path / "photos.csv").write_text("\n".join(lines))
    folder = open_folder(tmp_path / "photos.csv", image_size=8, channels=3)
    assert {split: len(images) for split, images in folder.splits.items()} == {
        "train": 6,
        "validation": 3,
        "test": 2,
    }


@pytest.mark.parametrize("missing", ["", "NaN", "nan", "<NA>", "null", "N/A"])
def test_a_missing_label_is_no_class(tmp_path: Path, missing: str) -> None:
    found = table(tmp_path, f"image,label\na/1.jpg,hat\na/2.jpg,{missing}\n")
    assert pairs(found) == [("a/1.jpg", "hat")]
    assert found.left_out == (("a/2.jpg", "no label"),)


def test_a_folder_may_be_called_nan(tmp_path: Path) -> None:
    """It is a bread."""
    assert pairs(table(tmp_path, "image,label\nnan/2.jpg,nan\n")) == [("nan/2.jpg", "nan")]


def test_whole_numbers_of_pandas_are_whole(tmp_path: Path) -> None:
    assert pairs(table(tmp_path, "image,label\na.jpg,0.0\nb.jpg,10.0\nc.jpg,\n")) == [
        ("a.jpg", "0"),
        ("b.jpg", "10"),
    ]
    assert pairs(table(tmp_path, "image,label\na.jpg,1.0\nb.jpg,1.5\n")) == [
        ("a.jpg", "1.0"),
        ("b.jpg", "1.5"),
    ]


def test_a_number_below_zero_is_no_label(tmp_path: Path) -> None:
    """As in parquet files."""
    found = table(tmp_path, "image,label\na.jpg,0\nb.jpg,-1\nc.jpg,2\n")
    assert (pairs(found), found.left_out) == (
        [("a.jpg", "0"), ("c.jpg", "2")],
        (("b.jpg", "no label"),),
    )
    assert pairs(table(tmp_path, "image,label\na.jpg,hat\nb.jpg,-1\n")) == [
        ("a.jpg", "hat"),
        ("b.jpg", "-1"),
    ]


def test_names_without_their_folders_are_told_not_to_be_there(tmp_path: Path) -> None:
    text = "filename,label\n1.jpg,hat\n1.jpg,shoe\n"
    assert refusal(tmp_path, text).endswith(
        "1.jpg is not there, either: paths are relative to the CSV file's folder."
    )
    assert "is not there, either" in refusal(tmp_path, text.replace("1.jpg", "x" * 10_000))


def test_a_list_with_tabs_may_be_called_so(tmp_path: Path) -> None:
    (tmp_path / "photos.tsv").write_text("image\tlabel\na.jpg\that\n")
    assert [photo.label for photo in scan(tmp_path / "photos.tsv").photos] == ["hat"]


def test_paths_may_be_addresses_of_files(tmp_path: Path) -> None:
    assert pairs(table(tmp_path, "image,label\nfile:///data/a%20b/1.jpg,hat\n")) == [
        ("/data/a b/1.jpg", "hat")
    ]


def test_a_backslash_in_a_name_that_is_there_stays(tmp_path: Path) -> None:
    save(tmp_path / "a\\1.png", noise(1))
    assert pairs(table(tmp_path, "image,label\na\\1.png,hat\na\\2.png,hat\n")) == [
        ("a\\1.png", "hat"),
        ("a/2.png", "hat"),
    ]


def test_of_two_delimiters_that_fit_files_tell(tmp_path: Path) -> None:
    save(tmp_path / "a,1.png", noise(1))
    assert pairs(table(tmp_path, "a,1.png;hat\n")) == [("a,1.png", "hat")]


def test_a_photo_listed_twice_counts_once(tmp_path: Path) -> None:
    found = table(tmp_path, "image,label\na.jpg,hat\n./a.jpg,hat\n")
    assert pairs(found) == [("a.jpg", "hat")]
    assert found.left_out == (("./a.jpg", "listed twice"),)
    ways = ["a.jpg", f"../{tmp_path.name}/a.jpg", str(tmp_path / "a.jpg")]
    found = table(tmp_path, "".join(f"{way},hat\n" for way in ways))
    assert pairs(found) == [("a.jpg", "hat")]
    assert len(found.left_out) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "a.jpg,hat\nb.jpg,hat\na.jpg,shoe\n",
            ", line 3 gives a.jpg the class shoe, line 1 gave it hat; expected one",
        ),
        (
            "image,label,split\na.jpg,hat,train\na.jpg,hat,test\n",
            ", line 3 gives a.jpg the split test, line 2 gave it train; expected one",
        ),
        (
            "image,label\nhttps://a.org/1.jpg,hat\n",
            ", line 2 has an address, https://a.org/1.jpg; expected a path",
        ),
        (
            "image,label\nC:\\img\\1.jpg,hat\n",
            ", line 2 has a path of a Windows machine, C:\\img\\1.jpg; expected one",
        ),
        ("image,label\n\\\\server\\img\\1.jpg,hat\n", ", line 2 has a path of a Windows machine"),
        (
            "image,breed\na.jpg,hat\n",
            " has the columns image, breed: none of labels; expected one of images (image, ",
        ),
        ("label,where\nhat,a.png\n", " has the columns label, where: none of images; expected"),
        (
            "image,label,class\na.jpg,1,hat\n",
            " has the columns image, label, class: several that may be one of them",
        ),
        (
            "hat,a.jpg\nhat,b.jpg\n",
            " has its photos in the second column; expected lines of IMAGE,LABEL",
        ),
        (
            "image,label,subset\na.jpg,hat,Train\nb.jpg,hat,test\n",
            " has a column subset of Train and test; expected such",
        ),
        (
            "hat,a.jpg\nshoe,b.jpg\n",
            " has its photos in the second column; expected lines of IMAGE,LABEL",
        ),
        (
            "a.jpg,hat\nb.jpg,hat,red\n",
            ", line 2 has 3 values: 'b.jpg,hat,red'; expected two, IMAGE,LABEL (more ",
        ),
        (
            "image,label\na.jpg,hat\nb.jpg\n",
            ", line 3 has one value: 'b.jpg'; expected 2, as the first line names",
        ),
        (
            "image;label\na.jpg;hat\nb.jpg\n",
            ", line 3 has one value: 'b.jpg'; expected 2, as the first line names",
        ),
    ],
)
def test_what_is_in_doubt_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    assert refusal(tmp_path, text).startswith(sentence)


def test_what_is_no_file_name_is_left_out(tmp_path: Path) -> None:
    found = table(tmp_path, "image,label\na\0.jpg,hat\n,hat\nfile://[x/b.jpg,hat\n")
    assert found.rows == (TableRow("file://[x/b.jpg", "hat", None, ""),)
    assert found.left_out == (("line 2", "not a file name"), ("line 3", "no image"))


def test_nothing_usable_is_told_as_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "photos.csv").write_text("image,label\ngone.jpg,hat\n")
    assert len(scan(tmp_path / "photos.csv").photos) == 1
    with pytest.raises(
        DataError,
        match=r"expected a line IMAGE,LABEL per photo, with paths relative to the folder of",
    ):
        open_folder(tmp_path / "photos.csv", image_size=8, channels=3)
