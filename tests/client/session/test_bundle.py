"""A server may ship no code with a run."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from fedshelf.client.failures import StoreError, failure_of
from fedshelf.client.session.bundle import CLIENT_APP, MAX_BUNDLE_BYTES, check_bundle
from tests.helpers.bundles import PROJECT, packed


def changed(path: str, value: object) -> dict[str, object]:
    """The project with another value at the dotted `path`."""
    document = {**PROJECT}
    table = document
    *parents, last = path.split(".")
    for key in parents:
        table[key] = {**table.get(key, {})}
        table = table[key]
    table[last] = value
    return document


def refusal(content: bytes) -> str:
    with pytest.raises(StoreError) as caught:
        check_bundle(content)
    told = failure_of("oslo", caught.value)
    assert (told.code, told.detail) == ("policy", "bundle")
    return str(caught.value)


def test_the_bundle_that_flower_makes_of_ours_is_accepted(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "pyproject.toml").write_text(tomli_w.dumps(PROJECT), encoding="utf-8")
    environment = os.environ | {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_HOME": str(tmp_path / "home")}
    flwr = Path(sys.executable).with_name("flwr")
    subprocess.run(
        [flwr, "build"], cwd=app, env=environment, check=True, capture_output=True, timeout=300
    )
    (bundle,) = app.glob("*.fab")
    check_bundle(bundle.read_bytes())


def test_a_bundle_of_ours_is_accepted() -> None:
    check_bundle(packed())


@pytest.mark.parametrize(
    "name",
    [
        "client/app.py",
        "client.py",
        "readme.md",
        "../pyproject.toml",
        "/etc/passwd",
        "client/",
        ".info/other",
        "pyproject.toml",
        "PYPROJECT.TOML",
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_any_other_file_is_refused(name: str) -> None:
    assert "expected pyproject.toml and .info/CONTENT only" in refusal(
        packed(**{name: b"import os"})
    )


@pytest.mark.parametrize(
    "asked",
    [
        "fedshelf.client.app:other",
        "evil:app",
        "",
        3,
        ["fedshelf.client.app:app"],
        {"a": CLIENT_APP},
    ],
)
def test_another_entry_point_is_refused(asked: object) -> None:
    assert "expected 'fedshelf.client.app:app'" in refusal(
        packed(changed("tool.flwr.app.components.clientapp", asked))
    )


@pytest.mark.parametrize(
    "path",
    [
        "build-system.requires",
        "project.dependencies",
        "project.scripts.run",
        "project.optional-dependencies.x",
        "tool.flwr.federations.default",
        "tool.uv.sources",
        "tool.flwr.app.fab-include",
        "tool.flwr.app.components.agentapp",
        "dependency-groups.dev",
    ],
)
def test_what_could_install_or_run_something_else_is_refused(path: str) -> None:
    assert "which is not in Fedshelf's own" in refusal(packed(changed(path, ["evil"])))


@pytest.mark.parametrize(
    "path", ["tool", "tool.flwr", "tool.flwr.app", "tool.flwr.app.components", "project"]
)
def test_a_table_that_is_none_is_refused(path: str) -> None:
    refusal(packed(changed(path, "text")))


def test_a_project_without_a_client_app_is_refused() -> None:
    assert "asks for the client app 'None'" in refusal(packed({"project": {"name": "x"}}))


def test_a_project_that_is_no_toml_is_refused() -> None:
    assert "is not TOML" in refusal(packed(b"[project"))
    assert "is not TOML" in refusal(packed(b"\xff"))
    assert "is not TOML" in refusal(packed(b"a = " + b"[" * 10_000))


def test_a_list_of_files_that_does_not_fit_is_refused() -> None:
    assert "does not describe" in refusal(packed(manifest=b"pyproject.toml,0,0"))


def test_a_small_archive_that_unpacks_to_much_is_refused() -> None:
    bomb = packed(b"#" * 10**7)
    assert len(bomb) < MAX_BUNDLE_BYTES
    assert "unpacks to more than" in refusal(bomb)


def test_a_large_archive_is_refused_unopened() -> None:
    assert "expected at most" in refusal(packed(os.urandom(MAX_BUNDLE_BYTES)))


def test_code_in_front_of_or_behind_the_archive_is_refused() -> None:
    """Python runs a zip archive with anything in front of it."""
    assert "from its first byte to its last" in refusal(b"#!/usr/bin/env python\n" + packed())
    assert "from its first byte to its last" in refusal(packed() + b"import os")


@given(st.binary(max_size=300))
def test_anything_else_is_refused(content: bytes) -> None:
    refusal(content)


@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_damaged_bundle_is_refused_or_harmless(place: int, value: int) -> None:
    content = bytearray(packed())
    content[place % len(content)] = value
    with suppress(StoreError):  # and no other error
        check_bundle(bytes(content))
