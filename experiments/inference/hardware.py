"""Hardware as a strategy, where there is one machine: less and more of its processor's instruction sets and cores.

The libraries below torch choose their kernels when they are loaded, by what the processor has, and can be told to take
it for an older one. So each setting is a process of its own. All of them live at once, with their models loaded, and
each runs GreenNAS's own benchmark. After every turn of it a process waits for its next go, which the parent gives to
one after another: never do two run at a time, and what drifts on the machine falls on all of them alike.

It is the same silicon with a part of it unused, and not another machine: an older processor has other clocks, caches
and memory as well. Modelled joules are CPU seconds, so that the higher power of wide vector units is not in them.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from networks import residual_network

from greennas.energy import open_meter
from greennas.inference.generation import Generator
from greennas.inference.generation_report import GenerationSetting
from greennas.inference.language_model import cast, load_language_model
from greennas.inference.runtimes import eager
from greennas.inference.windows import Figure, WindowPlan, in_turns
from greennas.machine import usable_cores

BASE = Path(__file__).parent / "configs" / "base.json"
PRECISIONS = ("float32", "bfloat16")
IMAGE_SHAPE, CLASSES = (1, 28, 28), 10  # Fashion-MNIST's
_GO = "go"


@dataclass(frozen=True)
class Hardware:
    """What a process may use of the processor.

    Attributes:
        name: in the table.
        variables: of the environment, read when torch is loaded.
        threads: of torch.
    """

    name: str
    variables: Mapping[str, str]
    threads: int = 1


def _limited(name: str, onednn: str, aten: str, mkl: str, **others: str) -> Hardware:
    variables = {"ONEDNN_MAX_CPU_ISA": onednn, "ATEN_CPU_CAPABILITY": aten, "MKL_ENABLE_INSTRUCTIONS": mkl}
    return Hardware(name, variables | others)


_LEVELS = {
    # MKL heeds MKL_ENABLE_INSTRUCTIONS on Intel's processors alone; MKL_CBWR=COMPATIBLE (SSE2) on all.
    "DEFAULT": _limited("SSE", "SSE41", "default", "SSE4_2", MKL_CBWR="COMPATIBLE"),
    "AVX2": _limited("AVX2", "AVX2", "avx2", "AVX2"),
    "AVX512": _limited("AVX-512", "AVX512_CORE", "avx512", "AVX512"),
}
_PASSIVE = {"OMP_WAIT_POLICY": "passive"}  # by default OpenMP's threads spin for a while, which is CPU time, too
_VARIABLES = {name for each in (*(level.variables for level in _LEVELS.values()), _PASSIVE) for name in each}


def settings() -> list[Hardware]:
    """Settings that this machine has: what x86 processors had in turn, all of it with one thread, and with two."""
    capabilities = list(_LEVELS)
    known = torch.backends.cpu.get_cpu_capability()
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    reached = capabilities[: capabilities.index(known) + 1] if x86 and known in capabilities else []
    found = [*(_LEVELS[capability] for capability in reached), Hardware("all that it has", {})]
    if usable_cores() > 1:
        found += [Hardware("all, 2 threads", {}, 2), Hardware("all, 2 threads that sleep while they wait", _PASSIVE, 2)]
    return found


@dataclass(frozen=True)
class Work:
    """Sizes of the work.

    Attributes:
        prompt_tokens: length of the prompt, batch size 1.
        output_tokens: length of the response.
        images: in a batch.
    """

    prompt_tokens: int = 128
    output_tokens: int = 32
    images: int = 64

    @property
    def units(self) -> dict[str, int]:
        """What a joule figure is of, by the work's name, and how many of these a call does."""
        return {
            "prefill, a prompt token": self.prompt_tokens,
            "decoding, an output token": self.output_tokens - 1,
            f"images, batch {self.images}, an image": self.images,
        }


