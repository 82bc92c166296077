"""Imports go one way: common <- client, server <- simulations; and a file stays small enough to read."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "common": {"common"},
    "client": {"common", "client"},
    "server": {"common", "server"},
    "simulations": {"common", "client", "server", "simulations"},
}
SOURCES = [path for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> set[str]:
    """The modules that a file imports, whether at its top or in a function."""
    nodes = list(ast.walk(parsed(path)))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{named(path)}: imports are absolute"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def test_imports_go_one_way() -> None:
    wrong = {}
    for path in SOURCES:
        ours = {name.split(".")[1] for name in imported(path) if name.startswith("fedshelf.")}
        if more := ours - ALLOWED[path.relative_to(ROOT).parts[0]]:
            wrong[named(path)] = more
    assert wrong == {}


def test_everything_of_ours_is_imported_as_fedshelf() -> None:
    """`common` and `server` are names that anybody's folder may have."""
    everywhere = [*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    bare = {
        named(path): sorted(wrong)
        for path in everywhere
        if (wrong := {n for n in imported(path) if n.split(".")[0] in ALLOWED})
    }
    assert bare == {}


def test_a_file_can_be_read_at_once() -> None:
    lines = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: count for name, count in lines.items() if count > 400} == {}
    long = [
        (named(path), node.name)
        for path in SOURCES
        if path.name != "main.py"  # options of a command are one line each
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno > 45
    ]
    assert long == []


def test_nothing_is_unpickled() -> None:
    """torch.load, pickle and numpy's allow_pickle execute what a file says."""
    for path in SOURCES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
                assert not names & {"pickle", "cloudpickle", "dill", "joblib", "shelve"}, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) != ("torch", "load"), path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path
