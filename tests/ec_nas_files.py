"""Small files as EC-NAS-Bench's authors publish them: trainings of three networks, and search runs."""

from __future__ import annotations

import base64
import csv
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

CONVOLUTION, PROJECTION = 0, 1
GRAPHS: dict[str, list[Any]] = {
    "aa": [[[0, 1, 0], [0, 0, 1], [0, 0, 0]], [-1, CONVOLUTION, -2]],
    "bb": [[[0, 1, 0], [0, 0, 1], [0, 0, 0]], [-1, PROJECTION, -2]],
    "cc": [[[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], [-1, CONVOLUTION, PROJECTION, -2]],
}
MEASURED = {"aa": (0.60, 0.010, 100.0, 3000), "bb": (0.50, 0.004, 50.0, 1000), "cc": (0.605, 0.020, 200.0, 4000)}
"""Validation accuracy, kWh, seconds and parameters over 4 epochs."""


def write_tree(folder: Path) -> None:
    (folder / "data/graphs").mkdir(parents=True)
    (folder / "data/graphs/generated_graphs_4V9E.json").write_text(json.dumps(GRAPHS))
    for key, (accuracy, kwh, seconds, parameters) in MEASURED.items():
        place = folder / f"data/train_model_results/energy/4V9E/4_epochs/{key}/{key}/repeat_1"
        place.mkdir(parents=True)
        last = {"validation_accuracy": accuracy, "test_accuracy": accuracy - 0.01, "train_accuracy": accuracy}
        last |= {"energy (kWh)": kwh, "training_time": seconds}
        content = {"trainable_params": parameters, "total_energy (kWh)": 1.0, "evaluation_results": [last]}
        (place / "results.json").write_text(json.dumps(content))


def write_runs(folder: Path) -> None:
    """A run on 4V that trains each network for 4 and for 12 epochs, once in vain, and one on 7V."""
    with (folder / "published_runs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        columns = ("method", "space", "run", "trial_index", "val_acc", "tst_acc", "energy", "train_time", "params")
        rows.writerow(columns)
        for trial, (scale, gain) in enumerate([(1, 0.0), (3, 0.2)]):
            for number, (accuracy, kwh, seconds, parameters) in enumerate(MEASURED.values()):
                values = (-100 * (accuracy + gain), -99 * (accuracy + gain), scale * kwh, scale * seconds)
                rows.writerow(["rs", "4V", 0, 3 * trial + number, *values, np.log10(parameters)])
        rows.writerow(["rs", "4V", 0, 6, 0.0, 0.0, 0.0, 0.0, 0.0])
        for trial, (accuracy, kwh) in enumerate([(52, 0.01), (89, 0.07), (94, 0.41)]):
            rows.writerow(["rs", "7V", 0, trial, -accuracy, -accuracy, kwh, 14.23, 5.95])


# A table with the columns of Ax's data, three trials and six metrics each, the second one not in the benchmark: what
# ``pickle.dump`` of Python 3.10 with pandas 1.4.0 and NumPy 1.23.5 wrote (EC-NAS's environment), by zlib and base85.
PICKLED = (
    "c-qZXy-yTD6u++p1eJh6Fc>W;JS{FrP&6^#MT`O)4gq6FCbN6P&4%5%b9R=4M4~2wV5U$R8xy0Ag$0QPl?`WSW9X^;7c?<`H28M!(Bs2!msmKP"
    "ym|Zf&D-~T@6CJnV$W9ULcx+PdCW4{O_(`O5|bP|M9BkJvB1{?ep#KqujW)-"
    "#*mZcN}i}xx0oQDVcShOnBgqpu963@*g11*xbzOk<ML?v2(m51{c}diX5_KFWlq@y8U7*AmTk;)^0OuLj%N!CbB<@hEaJq>F;{TU6uzPsC@NVG"
    "wgZ)ArHAHKf7nnD)tHLwVR%{>6m6DTM$G1YC^9l~K`kwozDH&Fj!LJ~Lz}Pyq9=timL|aEXgBIs`_Z#i(4KuMfq%*d!?OS@gP>@xZJ8uM<3sR$"
    ")gwNoP4qBr@iEdP+Yxri$mBL$mv-"
    "O^`MCNYcbywJe#javzF2L0^>kpgcyapc`plbKsh{i5Pu{hjBsbr_zCJ$pJ^5(meSv>yPlak+8?8}xDn3+v_mQl=JT_GP_T}@M-"
    "gi0mW3B7V&Avi%(_<TQ{L^py3f!W-"
    "03uQy&dwk=_0!l!*fb&a!WAX1QE+TABrLyr>j)z}3#Fl%xgK&G1bGa#>?%4;({zO1prdrGk|!lUB6_qsKavp3(0{hdv5e}ms%yros2Q5tvtnxX"
    "B3$Dhsc|o(jOkh>N}>F^=-"
    "A$wGGvCh2?M)O5siqE0vhyXaIq+t+7=&lwhVMTwL4JS{8q^|VD2Cmw8of2FjKP0A%a_GSr~PR12T|6X$HS8UF%rzIqfa@sSvVrFAt%O5wHYK4l"
    ";4Rx56<xv)iXuc%c=E*%`=ad5@KM?Jo)X*ZM(X9+Z$0pTN9;rVFFQ5AN1jK@c?@M0)~mCl&$*#vI&FG-"
    "=~(z_w%C&J|pg@$%3Hu^`CC27zI*=z2!t7fuG}SO"
)


def pickled() -> bytes:
    return zlib.decompress(base64.b85decode(PICKLED))
