"""Imports go one way, between packages and between their folders; and a file stays small enough to
read.
"""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "common": {"common"},
    "client": {"common", "client"},
    "server": {"common", "server"},
    "simulations": {"common", "client", "server", "simulations"},
}
# The folders of each package, from the top floor down, with the files that lie in none of them:
# what stands on a floor imports from the floors below it alone.
FLOORS = {
    "simulations": [
        ["main.py", "flower_app.py", "engines/ray", "python"],
        ["ensemble", "reveal", "scenes", "sweep"],
        ["compare"],
        ["compare/statistics", "compare/wording", "run", "listing"],
        ["compare/arms", "engines"],
        ["engines/batched"],
        ["federation", "datasets/scenes"],
        ["datasets"],
        ["datasets/parquet", "datasets/own", "partitions"],
        ["datasets/dataset"],
    ],
    "server": [
        ["main.py", "app.py", "gateway"],
        ["grid", "operator_commands.py"],
        ["check"],
        ["operations"],
        ["monitor"],
        ["launcher"],
        ["training", "credentials", "addresses.py", "answer_deadline.py"],
        ["trackers"],
        ["report", "ipc", "store_privacy"],
        ["report/scenes", "updates"],
        ["report/charts"],
        ["stop_request.py"],
        ["results", "runtime.py", "formatting.py", "results/scenes"],
        ["settings", "figure_names.py"],
    ],
    "client": [
        ["main.py", "app.py"],
        ["use/scenes"],
        ["session", "commands", "use"],
        ["use/arguments", "process", "service", "notifications"],
        ["health", "service/classification"],
        ["health/checks", "policy", "service/requests"],
        ["privacy"],
        ["health/evidence", "worker", "audit"],
        ["identity", "failures.py"],
        ["connection"],
    ],
    "common": [
        ["inference"],
        ["inference/scenes"],
        [
            "inference/export",
            "inference/labelling",
            "inference/video",
            "inference/counting",
            "inference/inspection",
            "inference/search",
            "inference/explain",
            "inference/release",
        ],
        ["inference/locators", "inference/masks"],
        ["inference/predictors", "inference/sheet"],
        ["training", "command_line.py", "setting_flags.py"],
        ["training/clipping", "tasks", "scenes/folder"],
        ["strategies", "images/folder", "images/augment", "native"],
        [
            "strategies/algorithms",
            "strategies/closed_form",
            "scenes/formats",
            "classes",
            "images/cache",
            "images/listing/tables",
        ],
        ["strategies/shared", "images/listing", "images/decoding"],
        ["protocol", "images"],
        ["privacy", "metrics/formulas"],
        ["compression", "metrics", "wording.py"],
        ["privacy/secure_sum"],
        ["parameters", "own_settings.py"],
        ["models"],
        ["models/networks", "release", "scenes"],
        ["config", "system", "http", "seeding.py", "names.py"],
        ["plugins.py"],
        ["own_objects.py", "hub.py"],
        ["errors.py", "suggest.py"],
        ["text.py", "statements.py"],
    ],
}
TESTS = sorted((ROOT / "tests").rglob("*.py"))
SOURCES = [path for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_test(path: Path) -> bool:
    return path.name.startswith("test_")


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


def place(module: Path) -> str:
    """The folder of a module in its package, or the module itself if it lies in none."""
    inside = module.relative_to(ROOT / module.relative_to(ROOT).parts[0])
    return str(inside) if len(inside.parts) == 1 else str(inside.parent)


def module_of(name: str) -> Path | None:
    """The file that an imported name comes from: `fedshelf.common.errors.DataError` is in
    `common/errors.py`.
    """
    parts = name.split(".")[1:]
    for path in (ROOT.joinpath(*parts[:length]) for length in range(len(parts), 0, -1)):
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None


def test_folders_import_from_lower_floors_alone() -> None:
    floors = {
        (package, name): number
        for package, levels in FLOORS.items()
        for number, level in enumerate(levels)
        for name in level
    }
    found = {(path.relative_to(ROOT).parts[0], place(path)) for path in SOURCES} - {
        (p, "__init__.py") for p in FLOORS
    }
    assert found == set(floors)
    upwards = {}
    for path in SOURCES:
        package = path.relative_to(ROOT).parts[0]
        here = place(path)
        for name in imported(path):
            module = module_of(name) if name.startswith(f"fedshelf.{package}.") else None
            if module is None or place(module) in (here, "__init__.py"):
                continue
            if floors[package, place(module)] <= floors[package, here]:
                upwards[named(path)] = name
    assert upwards == {}


def test_a_folder_can_be_overlooked() -> None:
    folders = Counter(path.parent for path in SOURCES if path.name != "__init__.py")
    assert {str(folder): count for folder, count in folders.items() if count > 15} == {}


def test_everything_of_ours_is_imported_as_fedshelf() -> None:
    """`common` and `server` are names that anybody's folder may have."""
    everywhere = [*SOURCES, *TESTS, *(ROOT / "benchmarks").rglob("*.py")]
    bare = {
        named(path): sorted(wrong)
        for path in everywhere
        if (wrong := {n for n in imported(path) if n.split(".")[0] in ALLOWED})
    }
    assert bare == {}


def test_a_test_imports_from_no_other_test_and_no_conftest() -> None:
    """Whatever several tests need lies in `tests/helpers`."""
    wrong = {
        named(path): name
        for path in TESTS
        for name in imported(path)
        if name.startswith("tests.") and not name.startswith("tests.helpers.")
    }
    assert wrong == {}
    assert [named(path) for path in TESTS if path.parent.name == "helpers" and is_test(path)] == []


def test_tests_lie_as_the_files_that_they_test() -> None:
    alone = {"contracts", "end_to_end", "helpers", "hostile"}
    folders = {path.parent.relative_to(ROOT / "tests") for path in TESTS} - {Path()}
    elsewhere = {str(folder) for folder in folders if not (ROOT / folder).is_dir()}
    assert elsewhere == alone


def test_a_file_can_be_read_at_once() -> None:
    lines = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: count for name, count in lines.items() if count > 400} == {}
    long = [
        (named(path), node.name)
        for path in SOURCES
        if path.name != "main.py"  # options of a command are one line each
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno > 65
    ]
    assert long == []