@dataclass(frozen=True)
class Row:
    """What one work cost on one setting in one precision.

    Attributes:
        hardware: name of the setting.
        work: what was done, and what the joules are of.
        precision: float32 or bfloat16.
        kind: of the joules.
        unit_j: joules; None where they are unknown.
        baseline: whether it is what the ratios of the same work are to: the first setting's float32.
        ratio: to the baseline, turn by turn; None for other kinds of joules.
        call_ms: milliseconds of a call: of a whole prompt, response or batch.
        windows: their number.
        aten: the instruction sets that torch's own kernels used.
        onednn: the kernels of oneDNN that ran, in its own words; matrix products in float32 are MKL's, mostly.
    """

    hardware: str
    work: str
    precision: str
    kind: str
    unit_j: Figure | None
    baseline: bool
    ratio: Figure | None
    call_ms: float
    windows: int
    aten: str
    onednn: tuple[str, ...]


def measure(hardware: Sequence[Hardware], work: Work, plan: WindowPlan) -> list[Row]:
    """Meter the work on every setting in turns; the first setting is what all ratios are to.

    Args:
        hardware: the settings.
        work: what to do.
        plan: ``repeats`` turns are counted. One more comes before, since it follows right on each process's start.
    """
    turns = plan.repeats + 1
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(each, work, plan)) for each in hardware]
        for turn in range(turns):
            first = turn % len(workers)
            for worker in workers[first:] + workers[:first]:
                _tell(worker)
        found = [json.loads(_tell(worker)) for worker in workers]
    rows = []
    for each, result in zip(hardware, found, strict=True):
        for (name, units), precision in itertools.product(work.units.items(), PRECISIONS):
            one, base = result["works"][f"{name}, {precision}"], found[0]["works"][f"{name}, float32"]
            ratio = Figure.ratio(one["each_j"], base["each_j"], plan.confidence)
            rows.append(
                Row(
                    hardware=each.name,
                    work=name,
                    precision=precision,
                    kind=one["kind"],
                    unit_j=Figure.of([joules / units for joules in one["each_j"]], plan.confidence),
                    baseline=one is base,
                    ratio=ratio if one["kind"] == base["kind"] else None,
                    call_ms=one["ms"],
                    windows=plan.repeats,
                    aten=result["aten"],
                    onednn=tuple(one["onednn"]),
                )
            )
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """The figures of all rows as a table, and which kernels ran as another one."""
    heads = "".join(f" {each}, mJ | ratio (95% interval) | ms a call |" for each in PRECISIONS)
    rule = "| --- | --- |" + " ---: | ---: | ---: |" * len(PRECISIONS)
    lines = [f"| work, and what the mJ are of | hardware |{heads}", rule]
    by_place = {(row.work, row.hardware, row.precision): row for row in rows}
    names = list(dict.fromkeys(row.hardware for row in rows))
    for work, name in itertools.product(dict.fromkeys(row.work for row in rows), names):
        cells = " | ".join(_cells(by_place[work, name, precision]) for precision in PRECISIONS)
        lines.append(f"| {work} | {name} | {cells} |")
    lines += [
        "",
        "| hardware | torch's own kernels | oneDNN, float32 | oneDNN, bfloat16 |",
        "| --- | --- | --- | --- |",
    ]
    for name in names:
        mine = [row for row in rows if row.hardware == name]
        ran = " | ".join(_ran(row for row in mine if row.precision == precision) for precision in PRECISIONS)
        lines.append(f"| {name} | {mine[0].aten} | {ran} |")
    return "\n".join(lines)


def _cells(row: Row) -> str:
    energy = "unavailable" if row.unit_j is None else f"{1e3 * row.unit_j.value:.3g}"
    ratio = "1" if row.baseline else "unavailable"
    if row.ratio is not None and not row.baseline:
        ratio = f"{row.ratio.value:.2f} ({row.ratio.low:.2f} to {row.ratio.high:.2f})"
    return f"{energy} | {ratio} | {row.call_ms:,.3g}"


