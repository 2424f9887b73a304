from __future__ import annotations

import os
from pathlib import Path

import pytest

from promethios.errors import TelemetryError
from promethios.telemetry.document import document_from_plain, read_telemetry_file
from promethios.telemetry.state import GovernanceState, Reading


def written(folder: Path, name: str, text: str, modified: float = 1000.0) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    os.utime(path, (modified, modified))
    return path


def test_a_plain_value_is_as_old_as_the_file(tmp_path: Path) -> None:
    document = read_telemetry_file(written(tmp_path, "t.yaml", "trust: 0.5\nverify: {value: 0.9, age_s: 12}\n"))
    assert document.state_at(1030.0) == GovernanceState(trust=Reading(0.5, 30.0), verify=Reading(0.9, 42.0))


def test_a_reading_with_its_own_time_keeps_it(tmp_path: Path) -> None:
    path = written(tmp_path, "t.json", '{"trust": {"value": 0.5, "at": 900}}')
    assert read_telemetry_file(path).state_at(1000.0).trust == Reading(0.5, 100.0)


def test_yaml_dates_are_times(tmp_path: Path) -> None:
    path = written(tmp_path, "t.yaml", "trust: {value: 0.5, at: 1970-01-01T00:15:00Z}\n")
    assert read_telemetry_file(path).state_at(1000.0).trust == Reading(0.5, 100.0)


def test_tags_are_a_document() -> None:
    document = document_from_plain({"tags": "<gov:trust=0.5;age=3>"}, 0.0)
    assert document.state_at(2.0).trust == Reading(0.5, 5.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trust: high", "trust='high'"),
        ("trist: 0.5", "did you mean 'trust'"),
        ("trust: [", "not valid YAML"),
        ("- 0.5", "must be a mapping"),
        ("", "must be a mapping"),
        ("tags: '<gov:trust=0.5>'\nverify: 1", "stand alone"),
        ("trust: {value: 0.5, at: 2000}", "in the future"),
        ("x" * 70_000, "more than 65536 bytes"),
        ("\ud800", "not valid YAML"),
    ],
)
def test_a_bad_document_names_the_file_and_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    os.utime(path, (1000.0, 1000.0))
    with pytest.raises(TelemetryError, match=r"t\.yaml") as error:
        read_telemetry_file(path)
    assert said in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TelemetryError, match="No such file"):
        read_telemetry_file(tmp_path / "absent.yaml")


def test_a_file_from_the_future_does_not_stay_fresh_for_ever(tmp_path: Path) -> None:
    with pytest.raises(TelemetryError, match="check the clocks"):
        read_telemetry_file(written(tmp_path, "t.yaml", "trust: 0.5", modified=4e9))


@pytest.mark.parametrize(
    ("name", "text"), [("t.yaml", "trust: 0.1\ntrust: 0.9\n"), ("t.json", '{"trust": 0.1, "trust": 0.9}')]
)
def test_a_channel_given_twice_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(TelemetryError, match="'trust' stands there twice"):
        read_telemetry_file(path)
