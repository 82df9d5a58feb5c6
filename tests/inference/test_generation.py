from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from greennas.cli import app, main
from greennas.energy import Kind, Meter, Reading
from greennas.energy.cpu_time import CpuTime
from greennas.errors import ConfigError
from greennas.inference.generation import Generator, bench_generation
from greennas.inference.generation_report import GenerationReport, GenerationSetting
from greennas.inference.language_model import DTYPES, cast, load_language_model, name_of
from greennas.inference.windows import WindowPlan

pytest.importorskip("transformers")
QUICK = WindowPlan(window_s=0.02, repeats=2, max_repeats=2, warmup_s=0.01)


@pytest.fixture(scope="module")
def report(tiny_llama: Path) -> GenerationReport:
    return bench_generation(
        [tiny_llama],
        kv_cache=(True, False),
        batch_sizes=(1, 4),
        prompt_tokens=(16,),
        output_tokens=(48,),
        plan=WindowPlan(window_s=0.05, repeats=3, max_repeats=3, warmup_s=0.02),
    )


def test_prefill_and_decoding_are_metered_apart_and_add_up(report: GenerationReport) -> None:
    assert [(row.setting.kv_cache, row.setting.batch_size) for row in report.rows] == [
        (True, 1), (True, 4), (False, 1), (False, 4)
    ]  # fmt: skip
    for row in report.rows:
        setting = row.setting
        assert row.kind is Kind.MODELLED
        assert row.prefill_j
        assert row.prefill_token_j
        assert row.decode_token_j
        assert row.response_j
        assert row.token_j
        assert row.bounds_token_j
        assert row.prefill_j.value == pytest.approx(row.prefill_token_j.value * setting.prompt_tokens)
        decoded_j = row.decode_token_j.value * (setting.output_tokens - 1)
        assert row.response_j.value == pytest.approx(row.prefill_j.value + decoded_j)
        assert row.token_j.value == pytest.approx(row.response_j.value / setting.output_tokens)
        assert row.token_j.low <= row.token_j.value <= row.token_j.high
        # 2, 6 and 15 W a core
        assert row.bounds_token_j[0] <= 1.02 * row.token_j.value / 3  # wider where other children live
        assert row.bounds_token_j[1] >= 0.98 * row.token_j.value * 2.5
        assert row.windows == 3
        response_ms = row.first_token_ms + row.token_ms * (setting.output_tokens - 1)
        assert row.tokens_per_s == pytest.approx(1e3 * setting.batch_size * setting.output_tokens / response_ms)
        # one pass over the prompt's tokens costs less than as many steps
        assert row.prefill_token_j.value < row.decode_token_j.value


def test_without_a_cache_long_outputs_cost_more_and_a_batch_costs_less(report: GenerationReport) -> None:
    cached, batch, uncached, uncached_batch = report.rows
    assert cached.ratio
    assert batch.ratio
    assert uncached.ratio
    assert cached.ratio.value == pytest.approx(1)
    assert uncached.ratio.value > 1.1
    assert batch.ratio.value < 0.8
    for one, other in ((cached, uncached), (batch, uncached_batch)):
        assert one.decode_token_j
        assert other.decode_token_j
        assert other.decode_token_j.value > 1.1 * one.decode_token_j.value


def test_the_report_survives_json(report: GenerationReport) -> None:
    assert GenerationReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    with pytest.raises(ConfigError, match="to_json"):
        GenerationReport.from_json({"rows": []})


def test_decoding_is_repeatable_and_the_same_with_and_without_a_cache(tiny_llama: Path) -> None:
    model = load_language_model(tiny_llama)
    tokens = []
    for cache in (True, False):
        generator = Generator(model, GenerationSetting("tiny", "float32", cache, 2, 8, 12), "cpu")
        first, second = generator.decode(), generator.decode()
        assert first.shape == (2, 11)
        assert torch.equal(first, second)
        tokens.append(first)
    assert torch.equal(*tokens)


