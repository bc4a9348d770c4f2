"""What a pool has, and what of it a job gets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dbt.adapters.lakehouse.errors import ConfigError
from dbt.adapters.lakehouse.jobs.job import Job
from dbt.adapters.lakehouse.settings import LakeSettings

_UNITS = {"": 1, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?(?:ytes?)?\s*", re.IGNORECASE)
_SHARE = 0.8
_MIB = 1 << 20
_LEAST = 16 * _MIB
_MARGIN = 512 * _MIB
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """How a pool behaves; None takes the default that is named here.

    ``cpus`` and ``memory`` are what all running jobs share (the machine's cores; 80 % of its memory, or ``memory_limit``
    for each worker), ``job_cpus`` and ``job_memory`` what one gets that asks for nothing (an equal part). ``timeout`` and
    ``retries`` are for jobs that do not say. ``extra_workers`` may be made beyond ``workers`` while others are kept by
    sessions that do nothing at the moment (as many again). A worker ends after ``idle_seconds``, after ``recycle_jobs``, or
    when it has grown beyond ``recycle_memory``. A job that finds the queue full, or waits longer than ``wait_seconds``, is
    ``Busy``. ``environment`` is added to the workers', which is otherwise bare.
    """

    cpus: int | None = None
    memory: str | None = None
    job_cpus: int | None = None
    job_memory: str | None = None
    timeout: float | None = None
    retries: int = 2
    extra_workers: int | None = None
    idle_seconds: float = 60
    recycle_jobs: int = 1000
    recycle_memory: str = "1GB"
    queue_length: int = 1000
    queue_per_user: int = 250
    wait_seconds: float = 3600
    grace_seconds: float = 0.7
    backoff_seconds: float = 0.2
    environment: Mapping[str, str] = field(default_factory=dict)


def size_of(text: str) -> int:
    """The bytes that a size (``512MB``, ``1.5GiB``) stands for."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is not a size of memory; write for example 512MB or 4GB")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** (_UNITS[unit.lower()] if unit else 0))


def text_of(size: int) -> str:
    """The inverse, in words that DuckDB and people understand."""
    return f"{size // _MIB}MiB"


@dataclass(frozen=True, kw_only=True)
class Share:
    """Cores, and bytes of memory."""

    cpus: int
    memory: int

    @property
    def process_memory(self) -> int:
        """What the process may have beyond what it had when new: DuckDB does not count all that it takes."""
        return self.memory + self.memory // 4 + _MARGIN + self.cpus * 16 * _MIB


class Budget:
    """A pool's whole, and the parts that jobs get."""

    def __init__(self, settings: LakeSettings, options: PoolOptions) -> None:
        workers = max(settings.workers, 1)
        cpus = options.cpus or max(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, 1)
        each = options.job_memory or settings.memory_limit
        if options.memory is not None:
            memory = size_of(options.memory)
        elif settings.memory_limit is not None:
            memory = size_of(settings.memory_limit) * workers
        else:
            memory = int(_machine_memory() * _SHARE)
        self.total = Share(cpus=cpus, memory=memory)
        self._each = Share(
            cpus=options.job_cpus or max(1, cpus // workers),
            memory=min(size_of(each) if each is not None else memory // workers, memory),
        )
        if options.job_cpus is not None and options.job_cpus > cpus:
            raise ConfigError(f"each job shall get {options.job_cpus} cpus, but the pool has {cpus}")

    def part(self, job: Job, *, more: bool = False) -> Share:
        """What a job gets; with ``more``, its ``max_memory``. Raises ``ConfigError`` if the pool does not have that."""
        wanted = job.resources
        if wanted.cpus is not None and not 1 <= wanted.cpus <= self.total.cpus:
            raise ConfigError(
                f"{job.label} asks for {wanted.cpus} cpus; the pool has {self.total.cpus}: ask for 1 to that"
            )
        text = wanted.max_memory if more and wanted.max_memory is not None else wanted.memory
        memory = self._each.memory if text is None else size_of(text)
        if memory > self.total.memory:
            raise ConfigError(
                f"{job.label} asks for {text} of memory; the pool has {text_of(self.total.memory)}: "
                "ask for less, or give the pool more"
            )
        if memory < _LEAST:
            raise ConfigError(f"{job.label} asks for {text} of memory; no job runs in less than {text_of(_LEAST)}")
        return Share(cpus=wanted.cpus or self._each.cpus, memory=memory)

    def more(self, job: Job) -> bool:
        """Whether the job names more memory for another attempt, and the pool has it."""
        most = job.resources.max_memory
        return most is not None and self.part(job).memory < size_of(most) <= self.total.memory


def limited(job: Job, share: Share) -> Job:
    """The job with its limits filled in."""
    resources = replace(job.resources, cpus=share.cpus, memory=text_of(share.memory))
    return replace(job, resources=resources)


def _machine_memory() -> int:
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in map(Path, _CGROUPS):
        try:
            found.append(int(file.read_text()))
        except (OSError, ValueError):
            continue
    return min(found)
