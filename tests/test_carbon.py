from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from greennas.carbon import CostEntry, Estimate, Phase, SearchCost, Subtotal, priced
from greennas.energy import Kind, Reading
from greennas.errors import ConfigError, RunError
from greennas.price_tag import hardware, latex, markdown, model_card


def reading(
    energy_j: float | None,
    kind: Kind = Kind.MEASURED,
    component: str = "gpu",
    seconds: float = 10.0,
    shared: bool = False,
) -> Reading:
    if energy_j is None:
        return Reading.unavailable(component, "none", "No counter.", seconds=seconds)
    bounds = energy_j * 0.9, energy_j * 1.2
    return Reading(component, "test", kind, energy_j, *bounds, seconds, None, "device", None, (), shared)


def entry(
    phase: Phase, energy_j: float | None, kind: Kind = Kind.MEASURED, component: str = "gpu", worker: str = "w0"
) -> CostEntry:
    return CostEntry(phase, worker, reading(energy_j, kind, component))


def search(**options: object) -> SearchCost:
    """Two finished trainings of 1000 J, one failed of 300 J, probes of 200 J; the CPU's joules are modelled."""
    entries = [
        entry(Phase.TRAINING, 1000.0),
        entry(Phase.TRAINING, 1000.0, worker="w1"),
        entry(Phase.FAILED_TRAINING, 300.0, worker="w1"),
        entry(Phase.PROBE, 200.0),
        entry(Phase.TRAINING, 70.0, Kind.MODELLED, "cpu"),
        entry(Phase.SCREENING, 30.0, Kind.MODELLED, "cpu"),
    ]
    return SearchCost(entries, trials=2, examples_seen=40_000, flops_per_example=3e6, **options)  # type: ignore[arg-type]


def energies(subtotals: list[Subtotal]) -> dict[tuple[str, Kind], float | None]:
    return {(subtotal.component, subtotal.kind): subtotal.energy_j for subtotal in subtotals}


def test_sums_by_kind_phase_and_worker() -> None:
    cost = search()
    assert {kind: energies(group) for kind, group in cost.by_kind().items()} == {
        Kind.MEASURED: {("gpu", Kind.MEASURED): 2500.0},
        Kind.MODELLED: {("cpu", Kind.MODELLED): 100.0},
    }
    assert list(cost.by_phase()) == [Phase.TRAINING, Phase.FAILED_TRAINING, Phase.PROBE, Phase.SCREENING]
    assert energies(cost.by_phase()[Phase.TRAINING]) == {("gpu", Kind.MEASURED): 2000.0, ("cpu", Kind.MODELLED): 70.0}
    assert energies(cost.by_worker()["w1"]) == {("gpu", Kind.MEASURED): 1300.0}
    measured = cost.totals()[Kind.MEASURED]
    assert (measured.low_j, measured.high_j) == (pytest.approx(2250), pytest.approx(3000))
    assert measured.energy_kwh == pytest.approx(2500 / 3.6e6)


entries = st.builds(
    CostEntry,
    st.sampled_from(Phase),
    st.sampled_from(["w0", "w1", "w2"]),
    st.one_of(
        st.builds(
            reading,
            st.floats(0, 1e9),
            st.sampled_from([Kind.MEASURED, Kind.SAMPLED, Kind.MODELLED]),
            st.sampled_from(["gpu", "cpu", "dram"]),
            st.floats(0, 1e6),
            st.booleans(),
        ),
        st.builds(reading, st.none(), component=st.sampled_from(["gpu", "cpu"])),
    ),
)


