"""Each block of a page is run or read by a test, or listed here with the reason why not."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from fedshelf.common import plugins
from fedshelf.server.launcher.page_port import FIRST_PAGE_PORT
from tests.helpers.commands_not_run import NOT_RUN
from tests.helpers.documented_commands import ANY_BLOCK, commands, steps
from tests.helpers.page_commands import ROOT

WRITTEN = ("docs/reference/commands.md", "docs/reference/python.md")  # by `make settings`
LIST_OF_PAGES = re.compile(r"^```\{toctree\}.*?^```$", re.DOTALL | re.MULTILINE)
PAGES = {
    name: LIST_OF_PAGES.sub("", path.read_text(encoding="utf-8"))
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if (name := str(path.relative_to(ROOT))) not in WRITTEN
}
CONTRIBUTED = ("CONTRIBUTING.md", "toml")
IN_STEPS = "tests/test_documented_commands.py"
BESIDE_STEPS: Mapping[str, Mapping[str, str]] = {  # page -> beginnings of commands -> their test
    "docs/tutorials/a-page.md": {
        "flower-simulation run --dataset shelf-scenes": "tests/docs/test_scenes.py",
        "flower-client export-onnx runs/shelves": "tests/docs/test_scenes.py",
        "flower-client page first.onnx --locator": "tests/docs/test_scenes.py",
        "curl ": "tests/docs/test_use.py",
    }
}
COMMANDS: Mapping[str, tuple[str, ...]] = {  # page -> tests that run all its commands
    "README.md": ("tests/test_readme.py", "tests/docs/test_own_photos.py"),
    "CONTRIBUTING.md": ("tests/test_contributing.py",),
    **{
        f"docs/{page}.md": (IN_STEPS,)
        for page in (
            "tutorials/first-run", "tutorials/your-photos", "tutorials/three-stores",
            "tutorials/a-page", "how-to/photos", "how-to/few-labels", "how-to/unequal-stores",
            "how-to/privacy", "how-to/pretrained",
        )
    },
    **{
        f"docs/how-to/{page}.md": tuple(f"tests/docs/test_{test}.py" for test in tests)
        for page, tests in {
            "compare": ("use",),
            "health": ("chain",),
            "joining": ("chain",),
            "monitoring": (),
            "new-product": ("chain",),
            "operations": ("operations", "chain"),
            "ray": ("ray",),
            "scenes": ("scenes",),
            "upgrading": ("chain",),
            "use": ("use", "chain"),
        }.items()
    },
    "docs/how-to/python.md": (
        "tests/simulations/python/test_python_page.py", "tests/docs/test_chain.py"
    ),
    "docs/reference/reports.md": (),
}  # fmt: skip
SNIPPETS: Mapping[tuple[str, str], str] = {  # of a page in a language -> the test of all of them
    ("CONTRIBUTING.md", "python"): "tests/test_contributing.py",
    ("CONTRIBUTING.md", "toml"): "tests/docs/test_every_block.py",
    ("docs/how-to/operations.md", "toml"): "tests/docs/test_operations.py",
    ("docs/how-to/python.md", "python"): "tests/simulations/python/test_python_page.py",
    ("docs/how-to/scenes.md", "python"): "tests/docs/test_scenes.py",
    ("docs/how-to/monitoring.md", "yaml"): "tests/docs/test_every_block.py",
    ("docs/how-to/use-from-code.md", "python"): "tests/common/inference/test_finished_model.py",
    ("docs/how-to/use-from-code.md", "javascript"): "tests/common/inference/test_finished_model.py",
    ("docs/how-to/use.md", "python"): "tests/client/service/test_documented_client.py",
    ("docs/reference/policy.md", "toml"): "tests/docs/test_chain.py",
    ("docs/tutorials/first-run.md", "python"): "tests/test_documented_commands.py",
    ("docs/tutorials/your-photos.md", "python"): "tests/test_documented_commands.py",
}
A_DRAWING = "a drawing"
SHOWN: Mapping[str, Mapping[str, str]] = {  # page -> first words of a block -> why, or the test
    "README.md": {
        "store 1   photos": A_DRAWING,
        "round  train loss": "printed by make demo; CI runs it, other processors round otherwise",
    },
    "docs/explanation/architecture.md": {"a store": A_DRAWING},
    "docs/explanation/privacy.md": {"1 keys": A_DRAWING},
    "docs/how-to/monitoring.md": {"location / {": "nginx's; tests/server/monitor asks as it does"},
    "docs/how-to/scenes.md": {
        "0 0.50 0.40": "tests/docs/test_scenes.py",
        "shelf.jpg: 6 places": "tests/docs/test_scenes.py",
        "ALARM at": "tests/docs/test_scenes.py",
    },
    "docs/how-to/use.md": {
        "inbox/1.jpg": "tests/docs/test_use.py",
        "class         counted": "tests/docs/test_use.py",
        "photo.jpg: shirt": "tests/docs/test_use.py",
        "0:00:00.0 to": "tests/docs/test_use.py",
    },
    "docs/tutorials/first-run.md": {
        "round=1/10": "printed by the command above; other processors round otherwise",
        "test/tube": "printed by the command above; other processors round otherwise",
    },
    "docs/tutorials/your-photos.md": {"photos/shirt/1.jpg": "names of somebody's photos"},
}


def blocks() -> Iterator[tuple[str, str, str]]:
    """Yield page, language and text of all blocks."""
    for page, text in PAGES.items():
        for language, block in ANY_BLOCK.findall(text):
            yield page, language, block


def shell_lines(block: str) -> list[str]:
    """The lines of a block of commands, without comments."""
    lines = (line.strip() for line in block.replace("\\\n", " ").splitlines())
    return [re.split(r"\s\s+#", line)[0] for line in lines if line and not line.startswith("#")]


def test_no_fence_is_overlooked() -> None:
    for page, text in PAGES.items():
        fences = re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)
        assert len(fences) == 2 * len(ANY_BLOCK.findall(text)), page


def test_each_command_is_run_or_left_out_for_a_reason() -> None:
    found = {page: set(commands(text)) for page, text in PAGES.items() if commands(text)}
    assert found.keys() == COMMANDS.keys()
    for page, tests in COMMANDS.items():
        reasons = tuple(NOT_RUN.get(page, ()))
        assert tests or all(each.startswith(reasons) for each in found[page]), page
        for test in tests:
            assert Path(page).stem in (ROOT / test).read_text(encoding="utf-8"), (page, test)
        if IN_STEPS in tests:
            others = tuple(BESIDE_STEPS.get(page, ()))
            in_steps = {step for _, step in steps(PAGES[page])}
            assert {each for each in found[page] - in_steps if not each.startswith(others)} == set()
    for page, reasons in [*NOT_RUN.items(), *BESIDE_STEPS.items()]:
        unused = [
            start for start in reasons if not any(each.startswith(start) for each in found[page])
        ]
        assert unused == [], page


def test_lines_of_commands_that_prepare_are_right() -> None:
    """Commands that install name extras that exist, and those of make its targets."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for page, language, block in blocks():
        known = commands(f"```\n{block}```")
        if language != "sh" and (language or not (known or block.startswith("make"))):
            continue
        for line in shell_lines(block):
            if extra := re.fullmatch(r"pip install 'fedshelf\[(\w+)\]'", line):
                assert extra[1] in project["optional-dependencies"], page
            elif line.startswith("make "):
                assert line.split()[1] in targets, page
            elif line not in known:
                assert line.startswith(("export ", "mv ", "source .venv")), (page, line)


