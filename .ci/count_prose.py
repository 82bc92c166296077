"""Count what makes the source easy or hard to read: names, docstrings, comments, small files.

    python .ci/count_prose.py

Prints a line for each count, and under it each place that a reader would stumble over. Counted is
what is installed: the folders client, common, server and simulations. ruff's D401 (docstrings begin
with an imperative) is a check of its own, in `make check`.
"""

import ast
import io
import re
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = {
    path.relative_to(ROOT): path.read_text(encoding="utf-8")
    for package in ("client", "common", "server", "simulations")
    for path in sorted((ROOT / package).rglob("*.py"))
}
TREES = {path: ast.parse(source) for path, source in SOURCES.items()}
SMALL_FILE_LINES = 40
TENSOR = re.compile(r"\bTensor\b|\bNDArray\b|np\.ndarray")
# [N, C], float32 [T], or a scalar in words
SHAPE = re.compile(r"\[[^\]]*\]|\bscalar\b|\bshapes?\b")
RELATIVE_CLAUSE = re.compile(r"(What|Who|Whoever|Whether|How|Where|Which)\b")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def main() -> None:
    """Print all counts."""
    lines = sum(len(source.splitlines()) for source in SOURCES.values())
    print(f"{len(SOURCES)} files, {lines:,} lines")
    show("class names that stand twice", repeated_classes())
    show("public constants of one name with different values", ambiguous_constants())
    show("docstrings that begin with a relative clause", riddles())
    documented, undocumented = shapes()
    known = documented / (documented + len(undocumented))
    show(f"public functions of tensors without a shape ({known:.0%} have one)", undocumented)
    comments = sum(map(comment_lines, SOURCES.values()))
    print(f"lines of comments: {comments:,} ({comments / lines:.1%})")
    pairs = list(parallel_assignments())
    show(f"assignments of two expressions ({1000 * len(pairs) / lines:.1f} per 1,000 lines)", pairs)
    show(f"files below {SMALL_FILE_LINES} lines", small_files())


def show(title: str, places: list[str]) -> None:
    """Print the number of places, and the places."""
    print(f"{title}: {len(places)}")
    for place in places:
        print(f"  {place}")


def nodes(*kinds: type[ast.AST]) -> Iterator[tuple[Path, ast.AST]]:
    """Yield all nodes of these kinds with their files."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, kinds):
                yield path, node


def repeated_classes() -> list[str]:
    """Return the names of classes that more than one file, or one file twice, defines."""
    names = Counter(node.name for _, node in nodes(ast.ClassDef) if isinstance(node, ast.ClassDef))
    return [name for name, count in names.items() if count > 1]


def ambiguous_constants() -> list[str]:
    """Return public constants of modules that two files define with different values."""
    values: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path, tree in TREES.items():
        for node in tree.body:
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and re.fullmatch(r"[A-Z][A-Z0-9_]+", target.id):
                    values[target.id][ast.unparse(node.value)].append(str(path))
    return [
        f"{name}: {', '.join(file for files in found.values() for file in files)}"
        for name, found in sorted(values.items())
        if len(found) > 1 and name != "LOG"
    ]


def riddles() -> list[str]:
    """Return the docstrings whose first sentence has a clause in place of its subject."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        f"{path}: {getattr(node, 'name', 'module')}"
        for path, node in nodes(*documented)
        if isinstance(node, documented) and RELATIVE_CLAUSE.match(ast.get_docstring(node) or "")
    ]


def shapes() -> tuple[int, list[str]]:
    """Count public functions that take or return tensors and say a shape; return the others."""
    documented = 0
    others = []
    for path, tree in TREES.items():
        for name, function, owner in public_functions(tree):
            if not TENSOR.search(" ".join(annotations(function))):
                continue
            text = f"{ast.get_docstring(function) or ''} {owner}"
            if SHAPE.search(text):
                documented += 1
            else:
                others.append(f"{path}: {name}")
    return documented, others


def public_functions(tree: ast.Module) -> Iterator[tuple[str, Function, str]]:
    """Yield name, definition and class docstring of functions and methods that others may call."""
    for node in tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node.name, node, ""
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, Function) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner, ast.get_docstring(node) or ""


def annotations(function: Function) -> Iterator[str]:
    """Yield the source of a function's types."""
    parameters = function.args
    for argument in (*parameters.posonlyargs, *parameters.args, *parameters.kwonlyargs):
        if argument.annotation:
            yield ast.unparse(argument.annotation)
    if function.returns:
        yield ast.unparse(function.returns)


def comment_lines(source: str) -> int:
    """Count the lines that have a comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return sum(token.type == tokenize.COMMENT for token in tokens)


def parallel_assignments() -> Iterator[str]:
    """Yield assignments of several expressions to several names in one statement."""
    for path, node in nodes(ast.Assign):
        assert isinstance(node, ast.Assign)
        if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield f"{path}:{node.lineno}"


def small_files() -> list[str]:
    """Return the files of few lines, except those that only make a folder a package."""
    sizes: Mapping[Path, int] = {path: len(text.splitlines()) for path, text in SOURCES.items()}
    return [
        f"{path}: {size}"
        for path, size in sorted(sizes.items(), key=lambda item: item[1])
        if size < SMALL_FILE_LINES and path.name != "__init__.py"
    ]


if __name__ == "__main__":
    main()
