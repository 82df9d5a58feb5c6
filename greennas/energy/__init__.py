"""Meters: NVML, RAPL, modelled; readings with kind, bounds and source."""

from greennas.energy.devices import describe_devices
from greennas.energy.meter import Meter, Window, metered_device, open_meter
from greennas.energy.reading import Kind, Reading, primary, subtotals, total
from greennas.energy.units import format_energy, format_range, parse_duration, parse_energy

__all__ = [
    "Kind",
    "Meter",
    "Reading",
    "Window",
    "describe_devices",
    "format_energy",
    "format_range",
    "metered_device",
    "open_meter",
    "parse_duration",
    "parse_energy",
    "primary",
    "subtotals",
    "total",
]
