"""The command line: what a user meets first."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from click.testing import CliRunner
from installation import REPOSITORY, Installation

from daemon import __version__
from daemon.__main__ import main

COMMANDS = {
    "init", "check", "bootstrap", "run", "once", "backfill", "status", "export", "review", "replay", "demo", "train",
    "evaluate", "qualify", "dataset", "service", "serve", "osmose", "maproulette", "report", "imagery",
}
ALL = [[name] for name in sorted(COMMANDS)] + [
    ["service", "install"], ["service", "uninstall"], ["osmose", "upload"], ["osmose", "status"], ["osmose", "divide"],
]


@pytest.fixture
def looked(installation: Installation) -> Installation:
    """Bootstrapped, followed, and looked at what changed."""
    installation.bootstrap()
    answer = installation.mapgap("once")
    assert answer.exit_code == 0, answer.stderr
    return installation


def keys(installation: Installation, state: str) -> list[str]:
    return [key for key, _, now, _ in installation.state()["ledger"] if now == state]


def test_all_commands_are_there() -> None:
    assert set(main.commands) == COMMANDS
    answer = CliRunner().invoke(main, ["--help"])
    assert answer.exit_code == 0 and all(f"  {name}" in answer.stdout for name in COMMANDS)
    assert "Exit codes: 0 well" in answer.stdout


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_explains_itself_and_all_its_options(words: list[str]) -> None:
    answer = CliRunner().invoke(main, [*words, "--help"], prog_name="mapgap")
    assert answer.exit_code == 0 and answer.stdout.startswith(f"Usage: mapgap {' '.join(words)}")
    assert answer.stdout == CliRunner().invoke(main, [*words, "-h"], prog_name="mapgap").stdout
    command = main
    for word in words:
        command = command.commands[word]  # type: ignore[assignment]
    assert command.help and max(map(len, answer.stdout.splitlines())) <= 110
    for parameter in command.params:
        assert parameter.param_type_name == "argument" or getattr(parameter, "help", None), parameter.name


def test_it_starts_as_a_module_and_does_not_load_the_world_for_help() -> None:
    heavy = "import sys; from daemon.__main__ import main; main(['--version'], standalone_mode=False); " \
        "print(sorted({'mxnet', 'openvino', 'psycopg2', 'rasterio', 'osmium'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, cwd=REPOSITORY)
    assert answer.stdout.splitlines() == [f"mapgap, version {__version__}", "[]"], answer.stderr
    answer = subprocess.run([sys.executable, "-m", "daemon", "once", "-c", "/nowhere/config.toml"], capture_output=True,
                            text=True, cwd=REPOSITORY)
    assert answer.returncode == 2 and answer.stdout == ""
    assert answer.stderr.startswith("mapgap: /nowhere/config.toml: 1 problem\n  - no such file; `mapgap init")


@pytest.mark.parametrize(
    "words",
    [[], ["fly"], ["export", "--format", "pdf"], ["export", "--bbox", "1,2,3"], ["review", "add", "x", "maybe"],
     ["export", "--min-confidence", "2"], ["replay", "/nowhere"], ["init"], ["export", "--bbox", "9,9,1,1"]],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_says_why(words: list[str], tmp_path: Path) -> None:
    answer = CliRunner().invoke(main, words, prog_name="mapgap")
    assert answer.exit_code == 2 and "Usage: " in answer.output and "Traceback" not in answer.output


def test_the_configuration_may_be_named_by_the_environment(installation: Installation) -> None:
    answer = CliRunner(env={"MAPGAP_CONFIG": str(installation.config_path)}).invoke(main, ["status"])
    assert answer.exit_code == 2 and "mapgap bootstrap" in answer.stdout


def test_a_bootstrap_says_what_it_loaded(installation: Installation) -> None:
    answer = installation.mapgap("bootstrap", installation.base)
    assert answer.exit_code == 0 and " features in " in answer.stdout and "2024-06-01" in answer.stdout
    assert installation.mapgap("bootstrap", installation.base).exit_code == 5
    assert installation.mapgap("bootstrap", installation.base, "--force").exit_code == 0


def test_once_follows_looks_and_publishes_and_then_there_is_nothing_to_do(looked: Installation) -> None:
    before = looked.state()
    assert before["position"] == 4 and before["queue"] == [] and keys(looked, "published")
    assert sorted(path.name for path in looked.feed.iterdir()) == [
        "discrepancies.geojson", "maproulette.geojsonl", "osmose.xml",
    ]
    assert looked.mapgap("once").exit_code == 0
    assert looked.state() == before


def test_a_dry_run_writes_nothing(installation: Installation) -> None:
    installation.configure(publish={"dry_run": True})
    installation.bootstrap()
    answer = installation.mapgap("once")
    assert answer.exit_code == 0 and "would write" in answer.stderr
    assert not installation.feed.exists() and not keys(installation, "published") and keys(installation, "open")


def test_status_tells_fresh_behind_and_broken(installation: Installation) -> None:
    assert installation.mapgap("status").exit_code == 2
    installation.bootstrap()
    with installation.pipeline() as pipeline:
        pipeline.follow()
    answer = installation.mapgap("status", "--json")
    told = json.loads(answer.stdout)
    assert (answer.exit_code, told["verdict"], told["sequence"]) == (0, "fresh", 4)
    assert told["server"]["sequence"] == 4 and told["tiles"]["queued"] > 0
    installation.configure(replication={"fresh_within": 60.0})
    answer = installation.mapgap("status", "--json")
    assert (answer.exit_code, json.loads(answer.stdout)["verdict"]) == (1, "behind")
    installation.configure(database={"dsn": "host=/nowhere dbname=x user=me"})
    answer = installation.mapgap("status", "--json")
    assert (answer.exit_code, json.loads(answer.stdout)["verdict"]) == (2, "broken")


def test_an_export_goes_to_standard_output_or_a_file_in_three_formats(looked: Installation) -> None:
    count = len(keys(looked, "published"))
    answer = looked.mapgap("export")
    assert answer.exit_code == 0 and f"{count} discrepancies" in answer.stderr
    assert len(json.loads(answer.stdout)["features"]) == count
    out = looked.directory / "out"
    assert looked.mapgap("export", "--format", "maproulette", "--out", out).stdout == ""
    tasks = [json.loads(line.strip("\x1e")) for line in out.read_text().strip().split("\n")]
    assert len(tasks) == count and all(task["features"] for task in tasks)
    assert looked.mapgap("export", "--format", "osmose", "--out", out).exit_code == 0
    assert len(ElementTree.parse(out).findall(".//error")) == count


def test_an_export_can_be_narrowed(looked: Installation) -> None:
    def count(*words: object) -> int:
        answer = looked.mapgap("export", *words)
        assert answer.exit_code == 0, answer.stderr
        return len(json.loads(answer.stdout)["features"])

    kinds = [count("--kind", kind) for kind in ("missing", "gone", "misplaced")]
    assert sum(kinds) == count() == count("--kind", "missing", "--kind", "gone", "--kind", "misplaced") > 0
    assert count("--bbox", "0,0,1,1") == 0 and count("--bbox", "70,26,71,28") == count()
    assert count("--min-confidence", "1") < count()
    assert count("--state", "closed") == len(keys(looked, "closed"))
    assert count("--state", "closed", "--state", "published") == count() + len(keys(looked, "closed"))


def test_a_review_is_recorded_and_a_false_positive_silenced_for_good(looked: Installation) -> None:
    key = keys(looked, "published")[0]
    answer = looked.mapgap("review", "add", key, "false_positive", "--reason", "a shadow", "--who", "me")
    assert (answer.exit_code, answer.stdout) == (0, f"{key}: closed as false_positive\n")
    for command in ("backfill", "once"):
        assert looked.mapgap(command).exit_code == 0
    assert key in keys(looked, "closed")
    assert key not in looked.mapgap("export").stdout
    answer = looked.mapgap("review", "add", "bld-0000000000000000", "fixed")
    assert answer.exit_code == 9 and "bld-0000000000000000" in answer.stderr and "Traceback" not in answer.output


def test_two_commands_that_work_do_not_work_at_once(looked: Installation) -> None:
    from daemon.db import hold_daemon_lock

    with hold_daemon_lock(looked.database):
        answer = looked.mapgap("once")
        assert answer.exit_code == 3 and "another mapgap" in answer.stderr, answer.output
        for words in (["status"], ["export"]):
            assert looked.mapgap(*words).exit_code == 0


def test_a_reader_that_goes_away_is_no_failure_worth_a_traceback(looked: Installation) -> None:
    export = looked.popen("export")
    assert export.stdout is not None and export.stderr is not None
    export.stdout.close()
    said = export.stderr.read()
    export.stderr.close()
    assert export.wait(timeout=60) in (0, 1) and "Traceback" not in said
