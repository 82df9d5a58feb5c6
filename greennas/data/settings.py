"""The settings of a search that say which images."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from greennas.data.dataset import Dataset
from greennas.data.load import DEFAULT_MEMORY_GB, load_data


class DataSettings(BaseModel):
    """Which images."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    name: str = "digits"
    dir: Path | None = None
    train_images: int | None = Field(default=None, ge=1)
    """Train on a fixed subset of so many images."""
    validation_images: int | None = Field(default=None, ge=1)
    """Compare networks on a fixed subset of so many images."""
    resolution: int | None = Field(default=None, ge=1)
    """Side in pixels that images are resized to."""
    memory_gb: float = Field(default=DEFAULT_MEMORY_GB, ge=0)
    """Gigabytes that the decoded images of a folder may take; larger ones are streamed from their files."""
    decode_threads: int | None = Field(default=None, ge=0)
    """Threads that decode streamed images for one training; None: the cores divided by the workers."""

    def load(self, cores: float) -> Dataset:
        """The data set.

        Args:
            cores: of each training, for the threads that decode.

        Raises:
            DataError: as for ``load_data``.
        """
        return load_data(
            self.name,
            self.dir,
            train_images=self.train_images,
            validation_images=self.validation_images,
            resolution=self.resolution,
            memory_gb=self.memory_gb,
            decode_threads=max(1, int(cores)) if self.decode_threads is None else self.decode_threads,
        )
