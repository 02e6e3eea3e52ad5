"""Settings, read once at the edge: flags, then MEDIAMILL_* variables, then a .env file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.tempo import Tempo
from storage.errors import InvalidJob
from workers.machine import cores


class Settings(BaseSettings):
    """How this process runs; nothing here changes what a job's records say."""

    model_config = SettingsConfigDict(
        env_prefix="MEDIAMILL_", env_file=".env", extra="ignore", frozen=True
    )

    broker_url: str = Field("redis://127.0.0.1:6379/0", description="Redis, for submit and worker")
    model: str = Field("tiny", description="what a worker loads, and jobs ask for by default")
    local_roots: str | None = Field(
        None, description="local folders whose media a worker may read, separated by ':'"
    )
    allow_private_urls: bool = Field(
        False, description="let media come from http:// and from private addresses"
    )
    url_hosts: str | None = Field(
        None,
        description="the only hosts URLs may lead to, separated by ','; *.x.org for all below",
    )
    url_headers: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        repr=False,
        description="headers to send with requests to a host, as JSON by host; never on a redirect",
    )
    slots: int | None = Field(None, ge=1, le=256, description="open shards of a worker")
    fetchers: int | None = Field(None, ge=1, le=512, description="media fetched at once")
    decoders: int = Field(
        default_factory=lambda: max(1, cores() - 1),
        ge=1,
        description="decode processes",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="what the engine runs on")
    profile: Literal["auto", "quick-start", "low-memory", "text"] = Field(
        "auto", description="what a worker runs for, where nothing is set by hand"
    )
    engines: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        "auto", description="engines of a worker, over all of its GPUs"
    )
    mps: bool = Field(True, description="engines that share a GPU do so by NVIDIA's MPS")
    engine_options: dict[str, Any] = Field(
        default_factory=dict, description="arguments of the engine, as JSON, by vLLM's names"
    )
    time_scale: float = Field(
        1.0, gt=0, description="all of the protocol's times are multiplied by this (for tests)"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"

    @property
    def tempo(self) -> Tempo:
        """The protocol's times."""
        return Tempo(self.time_scale)

    @property
    def hosts(self) -> list[str] | None:
        """`url_hosts` one by one; None for any."""
        if self.url_hosts is None:
            return None
        return [host for part in self.url_hosts.split(",") if (host := part.strip())]

    @property
    def roots(self) -> list[Path]:
        """`local_roots` as folders."""
        return [Path(part) for part in (self.local_roots or "").split(":") if part]


def load_settings(**flags: Any) -> Settings:
    """Settings with these flags on top; a flag of None was not given. Raises InvalidJob."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        faults = error.errors(include_url=False)
        name = faults[0]["loc"][0]
        # One that may be of several kinds says of each why it is not.
        told = "; or ".join(fault["msg"] for fault in faults if fault["loc"][0] == name)
        raise InvalidJob(f"setting MEDIAMILL_{str(name).upper()}: {told}") from None
