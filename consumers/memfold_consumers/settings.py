"""Settings of an engine process: environment variables ``MEMFOLD_*``, overridden by arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class EngineSettings(BaseSettings):
    """What an engine needs to know. Limits of the fold are no settings: they decide outcomes."""

    model_config = SettingsConfigDict(env_prefix="MEMFOLD_", frozen=True, extra="ignore")

    data: Path = Path(".memfold")
    """Directory of ``log.duckdb`` and the generations."""
    namespace: str = "memfold"
    """The independent memory to fold: names its streams and subjects."""
    replicas: Annotated[int, Field(ge=1, le=5)] = 1
    """Replicas of streams that do not exist yet; existing ones are left as they are."""
    duplicate_window_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds in which the server refuses a second message with the same Nats-Msg-Id."""
    align_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds between two comparisons of the stream with the log."""
    head_s: Annotated[float, Field(gt=0)] = 10.0
    """Seconds between two heads of the tree while there are fewer than 10,000 new leaves."""
    sweep_s: Annotated[float, Field(ge=0)] = 0.0
    """Seconds between two sweeps of attachments that nobody refers to; 0 for none."""
    duckdb_memory_mib: Annotated[int, Field(ge=256)] = 1024
    """MiB of memory that DuckDB may use for log and projection, half for each."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Loopback port of Prometheus metrics; 0 for none. Needs the extra ``memfold[metrics]``."""
    keys: Annotated[Path | None, BeforeValidator(lambda given: given or None)] = None
    """Directory of the keys that sealed events are opened with. Needs ``memfold[sealing]``."""
    telemetry: bool = False
    """OpenTelemetry traces of the query handlers. Needs the extra ``memfold[telemetry]``."""