def test_each_snippet_is_run_or_read() -> None:
    found = {(page, language) for page, language, _ in blocks() if language not in ("", "sh")}
    assert found == SNIPPETS.keys()
    for (page, _), test in SNIPPETS.items():
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8"), (page, test)


def test_each_other_block_is_looked_at_or_left_out_for_a_reason() -> None:
    found = dict.fromkeys(SHOWN, ())
    for page, language, block in blocks():
        text = block.lstrip()
        if language == "" and not commands(f"```\n{block}```") and not text.startswith("make "):
            reasons = [start for start in SHOWN.get(page, ()) if text.startswith(start)]
            assert reasons, f"{page}: {text}"
            found[page] = (*found[page], *reasons)
    assert {page: set(starts) for page, starts in found.items()} == {
        page: set(reasons) for page, reasons in SHOWN.items()
    }
    for reasons in SHOWN.values():
        for reason in reasons.values():
            assert not reason.startswith("tests/") or (ROOT / reason).is_file(), reason


def test_entry_points_of_contributing_are_of_groups_that_are_read() -> None:
    """CONTRIBUTING.md"""
    (text,) = (block for page, kind, block in blocks() if (page, kind) == CONTRIBUTED)
    groups = tomllib.loads(text)["project"]["entry-points"]
    kinds = [each for each in vars(plugins).values() if isinstance(each, plugins.PluginKind)]
    assert groups.keys() <= {kind.group for kind in kinds}
    assert len(groups) >= 5


def test_prometheus_scrapes_the_first_port_of_a_page() -> None:
    """monitoring.md"""
    (text,) = (block for _, kind, block in blocks() if kind == "yaml")
    told = yaml.safe_load(text)
    (job,) = told["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [f"127.0.0.1:{FIRST_PAGE_PORT}"]
    for name in told["rule_files"]:
        assert (ROOT / "deploy" / name).is_file()
