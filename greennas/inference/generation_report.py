"""What generating text cost: one row for each way to do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from greennas.energy import Kind
from greennas.errors import ConfigError
from greennas.inference.windows import Figure, WindowPlan


@dataclass(frozen=True)
class GenerationSetting:
    """One way to generate text.

    Attributes:
        model: name of the model.
        dtype: one of ``greennas.inference.language_model.DTYPES``.
        kv_cache: whether keys and values of earlier tokens are kept, or computed again for each token.
        batch_size: sequences at a time.
        prompt_tokens: length of every prompt.
        output_tokens: length of every response, two or more: the first token ends the prefill.
    """

    model: str
    dtype: str = "float32"
    kv_cache: bool = True
    batch_size: int = 1
    prompt_tokens: int = 128
    output_tokens: int = 32

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.prompt_tokens < 1 or self.output_tokens < 2:
            raise ConfigError(
                f"A batch of {self.batch_size}, prompts of {self.prompt_tokens} and responses of {self.output_tokens} "
                "tokens cannot be generated; take 1, 1 and 2 at least."
            )

    def __str__(self) -> str:
        cache = "" if self.kv_cache else ", no KV cache"
        return (
            f"{self.model}, {self.dtype}{cache}, batch {self.batch_size}, "
            f"{self.prompt_tokens} + {self.output_tokens} tokens"
        )


@dataclass(frozen=True)
class GenerationRow:
    """What one way to generate text cost, in steady state. Energies are None where nothing could be read.

    Attributes:
        setting: the way.
        component: what was metered, "gpu" or "cpu".
        kind: kind of all joules here.
        prefill_j: joules a prompt until its first output token.
        prefill_token_j: the same a prompt token.
        decode_token_j: joules an output token after the first.
        response_j: joules a response, prefill and decoding.
        token_j: joules of a response by its output tokens.
        bounds_token_j: what the counter or the model leaves open for ``token_j``: low, high.
        ratio: ``token_j`` over that of the report's first row, turn by turn; None for other kinds of joules.
        first_token_ms: milliseconds until the first output token of a batch.
        token_ms: milliseconds between two output tokens of a sequence.
        tokens_per_s: output tokens of all sequences a second, prefill included.
        windows: of each phase.
        window_s: their mean seconds.
        shared: whether something else was seen to run on the device: joules are then upper bounds.
    """

    setting: GenerationSetting
    component: str
    kind: Kind
    prefill_j: Figure | None
    prefill_token_j: Figure | None
    decode_token_j: Figure | None
    response_j: Figure | None
    token_j: Figure | None
    bounds_token_j: tuple[float, float] | None
    ratio: Figure | None
    first_token_ms: float
    token_ms: float
    tokens_per_s: float
    windows: int
    window_s: float
    shared: bool = False

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``."""
        return asdict(self) | {"kind": str(self.kind)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GenerationRow:
        """Read what ``to_json`` wrote."""
        figures = {
            name: Figure.from_json(data[name])
            for name in ("prefill_j", "prefill_token_j", "decode_token_j", "response_j", "token_j", "ratio")
        }
        bounds = data["bounds_token_j"]
        return cls(
            **{
                **data,
                **figures,
                "setting": GenerationSetting(**data["setting"]),
                "kind": Kind(data["kind"]),
                "bounds_token_j": (bounds[0], bounds[1]) if bounds else None,
            }
        )


@dataclass(frozen=True)
class GenerationReport:
    """What generating text cost on one machine, in windows taken in turns.

    Attributes:
        rows: one for each way; the first is what the others' ratios are to.
        unavailable: ways that did not run here, with the reason.
        models: by name: parameters, random (whether the weights are), weight_bytes by dtype.
        plan: the windows.
        environment: device, threads, versions.
        notes: what a reader of the figures must know.
    """

    rows: tuple[GenerationRow, ...]
    unavailable: tuple[tuple[str, str], ...]
    models: Mapping[str, Mapping[str, Any]]
    plan: WindowPlan
    environment: Mapping[str, Any]
    notes: tuple[str, ...] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dictionary, read back by ``from_json``."""
        return {
            "rows": [row.to_json() for row in self.rows],
            "unavailable": [{"what": what, "reason": reason} for what, reason in self.unavailable],
            "models": {name: dict(facts) for name, facts in self.models.items()},
            "plan": asdict(self.plan),
            "environment": dict(self.environment),
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GenerationReport:
        """Read what ``to_json`` wrote.

        Raises:
            ConfigError: a missing, unknown or malformed field.
        """
        try:
            known = {each.name: data[each.name] for each in fields(cls)}
            return cls(
                **{
                    **known,
                    "rows": tuple(GenerationRow.from_json(row) for row in data["rows"]),
                    "unavailable": tuple((each["what"], each["reason"]) for each in data["unavailable"]),
                    "plan": WindowPlan(**data["plan"]),
                    "notes": tuple(data["notes"]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"Not a report of bench llm: {error!r}; give JSON as written by to_json.") from error