def test_every_dtype_runs_or_says_why(tiny_llama: Path) -> None:
    report = bench_generation(
        [tiny_llama], dtypes=list(DTYPES), batch_sizes=(2,), prompt_tokens=(8,), output_tokens=(4,), plan=QUICK
    )
    assert {row.setting.dtype for row in report.rows} >= {"float32", "bfloat16"}
    assert len(report.rows) + len(report.unavailable) == len(DTYPES)
    sizes = report.models["tiny"]["weight_bytes"]
    assert sizes["bfloat16"] == sizes["float32"] / 2
    assert report.models["tiny"]["random"]
    if "int8" in sizes:
        assert sizes["int8"] < sizes["float32"] / 2


def test_what_does_not_fit_the_context_is_listed(tiny_llama: Path) -> None:
    report = bench_generation([tiny_llama], batch_sizes=(1,), prompt_tokens=(8, 255), output_tokens=(4,), plan=QUICK)
    assert len(report.rows) == 1
    ((what, reason),) = report.unavailable
    assert "255 + 4 tokens" in what
    assert "context of 256" in reason


class _Switching:
    """A counter whose windows change their kind, as where a GPU's counter fails midway."""

    component, backend, kind, device, uuid, resolution, tick_s = "cpu", "fake", Kind.MEASURED, "fake", None, "", 1e-6

    def __init__(self) -> None:
        self.windows = 0

    def begin(self):  # type: ignore[no-untyped-def]
        self.windows += 1
        kind = Kind.MEASURED if self.windows % 2 else Kind.SAMPLED
        return lambda: Reading("cpu", "fake", kind, 1.0, 1.0, 1.0, 0.1, None, "fake", None)

    def close(self) -> None:
        pass


def test_kinds_are_never_mixed(tiny_llama: Path) -> None:
    # Windows of prefill and decoding take turns, so each phase has both kinds.
    plan = WindowPlan(window_s=0.01, repeats=2, max_repeats=2, warmup_s=0.0)
    meter = Meter([_Switching()])
    meter.idle_power_w = {"cpu": 0.0}
    (row,) = bench_generation(
        [tiny_llama], batch_sizes=(1,), prompt_tokens=(8,), output_tokens=(4,), plan=plan, meter=meter
    ).rows
    assert row.kind is Kind.UNAVAILABLE
    assert (row.prefill_j, row.response_j, row.token_j, row.ratio, row.bounds_token_j) == (None,) * 5
    assert row.tokens_per_s > 0


def test_a_folder_gives_its_own_weights_and_pickles_are_not_read(tiny_llama: Path, tmp_path: Path) -> None:
    model = load_language_model(tiny_llama, seed=3)
    assert model.random
    folder = tmp_path / "saved"
    model.module.save_pretrained(folder)  # type: ignore[operator]
    again = load_language_model(folder)
    assert not again.random
    assert again.name == "saved"
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name])
    for file in folder.glob("*.safetensors"):
        file.rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"no \*.safetensors"):
        load_language_model(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "model_type"),
        ('{"model_type": "nonesuch"}', "cannot be made"),
        ('{"model_type": "vit"}', "generates text"),
        ('{"model_type": "llama", "auto_map": {"AutoModelForCausalLM": "evil.Model"}}', "never done"),
    ],
)
def test_what_is_no_language_model_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_language_model(file)


def test_models_of_the_same_name_are_refused(tiny_llama: Path) -> None:
    with pytest.raises(ConfigError, match="called the same"):
        bench_generation([tiny_llama, tiny_llama], plan=QUICK)


def test_a_configuration_is_called_as_its_folder_unless_it_has_a_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert [name_of(tmp_path / each) for each in ("a", "a/config.json", "small.json")] == ["a", "a", "small"]


