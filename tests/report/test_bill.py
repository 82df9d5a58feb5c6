from __future__ import annotations

import re

from optuna.trial import TrialState
from report_studies import BILL, StudyMaker, entry, page_of

from greennas import results as keys
from greennas.carbon import CostEntry, Phase
from greennas.energy import Kind, Reading
from greennas.report.words import NOTHING


def test_bill_has_a_row_a_phase_and_a_total_a_kind() -> None:
    made = StudyMaker()
    made.add(kind="measured", train_energy_j=1000.0)
    made.add(TrialState.FAIL, kind="measured")
    made.study.set_user_attr(keys.DRIVER_COSTS, [entry(Phase.OVERHEAD, 500.0, "modelled")])
    page = page_of(made)
    rows = page.table(BILL)
    found = {(row["Spent on"].text, row["Energy"].text) for row in rows}
    assert ("training", "1,000 J measured") in found
    assert ("failed training", "11 J measured") in found
    assert ("overhead", "500 J modelled") in found
    assert ("All that is measured", "1,024 J measured") in found
    assert ("All that is modelled", "500 J modelled") in found
    text = page.root.text
    assert "Joules of different kinds are never added." in text
    assert "1,524" not in text
    bars = [row["Share within its kind"].all(class_="bar") for row in rows]
    assert [bar[0].attributes["style"] for bar in bars[:1]] == ["width:100.0%"]


def test_bill_by_worker_and_against_the_sessions_meters() -> None:
    made = StudyMaker()
    made.add(kind="measured", train_energy_j=1000.0)
    metered = [CostEntry.from_json(entry(Phase.OVERHEAD, 2000.0, "measured")).reading.to_json()]
    assert "Does the bill add up?" not in page_of(made).root.text
    made.study.set_user_attr(keys.METERED, metered)
    page = page_of(made)
    (row,) = page.table("Energy of the search by worker")
    own_j = sum(each.reading.energy_j or 0 for each in made.result().cost.entries)
    assert (row["Worker"].text, row["Energy"].text) == ("local-0", f"{own_j:,.0f} J measured")
    (row,) = page.table("Does the bill add up?")
    assert row["Metered over whole sessions"].text == "2,000 J"
    assert row["Entries over metered"].text == f"{own_j / 2000:.3f}"


def test_price_in_the_terms_of_green_ai() -> None:
    made = StudyMaker()
    made.add(kind="measured", train_energy_j=1000.0, flops=1e6)
    made.add(kind="measured", train_energy_j=3000.0, flops=3e6)
    tiles = {
        t.one("dt").text: t.one("dd").text
        for t in page_of(made).root.one(id="bill").one("dl", class_="tiles").all("div")
    }
    assert tiles["E one example, once in training"] == "0.464 J measured6 M FLOPs"
    assert tiles["D examples shown in a training"] == "4,312"
    assert tiles["H trainings that ran to their end"] == "2"
    assert tiles["E · D · H the GPU's share in these trainings"].startswith("4,000 J measured")


def test_what_screening_saved_is_called_predicted_and_has_an_interval() -> None:
    made = StudyMaker()
    made.add()
    text = " ".join(page_of(made).root.one(id="bill").text.split())
    assert re.search(
        r"7 networks were on a shortlist .* taken [\d.,]+ k?J modelled \([\d.,]+ k?J to [\d.,]+ k?J\), predicted", text
    )


def test_nothing_saved_where_nothing_was_screened_out() -> None:
    made = StudyMaker()
    made.add(screened=0)
    assert "Nothing was screened out, so nothing was saved." in page_of(made).root.text


def test_no_joules_saved_where_no_trainings_joules_are_known() -> None:
    made = StudyMaker()
    made.add(TrialState.FAIL, kind="unavailable")
    root = page_of(made).root
    assert "cannot be said in joules" in root.one(id="bill").text
    assert "Saved by screening" not in root.one(id="front").text


def test_emissions_only_with_a_grid_intensity() -> None:
    without, with_grid = StudyMaker(), StudyMaker(**{"energy.grid_intensity_g_per_kwh": 360.0})
    for made in (without, with_grid):
        made.add(kind="measured", train_energy_j=1e6, screened=0)
    assert "not given (as in --grid-intensity DE)" in page_of(without).root.one(id="bill").text
    assert "Emissions" not in page_of(without).root.text
    assert "100 gCO2e measured" in page_of(with_grid).root.text


def test_looked_up_joules_have_no_bounds_and_their_table_is_no_device() -> None:
    made = StudyMaker()
    made.add(screened=0, design=True)
    looked_up = Reading("table", "a table", Kind.TABULAR, 5e6, 5e6, 5e6, 60.0, None, "device", None)
    made.study.set_user_attr(keys.DRIVER_COSTS, [CostEntry(Phase.TRAINING, "table", looked_up).to_json()])
    page = page_of(made)
    (row,) = [row for row in page.table(BILL) if row["Component"].text == "table"]
    assert row["Energy"].text == "1.39 kWh tabular"
    assert row["Low to high"].text.strip() == NOTHING
    assert "1.39 kWh to" not in page.root.text
