"""One meaning from every source, and errors that name key, value, what is allowed and the nearest
key.
"""

import json
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin

import pytest
import tomli_w
from annotated_types import Ge, Gt, Le, Lt
from flwr.common.config import parse_config_args
from hypothesis import given
from hypothesis import strategies as draw
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fedshelf.common.config import (
    RunConfig,
    flatten,
    for_another_run,
    from_assignments,
    from_toml,
    known_keys,
    own_settings,
    resolve,
    to_flower,
    to_toml,
)
from fedshelf.common.errors import ConfigError


def test_all_sources_have_one_meaning(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('[train]\nlr = 0.3\nepochs = 2\n[data]\nclasses = ["a", "b"]\nflip = false\n')
    native = {"train.lr": 0.3, "train.epochs": 2, "data.classes": ["a", "b"], "data.flip": False}
    text = ["train.lr=0.3", "train.epochs=2", "data.classes=a, b", "data.flip=false"]
    flower = {"train.lr": 0.3, "train.epochs": 2, "data.classes": "a,b", "data.flip": False}
    assert (
        resolve(from_toml(file))
        == resolve(native)
        == resolve(from_assignments(text))
        == resolve(flower)
    )


def allowed(field: FieldInfo) -> list[Any]:
    """Values of each kind that a setting allows, its limits among them."""
    kind = field.annotation
    limits = {type(limit): cast(Any, limit) for limit in field.metadata}
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if kind is bool:
        return [True, False]
    if kind is int:
        low = limits[Ge].ge
        return [low, limits[Le].le if Le in limits else low + 7]
    if kind is float:
        low = limits[Ge].ge if Ge in limits else limits[Gt].gt + 1e-7
        high = (
            limits[Le].le if Le in limits else limits[Lt].lt - 1e-3 if Lt in limits else low + 1e3
        )
        return [float(low), float(high), (low + high) / 2]
    if field.default == "none" and "last:K" in (field.description or ""):
        return ["none", "backbone", "last:2"]
    return (
        ["plain", "7", "a=b, c.x", "Käse", ""]
        if kind is str
        else [(), ("hat",), ("7", "8"), ("a, b", "[c]", "x y")]
    )


SETTINGS = [
    (f"{section}.{name}", value)
    for section, found in RunConfig.model_fields.items()
    for name, field in cast(type[BaseModel], found.annotation).model_fields.items()
    for value in allowed(field)
]


@pytest.mark.parametrize(("key", "value"), SETTINGS)
def test_every_setting_takes_every_kind_of_value_from_every_source(
    tmp_path: Path, key: str, value: Any
) -> None:
    section, name = key.split(".")
    in_text = json.dumps(value, ensure_ascii=False) if isinstance(value, tuple) else str(value)
    flat = to_flower(resolve({key: value}))
    as_toml = tomli_w.dumps({section: {name: value}})
    (tmp_path / "native.toml").write_text(as_toml, encoding="utf-8")
    (tmp_path / "text.toml").write_text(tomli_w.dumps({section: {name: in_text}}), encoding="utf-8")
    for_flower = f"'{flat[key]}'" if isinstance(flat[key], str) else json.dumps(flat[key])
    for source in (
        {key: value},
        from_assignments([f"{key}={in_text}"]),
        from_toml(tmp_path / "native.toml"),
        from_toml(tmp_path / "text.toml"),
        parse_config_args([f"{key}={for_flower}"]),
        {key: str(flat[key])},
    ):
        read = flatten(resolve(source))[key]
        assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    "key", [key for key, default in known_keys().items() if not isinstance(default, bool)]
)
def test_true_is_no_number_and_no_name(key: str) -> None:
    with pytest.raises(ConfigError, match=f"Setting {key} got True; allowed: "):
        resolve({key: True})