@given(st.lists(entries, max_size=30))
def test_every_grouping_holds_all_joules_and_never_mixes_kinds(found: list[CostEntry]) -> None:
    cost = SearchCost(found)
    for grouping in (cost.by_kind(), cost.by_phase(), cost.by_worker()):
        subtotals = [subtotal for group in grouping.values() for subtotal in group]
        assert sum(subtotal.readings for subtotal in subtotals) == len(found)
        for kind in Kind:
            expected_j = math.fsum(e.reading.energy_j or 0 for e in found if e.reading.kind is kind)
            assert math.fsum(s.energy_j or 0 for s in subtotals if s.kind is kind) == pytest.approx(expected_j)
    for subtotal in cost.totals().values():
        if subtotal.kind is Kind.UNAVAILABLE:
            assert subtotal.energy_j is None
        else:
            assert subtotal.low_j is not None
            assert subtotal.energy_j is not None
            assert subtotal.high_j is not None
            assert subtotal.low_j <= subtotal.energy_j <= subtotal.high_j
    assert SearchCost.from_json(json.loads(json.dumps(cost.to_json()))) == cost
    assert len(markdown(cost).splitlines()) > 3


def test_e_times_d_times_h_is_reconciled_with_the_meter() -> None:
    price = search().price()
    assert price is not None
    assert (price.component, price.kind, price.trials, price.examples) == ("gpu", Kind.MEASURED, 2, 20_000)
    assert price.energy_per_example_j == pytest.approx(0.05)
    assert price.flops_per_example == 3e6
    assert price.energy_per_example_j * price.examples * price.trials == pytest.approx(price.product_j)
    assert price.product_j == pytest.approx(2000)
    assert price.metered_j == pytest.approx(2500)  # the CPU's modelled joules are not in it
    assert price.ratio == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ([], "no training ran to its end"),
        ([entry(Phase.PROBE, 5.0)], "no training ran to its end"),
        ([entry(Phase.TRAINING, None), entry(Phase.TRAINING, 5.0)], "unavailable"),
        ([entry(Phase.TRAINING, None), entry(Phase.TRAINING, 5.0, Kind.MODELLED, "cpu")], "gpu energy"),
        ([entry(Phase.TRAINING, 5.0), entry(Phase.TRAINING, 5.0, Kind.SAMPLED)], "several kinds (measured, sampled)"),
        ([entry(Phase.TRAINING, 0.0)], "0 J"),
    ],
)
def test_no_price_where_it_cannot_be_told(changed: list[CostEntry], reason: str) -> None:
    cost = SearchCost(changed, trials=2, examples_seen=100)
    assert cost.price() is None
    assert reason in str(cost.price_reason)
    assert str(cost.price_reason) in markdown(cost)
    assert SearchCost([entry(Phase.TRAINING, 5.0)]).price() is None  # nobody counted the examples


def test_emissions_only_with_a_grid_intensity() -> None:
    assert search().carbon() is None
    assert "not given (as in --grid-intensity DE), and it is not guessed" in str(search().carbon_reason)
    assert search().to_json()["summary"]["carbon"] is None
    cost = search(grid_intensity_g_per_kwh=360.0, pue=1.5, grid_source="Ember 2024")
    emissions = cost.carbon()
    assert emissions is not None
    assert cost.carbon_reason is None
    assert set(emissions) == {Kind.MEASURED, Kind.MODELLED}
    assert emissions[Kind.MEASURED].carbon_g == pytest.approx(2500 / 3.6e6 * 360 * 1.5)
    assert emissions[Kind.MEASURED].high_g == pytest.approx(3000 / 3.6e6 * 360 * 1.5)
    assert "at 360 g/kWh (Ember 2024) and a PUE of 1.5" in markdown(cost)


def test_unavailable_energy_has_no_emissions_and_is_said() -> None:
    cost = SearchCost([entry(Phase.TRAINING, None)], grid_intensity_g_per_kwh=100.0)
    assert cost.carbon() == {}
    assert "1 readings have no energy: the sums leave 10 s out" in markdown(cost)
    assert "| training | gpu | unavailable | unavailable |" in markdown(cost)


@pytest.mark.parametrize(
    "options",
    [
        {"grid_intensity_g_per_kwh": 0.0},
        {"grid_intensity_g_per_kwh": -5.0},
        {"grid_intensity_g_per_kwh": math.nan},
        {"pue": 0.9},
        {"pue": math.inf},
    ],
)
def test_impossible_factors_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="leave it out if unknown"):
        search(**options)


