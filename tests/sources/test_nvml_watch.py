"""Looking at cards through a replayed NVML while they are measured."""

from __future__ import annotations

from gpuverify.model.telemetry import NoTelemetry, Sample
from gpuverify.sources.nvml_watch import NvmlWatch
from gpuverify.testing import replayed_nvml

CASE = "ga100/a100-sxm4-80gb"
BUS = "00000000:07:00.0"


def test_a_look_gives_what_nvml_answers() -> None:
    with replayed_nvml(CASE), NvmlWatch() as watch:
        sample = watch.sample(BUS)
    assert sample.power_mw
    assert sample.temperature_celsius
    assert sample.used_bytes is not None
    assert sample.link_width == 16
    assert sample.processes == 0


def test_what_nvml_does_not_know_is_missing() -> None:
    fail = {"nvmlDeviceGetPowerUsage": 3, "nvmlDeviceGetTemperature": 15}
    with (
        replayed_nvml(CASE, fail=fail, missing=["nvmlDeviceGetTemperatureV"]),
        NvmlWatch() as watch,
    ):
        sample = watch.sample(BUS)
    assert sample.power_mw is None
    assert sample.link_width == 16


def test_a_card_without_a_handle_gives_nothing() -> None:
    with replayed_nvml(CASE), NvmlWatch() as watch:
        assert watch.sample("00000000:99:00.0") == Sample()


def test_without_nvml_every_look_is_empty() -> None:
    with replayed_nvml(CASE, fail={"nvmlInitWithFlags": 9}), NvmlWatch() as watch:
        assert watch.sample(BUS) == Sample()
    assert NoTelemetry().sample(BUS) == Sample()