def test_class_names_may_be_whole_numbers_in_toml(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[data]\nclasses = [0, 1, 10]\n[run]\nname = 2026\n")
    config = resolve(from_toml(tmp_path / "c.toml"))
    assert (config.data.classes, config.run.name) == (("0", "1", "10"), "2026")


def test_brackets_without_quotes_are_an_error() -> None:
    with pytest.raises(
        ConfigError,
        match=r"data.classes got '\[a, b\]'; expected names with commas between them, or",
    ):
        resolve({"data.classes": "[a, b]"})


def test_later_sources_win() -> None:
    assert resolve({"train.lr": 0.3}, {"train.lr": 0.2}).train.lr == 0.2


def test_every_form_reads_back_unchanged(tmp_path: Path) -> None:
    config = resolve(
        {
            "data.classes": ["Käse", "x y"],
            "train.lr": 1e-7,
            "run.seed": 2**62,
            "model.weights": "a=b.safetensors",
        }
    )
    (tmp_path / "c.toml").write_text(to_toml(config))
    assert resolve(from_toml(tmp_path / "c.toml")) == config
    assert resolve(to_flower(config)) == config
    assert resolve(flatten(config)) == config


def test_what_belongs_to_one_run_is_left_out_of_another_unless_a_person_changed_it(
    tmp_path: Path,
) -> None:
    config = resolve({"run.out": "runs/a", "data.classes": ["hat", "boot"], "train.lr": 0.3})
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config, ["run.out", "run.name", "data.classes"]))
    assert resolve(from_toml(path)) == config
    assert own_settings(path) == {
        "run.out": "runs/a",
        "run.name": "",
        "data.classes": ["hat", "boot"],
    }
    kept = for_another_run(path)
    assert not {"run.out", "run.name", "data.classes"} & kept.keys()
    assert resolve(kept) == resolve({"train.lr": 0.3})
    path.write_text(path.read_text().replace('out = "runs/a"', 'out = "runs/b"', 1))
    assert for_another_run(path)["run.out"] == "runs/b"
    path.write_text('[run]\nout = "runs/mine"\n')  # a person's own file
    assert for_another_run(path) == {"run.out": "runs/mine"}


def test_flower_form_holds_what_flower_allows() -> None:
    assert {type(value) for value in to_flower(RunConfig()).values()} <= {bool, int, float, str}


def test_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().train.lr = 1.0  # type: ignore[misc]


@given(draw.lists(draw.text(min_size=1, max_size=8), unique=True, max_size=4))
def test_any_class_names_survive_flowers_form(classes: list[str]) -> None:
    config = resolve({"data.classes": classes})
    assert resolve(to_flower(config)).data.classes == tuple(classes)


def test_class_names_with_commas_are_given_in_brackets() -> None:
    given_so = from_assignments(['data.classes=["T-shirts, new", "hats"]'])
    assert resolve(given_so).data.classes == ("T-shirts, new", "hats")


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"train.lrr": 1}, ["'train.lrr'", "Did you mean train.lr?"]),
        ({"lr": 1}, ["'lr'", "train.lr"]),
        ({"momentum": 1}, ["'momentum'", "train.momentum"]),
        ({"quux.zzz": 1}, ["'quux.zzz'"]),
        ({"train.lr": "fast"}, ["train.lr", "'fast'", "number", "learning rate"]),
        ({"train.lr": 0}, ["train.lr", "0", "greater than 0"]),
        ({"train.lr": float("nan")}, ["train.lr", "nan", "finite"]),
        ({"train.epochs": 1.5}, ["train.epochs", "1.5", "integer"]),
        ({"train.optimizer": "sdg"}, ["train.optimizer", "'sdg'", "'sgd', 'adam' or 'adamw'"]),
        ({"cohort.fraction": 1.5}, ["cohort.fraction", "1.5", "less than or equal to 1"]),
        ({"data.denoise": 4}, ["data.denoise", "4", "0, 3 or 5"]),
        ({"data.flip": "maybe"}, ["data.flip", "'maybe'", "boolean"]),
        ({"data.classes": "hat,boot,hat"}, ["data.classes", "each name once, not 'hat' twice"]),
        ({"run.seed": -1}, ["run.seed", "-1", "greater than or equal to 0"]),
    ],
)
def test_errors_say_what_was_got_and_what_is_allowed(settings: dict, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(settings)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("assignment", ["train.lr", "train.lr 0.1", ""])
def test_an_assignment_needs_an_equals_sign(assignment: str) -> None:
    with pytest.raises(ConfigError, match=r"expected KEY=VALUE, for example train\.lr=0\.05"):
        from_assignments([assignment])


def test_toml_errors_name_the_file(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("[train\nlr = ")
    with pytest.raises(ConfigError, match=r"bad\.toml is not valid TOML"):
        from_toml(bad)
    bad.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"bad\.toml is not valid TOML"):
        from_toml(bad)
    with pytest.raises(ConfigError, match=r"Cannot read configuration .*missing\.toml"):
        from_toml(tmp_path / "missing.toml")


def test_every_setting_has_a_meaning_and_a_unit_or_range() -> None:
    for section in RunConfig.model_fields.values():
        for name, field in section.annotation.model_fields.items():
            assert field.description, name
            assert len(field.description) > 10, name


@given(
    draw.dictionaries(draw.sampled_from(sorted(known_keys())), draw.text(max_size=6), max_size=3)
)
def test_any_text_is_a_value_or_one_clear_error(settings: dict[str, str]) -> None:
    try:
        config = resolve(settings)
    except ConfigError as error:
        sentence = str(error)
    else:
        sentence = f"Setting fine: {config}"
    assert sentence.startswith("Setting ")
