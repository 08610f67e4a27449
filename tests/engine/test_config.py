"""Settings as JSON, in both directions, and what cannot be."""

from typing import Any

import pytest

from fewstroke.engine.config import NetworkConfig, Settings, TrainConfig
from fewstroke.engine.errors import ParameterError


def test_settings_come_back_from_json() -> None:
    for preset in ("fast", "paper"):
        settings = Settings.for_preset(preset, seed=3)
        assert Settings.from_json(settings.to_json()) == settings
    changed = Settings(NetworkConfig("fast", blocks=3, filters=40), TrainConfig(patch=24, batch=7, rate=0.001))
    assert Settings.from_json(changed.to_json()) == changed


def test_what_is_missing_is_the_presets() -> None:
    assert Settings.from_json({}) == Settings() == Settings.for_preset("fast")
    paper = Settings.from_json({"network": {"preset": "paper", "blocks": 9}})
    assert paper.network == NetworkConfig("paper", blocks=9, filters=128)
    assert paper.training == TrainConfig.for_preset("paper")
    assert Settings.from_json({"training": {"batch": 10}}).training.judged == 5  # half, as `fast` has it


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"net": {}}, "no 'net'; they have network and training"),
        ({"network": {"block": 3}}, "no parameter 'block'"),
        ({"network": {"preset": ["fast"]}}, "choose fast or paper"),
        ({"network": {"blocks": 2.5}}, "blocks should be a whole number, not 2.5"),
        ({"network": {"filters": -8}}, "at least one"),
        ({"network": 3}, "'network' should hold"),
        ({"training": {"rate": "high"}}, "rate should be a number"),
        ({"training": {"rate": float("nan")}}, "greater than 0"),
        ({"training": {"batch": True}}, "whole number"),
        ({"training": {"patch": 30}}, "multiple of 4"),
        ({"training": {"patch": 8}}, "12 at least"),
        ({"training": {"batch": 0}}, "1 at least"),
    ],
)
def test_what_cannot_be_is_one_sentence(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        Settings.from_json(values)