def test_markdown_shows_kind_bounds_and_savings() -> None:
    text = markdown(search(saved=Estimate(5e4, 4e4, 7e4, "measured")))
    assert "| training | gpu | measured | 2,000 J | 1,800 J - 2,400 J |" in text
    assert "| **all modelled** | all | modelled | 100 J |" in text
    assert "E = 50 mJ (3e+06 FLOPs) an example, D = 20,000 examples a training, H = 2 trainings" in text
    assert "1.25 times as much" in text
    assert "50 kJ (40 kJ - 70 kJ), measured, predicted" in text
    assert "50 kJ (40 kJ - 70 kJ), predicted" in markdown(search(saved=Estimate(5e4, 4e4, 7e4)))


def test_shared_devices_are_said() -> None:
    shared = CostEntry(Phase.TRAINING, "w0", reading(5.0, shared=True))
    assert "1 readings are of devices on which something else ran" in markdown(SearchCost([shared]))


def test_entries_are_reconciled_with_the_sessions_meters() -> None:
    remainder = CostEntry(Phase.IDLE, "driver", reading(500.0), derived=True)
    metered = [reading(2000.0), reading(1000.0), reading(None), reading(90.0, Kind.MODELLED, "cpu")]
    cost = search(metered=metered)
    cost = replace(cost, entries=[*cost.entries, remainder])
    cpu, gpu = cost.reconciliation()
    assert (gpu.component, gpu.kind, gpu.metered_j, gpu.own_j, gpu.derived_j) == ("gpu", Kind.MEASURED, 3000, 2500, 500)
    assert gpu.ratio == pytest.approx(1.0)
    assert cpu.ratio == pytest.approx(100 / 90)
    text = markdown(cost)
    assert (
        "The gpu was metered over whole sessions at 3,000 J measured; the entries are 1.000 times that: 2,500 J" in text
    )
    assert "1.111 times that (trainings of sessions that were killed have no total)" in text
    summary = cost.to_json()["summary"]["reconciliation"]
    assert [(each["component"], each["ratio"]) for each in summary] == [("cpu", cpu.ratio), ("gpu", gpu.ratio)]
    assert SearchCost.from_json(json.loads(json.dumps(cost.to_json()))) == cost
    assert search().reconciliation() == []
    assert search(metered=[reading(0.0)]).reconciliation()[0].ratio is None


@given(st.lists(entries, max_size=20), st.lists(st.booleans(), min_size=20, max_size=20))
def test_own_and_derived_entries_are_all_entries(found: list[CostEntry], derived: list[bool]) -> None:
    marked = [replace(each, derived=flag) for each, flag in zip(found, derived, strict=False)]
    metered = [each.reading for each in marked]
    for each in SearchCost(marked, metered=metered).reconciliation():
        assert each.entries_j == pytest.approx(each.metered_j)
        assert each.own_j + each.derived_j == pytest.approx(each.metered_j)


def test_workers_stand_beside_the_phases() -> None:
    rows = search().worker_rows()
    assert [(row["worker"], row["component"], row["energy_j"]) for row in rows] == [
        ("w0", "cpu", 100.0),
        ("w0", "gpu", 1200.0),
        ("w1", "gpu", 1300.0),
    ]
    assert "| w1 | gpu | measured | 1,300 J |" in markdown(search())
    assert search().to_json()["summary"]["workers"][2]["energy_kwh"] == pytest.approx(1300 / 3.6e6)


def test_a_bill_can_be_priced_on_another_grid() -> None:
    france = priced(search(), "fr", 1.2)
    assert france.grid_location == "France"
    assert "2023" in france.grid_source
    assert france.grid_intensity_g_per_kwh is not None
    assert 10 < france.grid_intensity_g_per_kwh < 120
    assert france.pue == 1.2
    figure = priced(france, "360")
    assert (figure.grid_intensity_g_per_kwh, figure.grid_location, figure.pue) == (360.0, "", 1.2)
    assert priced(search()) == search()
    with pytest.raises(ConfigError, match="PUE"):
        priced(search(), pue=0.5)
    with pytest.raises(ConfigError, match="Atlantis"):
        priced(search(), "Atlantis")


