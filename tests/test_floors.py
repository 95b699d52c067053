"""The floors of the package, held by reading its imports: a module imports only from lower floors, and only what floor 4 may does I/O."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [
    {"backend"},
    {"layers", "conv", "objectives", "penalty", "optim", "priors", "data", "theory", "metrics", "cuda"},
    {"net"},
    {"gan"},
    {"gradcheck", "run", "plots", "checkpoint", "experiment"},
]
FLOOR = {name: i for i, names in enumerate(FLOORS) for name in names}
PEERS = {("conv", "layers"),                   # on floor 1
         ("plots", "checkpoint"), *(("experiment", other) for other in ("run", "plots", "checkpoint"))}      # on floor 4, side by side


def modules():
    return [path for path in sorted((ROOT / "npgan").rglob("*.py")) if path != ROOT / "npgan" / "__init__.py"]


def name(path):
    return path.relative_to(ROOT / "npgan").parts[0].removesuffix(".py")


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


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_from_lower_floors(path):
    assert name(path) in FLOOR, "give the new module a floor"
    for other in imports(path):
        same_package = name(path) == other == "data"
        assert same_package or FLOOR[other] < FLOOR[name(path)] or (name(path), other) in PEERS, f"{name(path)} imports {other}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_below_floor_4_nothing_prints_opens_files_or_reads_the_environment_or_the_clock(path):
    if FLOOR[name(path)] >= 4:
        return
    source = ast.parse(path.read_text())
    called = {node.func.id for node in ast.walk(source) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert "print" not in called and "input" not in called
    imported = {alias.name for node in ast.walk(source) if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}
    assert not imported & {"time", "datetime"}
    if name(path) != "data":
        assert "open" not in called
        if name(path) != "backend":
            assert "os" not in imported


def test_gan_py_is_one_page_and_imports_the_namespace_whole():
    assert len((ROOT / "npgan" / "gan.py").read_text().splitlines()) <= 150
    for path in modules():
        assert "from npgan.backend import" not in path.read_text()


def test_importing_the_package_needs_no_array_and_loads_none_of_the_heavy_libraries():
    import subprocess
    import sys
    code = ("import sys, npgan, npgan.backend as b\n"
            "print(b._module, [m for m in ('matplotlib', 'pooch', 'tqdm', 'cupy', 'PIL') if m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "None []\n"
