"""Causal language models from a local folder, or with random weights from a configuration: nothing is downloaded."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from greennas.errors import ConfigError, bare_reason
from greennas.libraries import load_library, quiet

DTYPES: dict[str, tuple[torch.dtype, str | None]] = {
    "float32": (torch.float32, None),
    "bfloat16": (torch.bfloat16, None),
    "float16": (torch.float16, None),
    "int8": (torch.float32, "Int8DynamicActivationInt8WeightConfig"),
    "int8-weights": (torch.bfloat16, "Int8WeightOnlyConfig"),
}
"""What a model may run in: its floating point type, and torchao's configuration of its linear layers."""
_LEAST_QUANTIZED = 0.5  # of the weights: GPT-2's layers are Conv1D, experts of a mixture are often no modules at all


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A causal language model.

    Attributes:
        name: of its folder or configuration file.
        module: in evaluation mode, in ``dtype``.
        dtype: one of ``DTYPES``.
        parameters: their number, tied ones once.
        weight_bytes: bytes of its weights, as they are kept.
        random: whether the weights are random.
    """

    name: str
    module: nn.Module
    dtype: str
    parameters: int
    weight_bytes: int
    random: bool

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return int(self._text_config.vocab_size)

    @property
    def context(self) -> int | None:
        """Most tokens of a sequence; None where the configuration does not say."""
        found = getattr(self._text_config, "max_position_embeddings", None)
        return int(found) if found else None

    @property
    def _text_config(self) -> Any:
        config: Any = self.module.config
        return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config


def name_of(source: Path) -> str:
    """What a model is called: as its folder, or as its configuration where that is not just called ``config.json``."""
    whole = source.resolve()
    if source.is_dir():
        return whole.name
    return whole.parent.name if source.name == "config.json" else source.stem


def load_language_model(source: Path, device: torch.device | str = "cpu", seed: int = 0) -> LanguageModel:
    """The model of a local folder (``config.json``, ``*.safetensors``), or of a configuration, with random weights.

    Code that comes with a model is never run, pickled weights are never read, and the hub is never asked.

    Args:
        source: folder, or JSON file as ``config.json`` of any model that transformers has itself.
        device: where to put it.
        seed: of random weights. Energy does not depend on the weights' values, apart from what a GPU's power owes to
            the bits that flip.

    Returns:
        The model in float32; ``cast`` gives it in others.

    Raises:
        ConfigError: transformers is missing, or there is no such model here.
    """
    transformers = load_library("transformers", "llm", "The benchmark of language models")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    folder = source.is_dir()
    settings = _settings(source / "config.json" if folder else source)
    if folder and not any(source.glob("*.safetensors")):
        raise ConfigError(
            f"{source} holds no *.safetensors; convert its weights, or give {source / 'config.json'} for random ones."
        )
    try:
        with quiet(), torch.random.fork_rng([]):
            torch.manual_seed(seed)
            if folder:
                module = transformers.AutoModelForCausalLM.from_pretrained(
                    str(source),
                    dtype=torch.float32,
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                )
            else:
                config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
                module = transformers.AutoModelForCausalLM.from_config(
                    config, dtype=torch.float32, trust_remote_code=False
                )
            module = module.to(device).eval()
    except Exception as error:  # transformers raises whatever its parts do
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"The language model {source} cannot be made ({type(error).__name__}: {first}); "
            "give a model that generates text and that this version of transformers has."
        ) from error
    return _described(name_of(source), module, "float32", not folder)


def cast(model: LanguageModel, dtype: str) -> LanguageModel:
    """A copy of a float32 model in another of ``DTYPES``.

    Raises:
        ConfigError: torchao is missing, or cannot quantize this model or most of it.
    """
    if dtype == model.dtype:
        return model
    floating, name = DTYPES[dtype]
    quantization = load_library("torchao.quantization", "compress", f"The dtype {dtype}") if name else None
    if quantization is not None and (share := _linear_share(model.module)) < _LEAST_QUANTIZED:
        raise ConfigError(
            f"torchao quantizes linear layers alone, and {share:.0%} of {model.name}'s weights (without embeddings and "
            f"output layer) are in such, so that it would hardly be {dtype}; leave {dtype} out."
        )
    module = copy.deepcopy(model.module).to(floating)
    if quantization is not None and name is not None:
        try:
            with quiet():
                quantization.quantize_(module, getattr(quantization, name)())
        except Exception as error:
            raise ConfigError(
                f"torchao cannot make {model.name} {dtype} here ({type(error).__name__}: {error}); leave {dtype} out."
            ) from error
    return _described(model.name, module, dtype, model.random, model.parameters)


def _settings(file: Path) -> dict[str, Any]:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The model's configuration {file} cannot be read ({bare_reason(error)}); "
            "give a local model folder or a config.json."
        ) from error
    if not isinstance(settings, dict) or not isinstance(settings.get("model_type"), str):
        raise ConfigError(f"{file} does not name its model_type; give a config.json as transformers writes it.")
    if settings.get("auto_map"):
        raise ConfigError(
            f"{file} wants code of its own to be run (auto_map), which is never done; "
            "give a model that transformers has itself."
        )
    return settings


def _described(name: str, module: nn.Module, dtype: str, random: bool, parameters: int | None = None) -> LanguageModel:
    counted = sum(parameter.numel() for parameter in module.parameters()) if parameters is None else parameters
    return LanguageModel(name, module, dtype, counted, _weight_bytes(module), random)


def _linear_share(module: Any) -> float:
    """Share of the weights, without those of embeddings and the output layer, that are in linear layers."""
    ends = [each for each in module.modules() if isinstance(each, nn.Embedding)]
    ends += [each for each in (module.get_output_embeddings(),) if each is not None]
    apart = {id(parameter) for each in ends for parameter in each.parameters()}
    linear = {id(each.weight) for each in module.modules() if isinstance(each, nn.Linear)}
    between = [parameter for parameter in module.parameters() if id(parameter) not in apart]
    whole = sum(parameter.numel() for parameter in between)
    return sum(parameter.numel() for parameter in between if id(parameter) in linear) / whole if whole else 0.0


def _weight_bytes(module: nn.Module) -> int:
    """Bytes of parameters and buffers; of a quantized tensor those of its parts."""
    total = 0
    for tensor in (*module.parameters(), *module.buffers()):
        names = tensor.__tensor_flatten__()[0] if hasattr(tensor, "__tensor_flatten__") else []
        parts = [getattr(tensor, name) for name in names]
        total += sum(part.nbytes for part in parts if isinstance(part, torch.Tensor)) if parts else tensor.nbytes
    return total