def test_table_for_a_paper_is_latex() -> None:
    text = latex(search(grid_intensity_g_per_kwh=360.0, grid_source="A & B_c 100%"))
    assert r"training & gpu & measured & 2,000 J & 1,800 J - 2,400 J & 0.0005556 & 0.00556 \\" in text
    assert r"failed training & gpu" in text
    assert r"A \& B\_c 100\%" in text
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + 5 + 2
    assert {len(row.replace(r"\&", "").split("&")) for row in rows} == {7}
    assert text.count(r"\begin{") == text.count(r"\end{") == 2


def test_model_card_has_the_emissions_of_the_best_kind() -> None:
    card = model_card(priced(search(), "DEU", 1.5), "1 x NVIDIA H200")
    block = yaml.safe_load(card)["co2_eq_emissions"]
    expected = 2500 / 3.6e6 * 1.5 * float(priced(search(), "DEU").grid_intensity_g_per_kwh or 0)
    assert block["emissions"] == pytest.approx(expected, rel=1e-3)
    assert list(block) == ["emissions", "source", "training_type", "geographical_location", "hardware_used"]
    assert block["geographical_location"] == "Germany"
    assert "2,500 J measured" in block["source"]
    assert "are modelled and not included" in block["source"]
    assert "geographical_location" not in model_card(priced(search(), 100), "a CPU")


@pytest.mark.parametrize(
    ("cost", "sentence"),
    [
        (search(), "give --grid-intensity"),
        (SearchCost([entry(Phase.TRAINING, None)], grid_intensity_g_per_kwh=100.0), "could be read"),
    ],
)
def test_no_model_card_without_grid_or_joules(cost: SearchCost, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        model_card(cost, "a CPU")


def test_hardware_in_words() -> None:
    devices = {
        "cpu": {"model": "CPU X", "cores": 64, "usable_cores": 16},
        "gpus": [{"name": "H100"}, {"name": "T4"}, {"name": "H100"}],
    }
    assert hardware(devices, on_gpu=True) == "2 x H100, 1 x T4, 16 of 64 cores of CPU X"
    assert hardware(devices, on_gpu=False) == "16 of 64 cores of CPU X"


def test_rows_are_a_table() -> None:
    rows = search().rows()
    assert len(rows) == 5
    assert rows[0]["phase"] == "training"
    assert {"component", "kind", "energy_j", "low_j", "high_j", "seconds", "energy_kwh"} <= set(rows[0])
    json.dumps(rows)


@pytest.mark.parametrize("data", [{}, {"entries": [{"phase": "lunch"}]}, {"entries": [], "mass": 3}, {"entries": 3}])
def test_damaged_json_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(RunError, match="Not the cost of a search"):
        SearchCost.from_json(data)


def test_estimate_needs_its_interval_in_order() -> None:
    with pytest.raises(ConfigError):
        Estimate(1.0, 2.0, 3.0)


@pytest.mark.parametrize("counts", [{"trials": -1}, {"examples_seen": -1}])
def test_negative_counts_are_refused(counts: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="cannot be negative; count them again"):
        SearchCost([entry(Phase.TRAINING, 1.0)], **counts)


def test_joules_of_a_table_have_no_bounds_to_read() -> None:
    looked_up = Reading("table", "a table", Kind.TABULAR, 5e6, 5e6, 5e6, 60.0, None, "device", None)
    text = markdown(SearchCost([CostEntry(Phase.TRAINING, "table", looked_up)], trials=1))
    assert "| training | table | tabular | 1.39 kWh |  | 1.389 |" in text
    assert "In all 1.39 kWh tabular." in text
