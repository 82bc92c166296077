"""A class that one store alone has becomes part of a model if a person says so."""

import re
from pathlib import Path

import pytest

from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.protocol.messages import StoreInfo
from fedshelf.common.protocol.serialization import decode_result, encode_result
from fedshelf.server.training.class_confirmation import (
    MAX_UNCONFIRMED_CLASSES,
    UNCONFIRMED_CLASSES_FILE,
    check,
    given,
)
from fedshelf.server.training.setup import agree_on_classes


def chain(**classes: list[str]) -> dict[str, StoreInfo]:
    return {name: StoreInfo(name, dict.fromkeys(has, 4), 1, 1) for name, has in classes.items()}


def real(**settings: object) -> RunConfig:
    return resolve(
        {"data.dataset": "stores"},
        {key.replace("__", "."): value for key, value in settings.items()},
    )


SHOPS = chain(oslo=["bag", "hat"], paris=["bag", "hat"], rome=["hat", "old stuff"])


def test_what_one_store_alone_has_waits_for_a_persons_word() -> None:
    assert agree_on_classes(real(), SHOPS).unconfirmed == {"old stuff": ["rome"]}
    confirmed = agree_on_classes(real(data__confirmed_classes=["old stuff", "nobody's"]), SHOPS)
    assert confirmed.unconfirmed == {}
    assert confirmed.classes == ("bag", "hat", "old stuff")


@pytest.mark.parametrize(
    "config",
    [
        real(data__classes="bag,hat"),
        resolve(),
        resolve({"data.dataset": "stores", "train.objective": "turns"}),
    ],
    ids=["classes are given", "a simulation", "turns"],
)
def test_elsewhere_there_is_nothing_to_confirm(config: RunConfig) -> None:
    assert agree_on_classes(config, SHOPS).unconfirmed == {}


def test_a_run_that_begins_with_one_store_takes_its_classes() -> None:
    assert agree_on_classes(real(), chain(oslo=["bag", "hat"])).unconfirmed == {}


def test_two_spellings_of_one_class_are_two_stores_that_have_it() -> None:
    mixed = chain(oslo=["Hat", "bag"], rome=["hat", "bag"])
    assert agree_on_classes(real(data__merge_spellings="true"), mixed).unconfirmed == {}


def test_beyond_a_few_hundred_even_two_stores_do_not_settle_it() -> None:
    few = [f"c{number:03d}" for number in range(MAX_UNCONFIRMED_CLASSES)]
    assert agree_on_classes(real(), chain(oslo=few, rome=few)).unconfirmed == {}
    many = [*few, "one more"]
    assert list(agree_on_classes(real(), chain(oslo=many, rome=many)).unconfirmed) == many
    confirmed = real(data__confirmed_classes=many)
    assert agree_on_classes(confirmed, chain(oslo=many, rome=many)).unconfirmed == {}


def test_two_stores_with_different_goods_hear_the_exact_flag(tmp_path: Path) -> None:
    shops = chain(oslo=["boot", "shoe"], rome=["bag"])
    with pytest.raises(DataError) as told:
        check(agree_on_classes(real(), shops).unconfirmed, tmp_path)
    assert "3 classes need a person's word" in str(told.value)
    assert "'bag' (rome), 'boot' (oslo), 'shoe' (oslo)" in str(told.value)
    found = re.search(r"--confirm-classes (\S+)", str(told.value))
    assert found
    assert agree_on_classes(real(data__confirmed_classes=given(found[1])), shops).unconfirmed == {}


def test_of_many_a_file_is_written_that_can_be_given_back(tmp_path: Path) -> None:
    shops = chain(evil=["bag", *(f"invented, {number}" for number in range(299))], rome=["bag"])
    with pytest.raises(DataError) as told:
        check(agree_on_classes(real(), shops).unconfirmed, tmp_path)
    assert len(str(told.value)) < 1000
    assert f"--confirm-classes {tmp_path / UNCONFIRMED_CLASSES_FILE}" in str(told.value)
    confirmed = given(str(tmp_path / UNCONFIRMED_CLASSES_FILE))
    assert len(confirmed) == 299
    config = real(data__confirmed_classes=confirmed)
    check(agree_on_classes(config, shops).unconfirmed, tmp_path)
    assert not (tmp_path / UNCONFIRMED_CLASSES_FILE).exists()


def test_what_is_no_list_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.txt, which cannot be read"):
        given(str(tmp_path / "nowhere.txt"))
    (tmp_path / "odd.txt").write_text("hat\n\x1b[2J\n")
    with pytest.raises(ConfigError, match="each the name of a class"):
        given(str(tmp_path / "odd.txt"))
    assert given(" hat, shoe ,") == ["hat", "shoe"]


def test_a_store_can_tell_of_so_many_classes_only() -> None:
    told = chain(oslo=[f"class {number}" for number in range(5000)])["oslo"]
    assert decode_result(encode_result(told)) == told
    for names in (
        [f"{number}" for number in range(10_001)],
        [f"{number:0200d}" for number in range(1500)],
    ):
        with pytest.raises(Exception, match="262144 bytes in all"):
            decode_result(encode_result(chain(oslo=names)["oslo"]))
