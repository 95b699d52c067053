"""setup.cfg, MANIFEST.in and .ci/run fit each other and the files that are here."""

import ast
import configparser
import importlib.metadata
import re
from pathlib import Path

import pytest

import npgan

ROOT = Path(__file__).parents[1]
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
GRAFTED = re.findall(r"(?m)^graft (.*)$", (ROOT / "MANIFEST.in").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def setup():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def test_the_version_is_one_literal_in_the_package(setup):
    """setuptools then reads it without an import of npgan, hence without NumPy."""
    assert setup["metadata"]["version"] == "attr: npgan.__version__"
    source = ast.parse((ROOT / "npgan" / "__init__.py").read_text(encoding="utf-8"))
    versions = [ast.literal_eval(node.value) for node in source.body
                if isinstance(node, ast.Assign) and node.targets[0].id == "__version__"]
    assert versions == [npgan.__version__]


def test_the_classifiers_begin_with_the_oldest_python_that_is_allowed(setup):
    oldest = setup["options"]["python_requires"].removeprefix(">= ")
    versions = re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"])
    first, last = (int(version.split(".")[1]) for version in (versions[0], versions[-1]))
    assert versions[0] == oldest and versions == [f"3.{minor}" for minor in range(first, last + 1)]


def test_ci_installs_the_oldest_version_of_every_requirement_that_it_tests(setup):
    """.ci/run finds them in setup.cfg by a regular expression."""
    pattern, = re.findall(r"sed -nE 's/(.*)/\\1==\\2/p' setup.cfg", CI)
    found = re.findall(pattern, (ROOT / "setup.cfg").read_text(encoding="utf-8"), re.M)
    extras, = re.findall(r'oldest.txt "\.\[(.*)\]"', CI)
    lists = [setup["options"]["install_requires"],
             *(setup["options.extras_require"][extra] for extra in extras.split(","))]
    required = [line for lines in lists for line in lines.split("\n") if line]
    assert len(required) >= 8
    assert set(required) <= {f"{name} >= {version}" for name, version in found}
    assert f"python{setup['options']['python_requires'].removeprefix('>= ')}" in CI


def test_the_source_distribution_holds_every_folder_of_programs_and_pages():
    folders = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")
               if path.is_dir() and (any(path.glob("*.py")) or any(path.glob("*.md")))}
    assert folders == {"npgan", *GRAFTED}


def test_the_source_distribution_holds_what_the_readme_links_to():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", readme) + re.findall(r'(?:href|src)="([^"]+)"', readme)
    local = [link for link in links if not re.match(r"https?://|#", link)]
    assert "docs/pictures/samples.png" in local
    held = ("npgan", "LICENSE", *GRAFTED)           # setuptools adds LICENSE itself
    assert [link for link in local if link.split("/")[0] not in held] == []


def test_an_installation_holds_only_the_package():
    try:
        names = importlib.metadata.distribution("npgan").read_text("top_level.txt")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("npgan is not installed")
    assert names.split() == ["npgan"]