def test_missing_libraries_are_one_sentence(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_language_model(tiny_llama)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'greennas[llm]'")):
        load_language_model(tiny_llama)
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'greennas[compress]'")):
        cast(model, "int8")


def test_the_command_shows_kinds_and_keeps_json_and_plot(tiny_llama: Path, tmp_path: Path) -> None:
    kept, plot = tmp_path / "llm.json", tmp_path / "llm.html"
    options = [
        "--window",
        "0.02",
        "--repeats",
        "2",
        "--max-repeats",
        "2",
        "--prompt-tokens",
        "8",
        "--output-tokens",
        "4",
    ]
    command = ["bench", "llm", "--model", str(tiny_llama), *options, "--out", str(kept), "--plot", str(plot)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "modelled (cpu)" in done.output
    assert "random weights" in done.output
    report = GenerationReport.from_json(json.loads(kept.read_text()))
    assert [row.setting.batch_size for row in report.rows] == [1, 8]
    assert re.search(r"(m|µ|\\u00b5)J an output token \(modelled, cpu\)", plot.read_text())
    assert "<script src=" not in plot.read_text()  # offline


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dtype", "int3"], "There is no dtype 'int3'"),
        (["--kv-cache", "maybe"], "neither on nor off"),
        (["--batch-size", "0"], "whole numbers above 0"),
        (["--narrow", "wide"], "is not a share"),
        (["--output-tokens", "1"], "2 at least"),
        (["--repeats", "1"], "two repeats"),
        (["--device", "cuda:7"], "cuda:7"),
    ],
)
def test_mistakes_end_with_one_sentence_and_code_2(
    options: list[str],
    message: str,
    tiny_llama: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["greennas", "bench", "llm", "--model", str(tiny_llama), *options])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 2
    stderr = capsys.readouterr().err
    assert message in stderr
    assert stderr.startswith("Error: ")
    assert stderr.count("\n") == 1


def test_modelled_energy_is_proportional_to_watts(tiny_llama: Path) -> None:
    found = [
        bench_generation(
            [tiny_llama],
            batch_sizes=(1,),
            prompt_tokens=(8,),
            output_tokens=(8,),
            plan=WindowPlan(window_s=0.05, repeats=2, max_repeats=2, warmup_s=0.02),
            meter=Meter([CpuTime((watts, watts, watts))]),
        ).rows[0]
        for watts in (1.0, 10.0)
    ]
    energies_j = [row.token_j.value if row.token_j else 0.0 for row in found]
    assert 3 < energies_j[1] / energies_j[0] < 30  # the CPU time of a busy machine is not twice the same


def test_where_nothing_runs_the_reasons_are_told(tiny_llama: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"Nothing of this runs here \(.*context of 256; take fewer .*\); choose other"
    ):
        bench_generation([tiny_llama], prompt_tokens=(255,), output_tokens=(4,), plan=QUICK)


def test_what_torchao_cannot_quantize_is_listed(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quantization = pytest.importorskip("torchao.quantization")

    def refuse(*_: object) -> None:
        raise NotImplementedError("not on this processor")

    monkeypatch.setattr(quantization, "quantize_", refuse)
    with pytest.raises(ConfigError, match=r"cannot make tiny int8 here \(.*not on this processor\); leave int8 out"):
        cast(load_language_model(tiny_llama), "int8")


def test_a_model_whose_layers_torchao_passes_over_is_not_called_int8(tmp_path: Path) -> None:
    file = tmp_path / "gpt2.json"  # its layers are Conv1D of transformers, no nn.Linear
    settings = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 256, "n_positions": 64}
    file.write_text(json.dumps(settings))
    model = load_language_model(file)
    for dtype in ("int8", "int8-weights"):
        with pytest.raises(ConfigError, match=r"0% of gpt2's weights .* leave int8"):
            cast(model, dtype)
    assert cast(model, "bfloat16").weight_bytes < model.weight_bytes


def test_a_cache_that_cannot_be_cut_back_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    settings = {"model_type": "mamba", "hidden_size": 16, "num_hidden_layers": 1, "vocab_size": 64, "state_size": 4}
    file.write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=r"cannot be cut back to the prompt .*; take --kv-cache off"):
        bench_generation([file], prompt_tokens=(8,), output_tokens=(4,), plan=QUICK)
