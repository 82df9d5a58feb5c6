"""Prices of the physical model's terms on a device, as the built-in ones were found, and how well each ranks there.

    greennas calibrate --networks 48 --seed 1 --out cpu.json
    python experiments/energy_predictor/prices.py cpu.json --data DIR

Of each device profile, of EC-NAS-Bench's 4V table in ``DIR``, and of the tables FM and MN in ``search_efficiency/``:
non-negative least squares of relative errors, given relative to a FLOP of a 3x3 convolution. Then, for these prices and
the built-in ones, Kendall's tau with the measured energies and the standard deviation of log(predicted / measured).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from data import OWN, load
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import kendalltau

from greennas.device_profile import DeviceProfile
from greennas.predictors.physics import PRIOR_PRICES, physical_score, physical_terms

Array = NDArray[np.float64]


def show(name: str, terms: Array, joules: Array) -> None:
    """Print prices and their quality for networks of these terms, (n, 5), and measured energies, (n,)."""
    found, _ = nnls(terms / joules[:, None], np.ones(len(joules)))
    found = found / (found[0] or found.max())
    print(f"{name}: {len(joules)} networks")
    for label, prices in {
        "found": found,
        **{f"built-in, {kind}": known for kind, known in PRIOR_PRICES.items()},
    }.items():
        score = physical_score(terms, prices)
        spread = np.std(np.log(score / joules))
        tau = kendalltau(score, joules).statistic
        print(f"  {label:15}", *(f"{price:9.3g}" for price in prices), f"  tau {tau:.3f}  spread {spread:.3f}")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profiles", type=Path, nargs="*", help="device profiles of 'greennas calibrate'")
    parser.add_argument("--data", type=Path, help="folder with EC-NAS-Bench's data")
    args = parser.parse_args()
    for path in args.profiles:
        profile = DeviceProfile.load(path)
        show(profile.device, physical_terms(profile.networks), profile.measured["train_energy_j"])
    for name in OWN if args.data is None else ("4V", *OWN):
        table = load(name, args.data or Path())
        show(name, physical_terms(table.profiles), table.energy_j)


if __name__ == "__main__":
    main()
