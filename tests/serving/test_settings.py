from __future__ import annotations

from pathlib import Path

import pytest

from promethios.errors import ConfigError
from promethios_serving.settings import Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()


def test_settings_are_read_from_the_environment() -> None:
    settings = Settings.from_environment(
        {
            "PROMETHIOS_EXPOSE": "decision",
            "PROMETHIOS_TELEMETRY_FILE": "t.yaml",
            "PROMETHIOS_MAX_BODY_BYTES": "10",
            "PROMETHIOS_DEFAULT_DOMAIN": "healthcare",
            "PROMETHIOS_TELEMETRY_INTERVAL_S": "0.5",
        }
    )
    assert (settings.expose, settings.telemetry_file, settings.max_body_bytes) == ("decision", Path("t.yaml"), 10)
    assert (settings.default_domain, settings.telemetry_interval_s) == ("healthcare", 0.5)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PROMETHIOS_EXPOSE", "all", "one of full, decision, none, scores"),
        ("PROMETHIOS_ON_GATE_FAILURE", "answer", "one of refuse, escalate"),
        ("PROMETHIOS_DEFAULT_DOMAIN", "helthcare", "did you mean 'healthcare'"),
        ("PROMETHIOS_TELEMETRY_URL", "file:///etc/passwd", "http:// or https://"),
        ("PROMETHIOS_TELEMETRY_TIMEOUT_S", "nan", "seconds above 0"),
        ("PROMETHIOS_TELEMETRY_INTERVAL_S", "0", "seconds above 0"),
        ("PROMETHIOS_MAX_BODY_BYTES", "1e6", "whole number above 0"),
    ],
)
def test_a_value_that_is_not_allowed_names_the_variable_and_what_is(variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=variable) as error:
        Settings.from_environment({variable: value})
    assert said in str(error.value)


def test_a_misspelt_variable_is_refused_with_the_right_one() -> None:
    with pytest.raises(ConfigError, match="PROMETHIOS_TELEMETRY_FILE"):
        Settings.from_environment({"PROMETHIOS_TELEMTRY_FILE": "t.yaml"})


def test_variables_of_kubernetes_service_links_are_left_alone() -> None:
    assert Settings.from_environment({"PROMETHIOS_PORT_8000_TCP": "tcp://10.0.0.1:8000"}) == Settings()


def test_two_telemetry_sources_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="both set"):
        Settings.from_environment({"PROMETHIOS_TELEMETRY_FILE": "t", "PROMETHIOS_TELEMETRY_URL": "http://h/"})
