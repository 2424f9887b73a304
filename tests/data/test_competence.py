"""Telemetry as a view of competence, and its exact posterior."""

from __future__ import annotations

import numpy as np
import pytest

from promethios.data.competence import (
    COLUMN,
    DRAW_COLUMNS,
    GRID,
    LEVELS,
    MISSING,
    NAMES,
    PRIOR,
    VIEWS,
    Telemetry,
    draw_competence,
    draw_telemetry,
    levels_reached,
    posterior,
    probability_below,
)
from promethios.data.draws import IntArray, uniforms
from promethios.telemetry.state import CHANNELS, stale_level

NUM_SIMULATED = 750_000
BLOCK = 250_000


@pytest.fixture(scope="module")
def sample() -> tuple[IntArray, Telemetry]:
    u = uniforms(4000, 1 + DRAW_COLUMNS, "test")
    k = draw_competence(u[:, 0])
    return k, draw_telemetry(k, np.arange(4000) % 2, u[:, 1:])


@pytest.fixture(scope="module")
def simulated() -> tuple[IntArray, IntArray, IntArray]:
    """Competence, values and levels of many simulated requests with telemetry."""
    parts = []
    for block in range(NUM_SIMULATED // BLOCK):
        u = uniforms(BLOCK, 1 + DRAW_COLUMNS, "simulation", block)
        k = draw_competence(u[:, 0])
        telemetry = draw_telemetry(k, np.zeros(BLOCK, dtype=np.int64), u[:, 1:])
        parts.append((k, telemetry.values.astype(np.int8), telemetry.levels.astype(np.int8)))
    k, values, levels = (np.concatenate(column) for column in zip(*parts, strict=True))
    return k, values, levels


def only(**readings: tuple[int, int]) -> Telemetry:
    """Return telemetry in which only the given channels are seen: (value, stale level)."""
    values = np.full((1, len(NAMES)), MISSING)
    levels = np.zeros_like(values)
    for name, (value, level) in readings.items():
        values[0, COLUMN[name]], levels[0, COLUMN[name]] = value, level
    return Telemetry(values, levels, np.zeros_like(values), np.array([False]))


@pytest.mark.parametrize(
    "readings",
    [
        {"trust": (70, 0)},
        {"model": (3, 0)},
        {"trust": (60, 2)},
        {"trust": (85, 0), "model": (2, 0)},
        {"trust": (85, 1), "model": (2, 0)},
        {"bound": (40, 0), "model": (0, 0)},
    ],
    ids=str,
)
def test_the_posterior_is_what_simulation_finds(
    simulated: tuple[IntArray, IntArray, IntArray], readings: dict[str, tuple[int, int]]
) -> None:
    # Channels go missing on their own, so not looking at the others is the same as their being missing.
    k, values, levels = simulated
    rows = np.full(len(k), True)
    for name, (value, level) in readings.items():
        rows &= (values[:, COLUMN[name]] == value) & (levels[:, COLUMN[name]] == level)
    found = GRID[k[rows]]
    assert len(found) > 50
    exact = posterior(only(**readings))
    for demand in (-50, 25, 100, 175):
        expected = float(probability_below(exact, np.array([demand]))[0])
        error = 4.5 * np.sqrt(expected * (1 - expected) / len(found)) + 2 / len(found)
        assert abs((found < demand).mean() - expected) < error


def test_low_attest_makes_a_reading_say_less() -> None:
    high, low = (posterior(only(trust=(95, 0), attest=(attest, 0))) for attest in (92, 30))
    assert probability_below(low, np.array([50]))[0] > 3 * probability_below(high, np.array([50]))[0]


def test_the_odd_channel_out_is_overruled_when_its_age_gives_it_away() -> None:
    fresh, stale = (
        posterior(only(trust=(30, level), verify=(90, 0), bound=(90, 0), attest=(92, 0))) for level in (0, 3)
    )
    spread = [float(probability_below(each, np.array([125]))[0]) for each in (fresh, stale)]
    assert spread[1] < spread[0]
    assert spread[1] < 0.1


def test_absent_telemetry_leaves_the_prior() -> None:
    np.testing.assert_allclose(posterior(only()), (PRIOR / PRIOR.sum())[None])


def test_a_posterior_sums_to_one(sample: tuple[IntArray, Telemetry]) -> None:
    np.testing.assert_allclose(posterior(sample[1]).sum(axis=1), 1.0)


def test_emotion_intensity_and_the_pipelines_decision_say_nothing_about_competence() -> None:
    np.testing.assert_allclose(posterior(only(emotion=(7, 0), intensity=(95, 0), decision=(2, 0))), posterior(only()))


def test_states_and_arrays_agree_on_what_is_degraded_and_stale(sample: tuple[IntArray, Telemetry]) -> None:
    telemetry = sample[1]
    degraded = telemetry.degraded()
    for row in range(500):
        state = telemetry.state(row)
        assert degraded[row] == (state is None or state.is_degraded())
        for channel, reading in state or ():
            level = telemetry.levels[row, COLUMN[channel.name]]
            assert (0 if reading is None else stale_level(channel, reading)) == level


def test_telemetry_of_states_is_the_telemetry_they_came_from(sample: tuple[IntArray, Telemetry]) -> None:
    telemetry = sample[1][:500]
    again = Telemetry.of([telemetry.state(row) for row in range(len(telemetry))])
    for name, values in vars(telemetry).items():
        np.testing.assert_array_equal(getattr(again, name), values, err_msg=name)


def test_a_level_is_reached_as_often_as_telemetry_says_it_is(sample: tuple[IntArray, Telemetry]) -> None:
    k, telemetry = sample
    said = levels_reached(telemetry)
    assert said.min() >= 0.0 and said.max() <= 1.0 and (np.diff(said, axis=1) <= 1e-12).all()
    for column, level in enumerate(LEVELS):
        is_reached = GRID[k] >= level
        for probable in (said[:, column] < 0.5, said[:, column] >= 0.5):
            assert is_reached[probable].mean() == pytest.approx(said[probable, column].mean(), abs=0.03)


def test_telemetry_fails_as_often_as_the_readme_says(sample: tuple[IntArray, Telemetry]) -> None:
    telemetry = sample[1]
    seen = telemetry[~telemetry.absent]
    assert telemetry.absent.mean() == pytest.approx(0.10, abs=0.02)
    assert (seen.values == MISSING).mean() == pytest.approx(0.10, abs=0.01)
    assert (seen.levels[:, COLUMN["trust"]] > 0).mean() == pytest.approx(0.9 * (0.03 + 0.35 / 4 * 0.75), abs=0.02)
    assert (seen.values[:, COLUMN["decision"]] == 0).mean() == pytest.approx(0.9 * 0.94, abs=0.03)


def test_held_out_values_are_fresh_readings_inside_the_intervals() -> None:
    shown = [
        {"trust": (60, 0)},
        {"trust": (66, 0), "verify": (10, 0)},
        {"verify": (73, 0)},
        {"bound": (56, 0), "trust": (63, 2)},
    ]
    not_shown = [{"trust": (59, 0)}, {"trust": (63, 1)}, {"attest": (63, 0)}, {"verify": (65, 0), "bound": (63, 0)}]
    assert all(only(**readings).shows_held_out_values() for readings in shown)
    assert not any(only(**readings).shows_held_out_values() for readings in not_shown)


def test_one_view_made_stale_keeps_the_readings_and_the_other_channels(sample: tuple[IntArray, Telemetry]) -> None:
    telemetry = sample[1][~sample[1].absent]
    view = np.arange(len(telemetry)) % len(VIEWS)
    level = 1 + np.arange(len(telemetry)) // 4 % 4
    changed = telemetry.with_one_stale(view, level)
    np.testing.assert_array_equal(changed.values, telemetry.values)
    others = [column for column, name in enumerate(NAMES) if name not in VIEWS]
    np.testing.assert_array_equal(changed.ages[:, others], telemetry.ages[:, others])
    for row in range(300):
        stale = {
            channel.name: stale_level(channel, reading)
            for channel, reading in changed.state(row) or ()
            if reading is not None and channel.name in VIEWS
        }
        name = VIEWS[view[row]]
        assert {other for other, found in stale.items() if found} <= {name}
        assert stale.get(name, level[row]) == level[row]


def test_affect_shows_in_emotion_and_intensity_and_leaves_each_of_them_in_doubt(
    sample: tuple[IntArray, Telemetry],
) -> None:
    telemetry = sample[1]
    affect = np.arange(len(telemetry)) % 2 == 1
    for name in ("emotion", "intensity"):
        value = telemetry.values[:, COLUMN[name]]
        with_affect, without = (value[(value != MISSING) & rows] for rows in (affect, ~affect))
        assert with_affect.mean() > without.mean() + 1
        assert np.intersect1d(with_affect, without).size > 5


def test_every_value_of_every_channel_can_occur(simulated: tuple[IntArray, IntArray, IntArray]) -> None:
    values = simulated[1]
    for column, channel in enumerate(CHANNELS):
        found = set(np.unique(values[:, column]).tolist()) - {MISSING}
        assert len(found) >= (90 if channel.is_number else len(channel.values)), channel.name
