"""Energy of text generation: prefill and decoding metered apart, in windows taken in turns.

Prefill is one forward pass over the prompts, which gives each sequence its first output token; decoding is the rest of
the response, one greedy token a step. Every response is generated to its full length. Sequences of a batch begin and
end together (static batches), so these are not the figures of a server that batches continuously.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from greennas.energy import Kind, Meter, open_meter
from greennas.energy.benchmark import Benchmark
from greennas.errors import ConfigError, GreenNASError
from greennas.inference.environment import check_device, environment
from greennas.inference.generation_report import GenerationReport, GenerationRow, GenerationSetting
from greennas.inference.language_model import DTYPES, LanguageModel, cast, load_language_model, name_of
from greennas.inference.windows import Figure, WindowPlan, in_turns

_SEED = 0


def bench_generation(
    sources: Sequence[Path],
    *,
    dtypes: Sequence[str] = ("float32",),
    kv_cache: Sequence[bool] = (True,),
    batch_sizes: Sequence[int] = (1, 8),
    prompt_tokens: Sequence[int] = (128,),
    output_tokens: Sequence[int] = (32,),
    device: str = "cpu",
    plan: WindowPlan | None = None,
    meter: Meter | None = None,
    on_turn: Callable[[int, int], None] | None = None,
) -> GenerationReport:
    """Meter every combination of what is given, all of them in turns; ratios are to the first one.

    Args:
        sources: model folders or configuration files; see ``load_language_model``.
        dtypes: of ``greennas.inference.language_model.DTYPES``.
        kv_cache: with, without, or both.
        batch_sizes: sequences at a time.
        prompt_tokens: lengths of the prompts, which are random tokens.
        output_tokens: lengths of the responses.
        device: as torch names it.
        plan: the windows.
        meter: what to read (default: the best one for the device).
        on_turn: told after each turn how many are done, and how many there are at most.

    Raises:
        ConfigError: no such model, nothing to meter, or transformers is missing.
        MeterError: no such device.
    """
    plan = plan or WindowPlan()
    check_device(device)
    if unknown := [dtype for dtype in dtypes if dtype not in DTYPES]:
        raise ConfigError(f"There is no dtype {unknown[0]!r}; choose of {', '.join(DTYPES)}.")
    names = [name_of(source) for source in sources]
    if len(set(names)) < len(names):
        raise ConfigError(f"Two models are called the same ({', '.join(names)}); rename a folder or a file.")
    settings = [
        GenerationSetting(*values)
        for values in itertools.product(names, dtypes, kv_cache, batch_sizes, prompt_tokens, output_tokens)
    ]
    models: dict[str, dict[str, Any]] = {}
    generators: dict[GenerationSetting, Generator] = {}
    unavailable: list[tuple[str, str]] = []
    for name, source in zip(names, sources, strict=True):
        original = load_language_model(source, device)
        models[name] = {"parameters": original.parameters, "random": original.random, "weight_bytes": {}}
        for dtype in dtypes:
            try:
                model = cast(original, dtype)
            except ConfigError as error:
                unavailable.append((f"{name}, {dtype}", str(error)))
                continue
            models[name]["weight_bytes"][dtype] = model.weight_bytes
            for setting in (each for each in settings if (each.model, each.dtype) == (name, dtype)):
                try:
                    generators[setting] = Generator(model, setting, device)
                except Exception as error:
                    unavailable.append((str(setting), _reason(error)))
        del original
        gc.collect()
    if not generators:
        reasons = "; ".join(": ".join(each).rstrip(".") for each in unavailable)
        raise ConfigError(f"Nothing of this runs here ({reasons}); choose other settings.")
    functions: dict[str, Callable[[], object]] = {}
    for number, generator in enumerate(generators.values()):
        functions |= {f"{number} prefill": generator.prefill, f"{number} decode": generator.decode}
    own = meter or open_meter(device)
    try:
        found = in_turns(functions, own, plan, on_turn)
    finally:
        if meter is None:
            own.close()
    rows = tuple(
        _row(setting, found[f"{number} prefill"], found[f"{number} decode"], plan)
        for number, setting in enumerate(generators)
    )
    return GenerationReport(
        tuple(_with_ratio(row, rows[0], found, number, plan) for number, row in enumerate(rows)),
        tuple(unavailable),
        models,
        plan,
        environment(device, ("transformers", "torchao")),
        tuple(_notes(models)),
    )


class Generator:
    """Prefill and decoding of one batch, each as often as one likes.

    Raises:
        ConfigError: the sequences are longer than the model's context, or its cache cannot be cut back.
    """

    def __init__(self, model: LanguageModel, setting: GenerationSetting, device: str) -> None:
        length = setting.prompt_tokens + setting.output_tokens
        if model.context is not None and length > model.context:
            raise ConfigError(
                f"{length} tokens are more than the model's context of {model.context}; take fewer by --prompt-tokens "
                "or --output-tokens."
            )
        self._module: Any = model.module
        self._cached = setting.kv_cache
        self._steps = setting.output_tokens - 1
        random = torch.Generator().manual_seed(_SEED)
        shape = (setting.batch_size, setting.prompt_tokens)
        self._prompt = torch.randint(model.vocabulary, shape, generator=random).to(device)
        self._first, self._cache = self._forward(self._prompt, None)
        if self._cached and (self._cache is None or not hasattr(self._cache, "crop")):
            raise ConfigError(
                "The model's cache cannot be cut back to the prompt to repeat decoding; take --kv-cache off."
            )
        self.decode()

    def prefill(self) -> None:
        """The first output token of every prompt."""
        self._forward(self._prompt, None)

    def decode(self) -> Tensor:
        """All further output tokens, (batch, output_tokens - 1)."""
        tokens, cache = self._first, self._cache
        sequence = tokens if self._cached else torch.cat([self._prompt, tokens], dim=1)
        made: list[Tensor] = []
        for _ in range(self._steps):
            tokens, cache = self._forward(sequence, cache)
            made.append(tokens)
            sequence = tokens if self._cached else torch.cat([sequence, tokens], dim=1)
        if self._cached:
            self._cache.crop(-self._steps)  # a view: the next call begins behind the prompt again
        return torch.cat(made, dim=1)

    @torch.inference_mode()
    def _forward(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """The most likely next token of each sequence, (batch, 1), and the cache."""
        found = self._module(
            input_ids=tokens, past_key_values=cache, use_cache=self._cached, logits_to_keep=1, return_dict=True
        )
        kept = getattr(found, "past_key_values", None) if self._cached else None  # some models have states of their own
        return found.logits[:, -1:].argmax(dim=-1), kept


def _row(setting: GenerationSetting, prefill: Benchmark, decode: Benchmark, plan: WindowPlan) -> GenerationRow:
    batch, steps = setting.batch_size, setting.output_tokens - 1
    known = prefill.kind == decode.kind
    bounds = [each.bounds_j for each in (prefill, decode) if each.bounds_j is not None]
    token_bounds = None
    if known and len(bounds) == 2:
        low, high = (sum(each[end] for each in bounds) / batch / setting.output_tokens for end in (0, 1))
        token_bounds = (low, high)

    def figure(each_j: Iterable[float], share: float) -> Figure | None:
        return Figure.of([joules / share for joules in each_j], plan.confidence)

    readings = (*prefill.readings, *decode.readings)
    response_s = (prefill.latency_ms + decode.latency_ms) / 1e3
    return GenerationRow(
        setting=setting,
        component=prefill.component,
        kind=prefill.kind if known else Kind.UNAVAILABLE,
        prefill_j=figure(prefill.each_j, batch),
        prefill_token_j=figure(prefill.each_j, batch * setting.prompt_tokens),
        decode_token_j=figure(decode.each_j, batch * steps),
        response_j=figure(_response_j(prefill, decode), batch),
        token_j=figure(_response_j(prefill, decode), batch * setting.output_tokens),
        bounds_token_j=token_bounds,
        ratio=None,
        first_token_ms=prefill.latency_ms,
        token_ms=decode.latency_ms / steps,
        tokens_per_s=batch * setting.output_tokens / response_s,
        windows=len(prefill.readings),
        window_s=sum(reading.seconds for reading in readings) / len(readings),
        shared=any(reading.shared for reading in readings),
    )


def _response_j(prefill: Benchmark, decode: Benchmark) -> list[float]:
    """Joules of a batch of responses, turn by turn; empty where they are not known or not of one kind."""
    if prefill.kind != decode.kind or not prefill.each_j or not decode.each_j:
        return []
    return [one + other for one, other in zip(prefill.each_j, decode.each_j, strict=True)]


def _with_ratio(
    row: GenerationRow, first: GenerationRow, found: Mapping[str, Benchmark], number: int, plan: WindowPlan
) -> GenerationRow:
    if row.kind != first.kind:
        return row

    def each(of: GenerationRow, at: int) -> list[float]:
        tokens = of.setting.batch_size * of.setting.output_tokens
        return [joules / tokens for joules in _response_j(found[f"{at} prefill"], found[f"{at} decode"])]

    return replace(row, ratio=Figure.ratio(each(row, number), each(first, 0), plan.confidence))


def _notes(models: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    yield "Prompts are random tokens, responses greedy and all of full length, batches static."
    if any(facts["random"] for facts in models.values()):
        yield "Models from a configuration have random weights: their energy is real, their answers mean nothing."


def _reason(error: Exception) -> str:
    if isinstance(error, GreenNASError):
        return str(error)
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