def _ran(rows: Iterable[Row]) -> str:
    return ", ".join(f"`{each}`" for each in sorted({each for row in rows for each in row.onednn})) or "none"


@contextmanager
def _worker(hardware: Hardware, work: Work, plan: WindowPlan) -> Iterator[subprocess.Popen[str]]:
    """A process that waits for its first go."""
    kept = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
    variables = {**kept, **hardware.variables, "OMP_NUM_THREADS": str(hardware.threads)}
    turns = plan.repeats + 1
    job = {"threads": hardware.threads, "work": asdict(work)}
    job["plan"] = {**asdict(plan), "repeats": turns, "max_repeats": turns}
    command = [sys.executable, __file__, json.dumps(job)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=variables, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        try:
            yield process
        finally:
            process.kill()
            with suppress(BrokenPipeError):
                process.stdin.close()


def _tell(worker: subprocess.Popen[str]) -> str:
    """Let a process go on until it waits again or is done; what it said."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    with suppress(BrokenPipeError):
        print(_GO, file=worker.stdin, flush=True)
        if said := worker.stdout.readline():
            return said
    raise SystemExit("A process of the comparison of hardware ended before its time; its own message stands above.")


def _work(job: Mapping[str, Any]) -> None:
    """What a process does: a turn for each go, then its result."""
    assert sys.stdin.readline().strip() == _GO
    torch.set_num_threads(job["threads"])
    functions = _functions(Work(**job["work"]))
    ran = {name: onednn_kernels(function) for name, function in functions.items()}

    def wait(done: int, most: int) -> None:
        print(f"{done} of {most}", flush=True)
        assert sys.stdin.readline().strip() == _GO

    with closing(open_meter("cpu")) as meter:
        found = in_turns(functions, meter, WindowPlan(**job["plan"]), wait)
    works: dict[str, dict[str, Any]] = {}
    for name, one in found.items():
        counted_s = sum(reading.seconds for reading in one.readings[1:])
        works[name] = {
            "kind": str(one.kind),
            "each_j": one.each_j[1:],
            "ms": 1e3 * counted_s / sum(one.calls[1:]),
            "onednn": ran[name],
        }
    print(json.dumps({"aten": torch.backends.cpu.get_cpu_capability(), "works": works}), flush=True)


def _functions(work: Work) -> dict[str, Callable[[], object]]:
    """Every work in every precision, ready to run."""
    prefill, decode, images = work.units
    functions: dict[str, Callable[[], object]] = {}
    original = load_language_model(BASE)
    network = residual_network(IMAGE_SHAPE, CLASSES, blocks=2, width=16).eval()
    batch = torch.randn(work.images, *IMAGE_SHAPE, generator=torch.Generator().manual_seed(0))
    for precision in PRECISIONS:
        setting = GenerationSetting(original.name, precision, True, 1, work.prompt_tokens, work.output_tokens)
        generator = Generator(cast(original, precision), setting, "cpu")
        functions |= {f"{prefill}, {precision}": generator.prefill, f"{decode}, {precision}": generator.decode}
        runner = eager(network, precision, "cpu")
        functions[f"{images}, {precision}"] = partial(runner.run, runner.prepare(batch))
    return functions


def onednn_kernels(function: Callable[[], object]) -> list[str]:
    """Implementations of oneDNN that a call runs, as its log names them, without those that only change a layout."""
    sys.stdout.flush()
    with tempfile.TemporaryFile() as log:
        kept = os.dup(1)
        os.dup2(log.fileno(), 1)  # the log is written by C to standard output
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                function()
            ctypes.CDLL(None).fflush(None)
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        log.seek(0)
        lines = [line.split(",") for line in log.read().decode(errors="replace").splitlines()]
    return sorted({line[6] for line in lines if line[2:5] == ["primitive", "exec", "cpu"] and line[5] != "reorder"})


if __name__ == "__main__":
    _work(json.loads(sys.argv[1]))
