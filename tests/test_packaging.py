"""What is installed is what is in the repository, and what is locked is what is asked for."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import daemon

ROOT = Path(__file__).parents[1]
#: Import names whose distribution the environment may offer in several variants.
VARIANTS = {"cv2": "opencv-python-headless"}


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


@pytest.fixture(scope="module")
def locked() -> dict[str, Version]:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    pins = [line.split("==") for line in lines]
    return {canonicalize_name(name): Version(version) for name, version in pins}


def wanted(setup: configparser.ConfigParser, *extras: str) -> list[Requirement]:
    text = setup["options"]["install_requires"] + "".join("\n" + setup["options.extras_require"][e] for e in extras)
    return [Requirement(line) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_every_package_in_the_tree_is_listed_and_every_listed_one_exists(setup):
    listed = set(setup["options"]["packages"].split())
    found = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for top in ("daemon", "detectors") for path in (ROOT / top).rglob("__init__.py")
    }
    assert listed - {"daemon.sql", "daemon.sql.queries", "daemon.sql.reports"} == found


def test_the_sql_directory_is_mapped_into_the_daemon_package(setup):
    places = dict(line.split(" = ") for line in setup["options"]["package_dir"].strip().splitlines())
    assert {name: (ROOT / place).is_dir() for name, place in places.items()} == {
        "daemon.sql": True, "daemon.sql.queries": True, "daemon.sql.reports": True,
    }


def test_every_file_that_is_not_python_goes_along_as_package_data(setup):
    places = {f"daemon.{path.replace('/', '.')}": ROOT / path for path in ("sql", "sql/queries", "sql/reports")}
    packed = set()
    for package, patterns in setup["options.package_data"].items():
        base = places.get(package, ROOT / package.replace(".", "/"))
        for pattern in patterns.split(","):
            packed |= {p for p in base.glob(pattern.strip()) if p.is_file()}
    present = {
        path for top in ("daemon", "detectors", "sql") for path in (ROOT / top).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts
    }
    assert present - packed == set()
    assert {ROOT / "daemon/page.html", ROOT / "sql/0001_osm.sql"} <= packed


def test_the_lock_file_pins_exactly_and_names_no_host_or_path():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [p for p in pins if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*", p)] == []
    assert len({canonicalize_name(p.split("==")[0]) for p in pins}) == len(pins)


def test_every_requirement_is_locked_within_its_range(setup, locked):
    wanted_names = wanted(setup, "test", "train")
    outside = [str(r) for r in wanted_names if locked.get(canonicalize_name(r.name)) not in r.specifier]
    assert outside == []


def test_what_the_code_imports_is_asked_for_by_name(setup):
    """A package that merely comes along with another may go away with it."""
    asked = {canonicalize_name(r.name) for r in wanted(setup, "train")}
    providers = packages_distributions()
    missing = {}
    for top in ("daemon", "detectors"):
        for path in (ROOT / top).rglob("*.py"):
            for module in imported(path) - set(sys.stdlib_module_names) - {"daemon", "detectors"}:
                names = {canonicalize_name(n) for n in [VARIANTS.get(module), *providers.get(module, [])] if n}
                if not names & asked:
                    missing.setdefault(module, str(path.relative_to(ROOT)))
    assert missing == {}


def imported(path: Path) -> set[str]:
    """First names of the modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_the_version_is_one_that_installers_accept():
    assert str(Version(daemon.__version__)) == daemon.__version__
