"""The layout of the package: what each module may import and do."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "npgan"
# Each module may import those before it in this list.
LAYOUT = ["backend", "kernels", "objectives", "layers", "net", "optim", "priors", "gan",
          "data", "divergences", "theory", "penalty", "conv", "pyramid", "metrics", "gradcheck", "cuda",
          "runs"]

MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]
each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


def name(path):
    """The name of a module in LAYOUT. A file in data/ or runs/ has the name of its folder."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """Dotted names of all that a file imports, e.g. {"math", "npgan.optim.steps"}."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "write `from npgan import ...` in place of a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def imported_modules(path):
    """The names in LAYOUT of the modules that a file imports."""
    return {full.split(".")[1] for full in imports(path) if full.startswith("npgan.")}


@each_module
def test_a_module_imports_only_what_stands_before_it_in_the_layout(path):
    assert name(path) in LAYOUT, "give the new module a place in LAYOUT"
    for other in imported_modules(path):
        same_folder = name(path) == other in ("data", "runs")
        before = LAYOUT.index(other) < LAYOUT.index(name(path))
        assert same_folder or before, f"{name(path)} imports {other}"


@each_module
def test_only_runs_and_data_print_open_files_or_read_the_environment_or_the_clock(path):
    if name(path) in ("runs", "data"):
        return
    source = ast.parse(path.read_text())
    called = {node.func.id for node in ast.walk(source)
              if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"input", "open"}
    assert "print" not in called or name(path) == "gradcheck"       # python -m npgan.gradcheck is a program
    imported = {full.split(".")[0] for full in imports(path)}
    assert not imported & {"time", "datetime"}
    assert "os" not in imported or name(path) == "backend"          # which reads NPGAN_BACKEND


def test_gan_py_is_only_the_algorithm():
    """It is short, imports nothing of the machinery around it, and decorates no function."""
    source = (PACKAGE / "gan.py").read_text()
    assert len(source.splitlines()) <= 200
    assert imported_modules(PACKAGE / "gan.py") == {"backend", "objectives", "optim"}
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    assert not any(function.decorator_list for function in functions)


def test_no_module_imports_single_names_of_the_backend():
    for path in MODULES:
        assert not any(full.startswith("npgan.backend.") for full in imports(path))
