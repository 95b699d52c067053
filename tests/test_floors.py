"""The layout of the package, held by reading its imports: a module imports only what stands above it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "npgan"
# Each module may import those before it. `runs` may import everything, and only npgan.load imports `runs`.
LAYOUT = ["backend", "kernels", "objectives", "layers", "net", "optim", "priors", "gan",
          "data", "divergences", "theory", "penalty", "conv", "metrics", "gradcheck", "cuda", "runs"]


def modules():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def name(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """Names of the package's modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            full = [alias.name for alias in node.names]
        else:
            continue
        yield from (f.split(".")[1] for f in full if f.startswith("npgan."))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_what_stands_above_it(path):
    assert name(path) in LAYOUT, "give the new module a place"
    for other in imports(path):
        same_folder = name(path) == other in ("data", "runs")
        assert same_folder or LAYOUT.index(other) < LAYOUT.index(name(path)), f"{name(path)} imports {other}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_outside_runs_and_data_nothing_prints_opens_files_or_reads_the_environment_or_the_clock(path):
    if name(path) in ("runs", "data"):
        return
    source = ast.parse(path.read_text())
    called = {node.func.id for node in ast.walk(source)
              if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not called & {"input", "open"}
    assert "print" not in called or name(path) == "gradcheck", "python -m npgan.gradcheck is a program"
    imported = {alias.name for node in ast.walk(source) if isinstance(node, (ast.Import, ast.ImportFrom))
                for alias in node.names}
    assert not imported & {"time", "datetime"}
    assert "os" not in imported or name(path) == "backend"


def test_gan_py_is_only_the_algorithm():
    """What machinery needs stands elsewhere, and the file stays about as long as one can read at a sitting."""
    source = (PACKAGE / "gan.py").read_text()
    assert len(source.splitlines()) <= 190
    assert set(imports(PACKAGE / "gan.py")) == {"backend", "objectives", "optim"}
    assert not any(isinstance(node, ast.FunctionDef) and node.decorator_list for node in ast.walk(ast.parse(source)))


def test_the_backend_is_imported_as_a_namespace():
    for path in modules():
        assert "from npgan.backend import" not in path.read_text()


def test_importing_the_package_needs_no_array_and_loads_none_of_the_heavy_libraries():
    code = ("import sys, npgan, npgan.backend as b\n"
            "print(b._module, [m for m in ('matplotlib', 'pooch', 'tqdm', 'cupy', 'PIL') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "None []\n"