def test_no_class_name_stands_twice() -> None:
    classes = Counter(
        node.name
        for path in SOURCES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in classes.items() if count > 1] == []


def test_docstrings_name_their_subject() -> None:
    """A sentence that begins with a relative clause has to be read twice."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    begins = re.compile(r"(What|Who|Whoever|Whether|How|Where|Which)\b")
    riddles = [
        (named(path), getattr(node, "name", "module"))
        for path in SOURCES
        for node in ast.walk(parsed(path))
        if isinstance(node, documented) and begins.match(ast.get_docstring(node) or "")
    ]
    assert riddles == []


def test_settings_that_a_run_chooses_are_read_as_chosen() -> None:
    """`train.epochs` may be 0 and `absent_classes` auto until a run chooses: `passes`, `batch` and
    `absent` never are.
    """
    undecided = re.compile(r"\b(train|config)\.(epochs|batch_size)$|\.absent_classes$")
    readers = {
        named(path)
        for path in SOURCES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute) and undecided.search(ast.unparse(node))
    }
    assert readers == {"common/config/model_train_strategy.py"}


def test_nothing_is_unpickled() -> None:
    """torch.load, pickle and numpy's allow_pickle execute what a file says.

    Published weights come as pickles: one place reads them, tensors alone, once their hash is that
    of the published file.
    """
    loads = [
        (named(path), {key.arg: ast.unparse(key.value) for key in node.keywords})
        for path in SOURCES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    tensors_alone = {"map_location": "'cpu'", "weights_only": "True"}
    assert loads == [("common/models/published_weights.py", tensors_alone)]
    for path in SOURCES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
                assert not names & {"pickle", "cloudpickle", "dill", "joblib", "shelve"}, path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path
