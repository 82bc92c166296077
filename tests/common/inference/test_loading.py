"""Models are opened whole or refused in a sentence."""

import json
from pathlib import Path

import numpy as np
import pytest

from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.inference.loading import load, load_all
from fedshelf.common.models.spec import TURNS
from fedshelf.common.names import DESCRIPTION_FILE, WEIGHTS_FILE
from tests.helpers.saved_models import save_model, spec_of


def photos(count: int = 3, side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_the_one_file_is_enough(tmp_path: Path) -> None:
    whole = save_model(tmp_path / "run", temperature=2.0, class_names=("Boot", "Hat", "Shirt"))
    alone = tmp_path / "copy.safetensors"
    alone.write_bytes((whole / WEIGHTS_FILE).read_bytes())
    assert load(alone).description == load(whole).description
    assert load(alone).description.class_names == ("Boot", "Hat", "Shirt")
    assert load(alone).description.temperature == 2.0


def test_a_model_of_before_the_metadata_needs_the_file_beside_it(tmp_path: Path) -> None:
    from safetensors.torch import load as parse
    from safetensors.torch import save

    run = save_model(tmp_path / "run", temperature=1.5)
    content = save(parse((run / WEIGHTS_FILE).read_bytes()), metadata={"spec": spec_of().to_json()})
    (run / WEIGHTS_FILE).write_bytes(content)
    values = json.loads((run / DESCRIPTION_FILE).read_text())
    del values["sha256"]
    (run / DESCRIPTION_FILE).write_text(json.dumps(values))
    assert load(run).description.temperature == 1.5
    (run / DESCRIPTION_FILE).unlink()
    with pytest.raises(DataError, match="does not describe its model"):
        load(run)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    one = save_model(tmp_path / "one")
    other = save_model(tmp_path / "other", seed=1)
    (one / WEIGHTS_FILE).write_bytes((other / WEIGHTS_FILE).read_bytes())
    with pytest.raises(DataError, match=r"is not the model that the model\.json beside"):
        load(one)


def test_what_knows_no_products_or_is_not_whole_is_refused(tmp_path: Path) -> None:
    turns = save_model(tmp_path / "turns", spec_of(classes=TURNS))
    with pytest.raises(DataError, match="knows no products"):
        load(turns)
    parted = save_model(tmp_path / "parted", provenance={"personal": ["head.weight"]})
    with pytest.raises(DataError, match=r"lacks the parts .* the first is head.weight"):
        load(parted)
    own = save_model(tmp_path / "own", provenance={"personal": ["head.weight"], "store": "oslo"})
    assert len(load(own).predict(photos())) == 3
    with pytest.raises(DataError, match="There is no model at"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match=f"There is no model in {tmp_path}: expected a model.safe"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("temperature", 0, "its temperature is 0"),
        ("denoise", 4, "its denoise is 4"),
        ("class_names", ["a"], "1 names for 3 classes"),
        ("energy_threshold", "high", "does not describe a model"),
        ("classes", ["a", "a", "b"], "does not describe a model"),
        ("image_size", None, "does not describe a model"),
    ],
)
def test_an_impossible_description_is_refused(
    tmp_path: Path, key: str, value: object, words: str
) -> None:
    from fedshelf.common.inference.predictors.description import ModelDescription

    run = save_model(tmp_path / "run")
    values = json.loads((run / DESCRIPTION_FILE).read_text()) | {key: value}
    with pytest.raises(DataError, match=words):
        ModelDescription.parse(values, run / DESCRIPTION_FILE)


def test_members_of_an_ensemble_tell_the_same_classes(tmp_path: Path) -> None:
    one = save_model(tmp_path / "one")
    larger = save_model(tmp_path / "two", spec_of("niid-cnn", size=48), seed=1)
    both = load_all([one, larger])
    assert both.pixel_format.image_size == 48
    expected = (
        load(one).predict(photos()).probabilities + load(larger).predict(photos()).probabilities
    ) / 2
    np.testing.assert_allclose(both.predict(photos()).probabilities, expected, atol=1e-6)
    weighted = load_all([one, larger], weights=[3, 1]).predict(photos()).probabilities
    np.testing.assert_allclose(
        weighted,
        0.75 * load(one).predict(photos()).probabilities
        + 0.25 * load(larger).predict(photos()).probabilities,
        atol=1e-6,
    )
    others = save_model(tmp_path / "three", spec_of(classes=("boot", "cap", "shirt")))
    with pytest.raises(DataError, match="'hat' stands where the other has 'cap'"):
        load_all([one, others])
    with pytest.raises(ConfigError, match="expected one above 0 for each model"):
        load_all([one, larger], weights=[1])
