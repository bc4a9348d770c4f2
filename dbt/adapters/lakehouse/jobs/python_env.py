"""Environments of Python models: the packages a model names, in a folder that lies over what the worker has.

An environment is made by uv once and kept under the hash of what it follows from: interpreter, requirements, and the
versions of the base, which hold as constraints. What the base has in the right version is not installed again, so that a
small requirement is a small folder. For another ``python_version`` the base cannot be shared; DuckDB and pyarrow are then
installed in the base's versions. A finished folder never changes but for bytecode, which is compiled in the background.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dbt.adapters.lakehouse.errors import ConfigError, JobCancelled, PythonModelError
from dbt.adapters.lakehouse.jobs.job import PythonCode, PythonNeeds

KEPT_DAYS = 30
KEPT_COUNT = 200
_COLLECT_SECONDS = 3600
_UV_SECONDS = 600
_POLL_SECONDS = 0.05
_FORMAT = "1"
_OURS = frozenset({"duckdb", "pyarrow"})
"""The model's rows pass through these: whatever it names, they stay as the worker has them."""

_VERSION = re.compile(r"3\.[0-9]{1,2}")
_collected: dict[Path, float] = {}


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An interpreter, and the folders of packages it is to look into, nearest first. ``overlay`` is the one made for it."""

    interpreter: Path
    prefix: Path
    folders: tuple[Path, ...]
    overlay: Path | None = None


def default_folder() -> Path:
    """Where environments are kept unless the settings say otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "dbt-lakehouse" / "environments"


class Environments:
    """Makes and keeps environments in a folder; other processes may do so in the same one at the same time.

    With ``wheels_only`` no package is built from source and none comes from a URL: that would run its code right here.
    """

    def __init__(self, folder: str | Path | None = None, *, wheels_only: bool = False) -> None:
        self._folder = Path(folder) if folder is not None else default_folder()
        self._own_cache = folder is not None and "UV_CACHE_DIR" not in os.environ
        self._wheels_only = wheels_only

    def get(self, code: PythonCode | PythonNeeds, cancelled: Callable[[], bool] = lambda: False) -> Environment:
        """The environment of a model, made if it is not there yet.

        Raises ``ConfigError``, ``PythonModelError``, ``JobCancelled``.
        """
        interpreter, prefix, shared = _interpreter(code.python_version)
        base = site_folders() if shared else ()
        wanted = normalised(code.packages, wheels_only=self._wheels_only)
        if shared and not wanted:
            return Environment(interpreter=interpreter, prefix=prefix, folders=base)
        if shared and _has_all(wanted):
            return Environment(interpreter=interpreter, prefix=prefix, folders=base)
        overlay = self._made(wanted, interpreter, shared, cancelled)
        return Environment(interpreter=interpreter, prefix=prefix, folders=(overlay, *base), overlay=overlay)

    def _made(self, wanted: tuple[str, ...], interpreter: Path, shared: bool, cancelled: Callable[[], bool]) -> Path:
        key = self._key(wanted, interpreter, shared)
        path = self._folder / key / "site-packages"
        if not path.is_dir():
            self._folder.mkdir(parents=True, exist_ok=True)
            with _locked(self._folder / f"{key}.lock", cancelled):
                if not path.is_dir():
                    self._make(wanted, interpreter, shared, path.parent, cancelled)
        with contextlib.suppress(OSError):
            os.utime(path.parent)
        return path

    def _key(self, wanted: tuple[str, ...], interpreter: Path, shared: bool) -> str:
        what = [_FORMAT, str(interpreter), _identity(interpreter, shared), *wanted, str(self._wheels_only)]
        what += (
            [f"{name}=={version}" for name, version in sorted(_base_versions().items())] if shared else _own_versions()
        )
        return hashlib.sha256("\n".join(what).encode()).hexdigest()[:32]

    def _make(
        self, wanted: tuple[str, ...], interpreter: Path, shared: bool, final: Path, cancelled: Callable[[], bool]
    ) -> None:
        with tempfile.TemporaryDirectory(prefix=".making-", dir=self._folder) as temp:
            work = Path(temp) / "environment"
            work.mkdir()
            uv = _Uv(
                interpreter, Path(temp), self._folder / "uv" if self._own_cache else None, self._wheels_only, cancelled
            )
            pins = uv.resolve(wanted, _base_versions() if shared else {}, () if shared else _own_versions())
            missing = [pin for pin in pins if not (shared and _is_in_base(pin))]
            uv.install(missing, work / "site-packages")
            (work / "site-packages").mkdir(exist_ok=True)
            self._take_bytecode(work / "site-packages")
            (work / "environment.json").write_text(json.dumps({"packages": wanted, "installed": missing}))
            work.replace(final)

    def _take_bytecode(self, folder: Path) -> None:
        """Link what environments made before have compiled of the same files.

        What a wheel brings along compiled is removed: it need not be what its source says, and others would take it over.
        """
        for compiled in folder.rglob("*.pyc"):
            compiled.unlink()
        for info in folder.glob("*.dist-info"):
            older = next((p.parent for p in self._folder.glob(f"*/site-packages/{info.name}")), None)
            if older is None:
                continue
            for line in _lines(info / "RECORD"):
                source = line.split(",", 1)[0]
                if source.endswith(".py") and ".." not in source and _is_same(older / source, folder / source):
                    name = Path(_cached(source))
                    with contextlib.suppress(OSError):
                        (folder / name).parent.mkdir(exist_ok=True)
                        os.link(older / name, folder / name)

    def make(self, needs: Iterable[PythonNeeds], cancelled: Callable[[], bool] = lambda: False) -> None:
        """Make what these models need, ahead of them; what goes wrong is said when they run."""
        for one in dict.fromkeys(needs):
            if (one.packages or one.python_version) and not cancelled():
                with contextlib.suppress(Exception):
                    self.compile(self.get(one, cancelled))

    def compile(self, environment: Environment) -> subprocess.Popen[bytes] | None:
        """Start to compile what is new in an environment, once, by a process of low priority that nobody waits for.

        Only its own modules are compiled and nothing of them is run.
        """
        overlay = environment.overlay
        if overlay is None:
            return None
        mark = overlay.parent / "compiled"
        try:
            mark.open("x").close()
        except OSError:
            return None
        script = (
            "import compileall, os, sys; os.nice(10); "
            "compileall.compile_dir(sys.argv[1], quiet=2, maxlevels=50, workers=1)"
        )
        process = subprocess.Popen(
            [environment.interpreter, "-I", "-S", "-c", script, str(overlay)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", "")},
            start_new_session=True,
        )
        # Somebody has to take its exit code.
        threading.Thread(target=process.wait, name="lakehouse-bytecode", daemon=True).start()
        return process

    def collect(self, *, days: float = KEPT_DAYS, count: int = KEPT_COUNT, now: bool = False) -> int:
        """Remove environments that were not used for so many days, and the longest unused ones beyond ``count``.

        Looks at most once an hour unless ``now``. Returns how many it removed.
        """
        last = _collected.get(self._folder)
        if not now and last is not None and time.monotonic() - last < _COLLECT_SECONDS:
            return 0
        _collected[self._folder] = time.monotonic()
        ages = sorted(self._ages())
        removed = 0
        for place, (age, path) in enumerate(ages):
            young = age < days * 86400 and place < count
            if path.name.startswith(".making-"):
                young = age < 86400
            if not young:
                removed += self._remove(path)
        return removed

    def _ages(self) -> Iterator[tuple[float, Path]]:
        with contextlib.suppress(OSError):
            for entry in os.scandir(self._folder):
                if entry.is_dir() and entry.name != "uv":
                    with contextlib.suppress(OSError):
                        yield time.time() - entry.stat().st_mtime, Path(entry.path)

    def _remove(self, path: Path) -> bool:
        """Renamed first: what is half gone must not be found."""
        gone = path.with_name(f".making-gone-{path.name}-{os.getpid()}")
        try:
            path.replace(gone)
        except OSError:
            return False
        shutil.rmtree(gone, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self._folder / f"{path.name}.lock").unlink()
        return True


def normalised(packages: Sequence[str], *, wheels_only: bool = False) -> tuple[str, ...]:
    """Requirements in one form and order. Raises ``ConfigError`` for what is none."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    found = set()
    for text in packages:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise ConfigError(
                f"packages: {text!r} is no requirement ({str(error).splitlines()[0]}); pandas==2.2.* is one"
            ) from error
        if requirement.url is not None and wheels_only:
            raise ConfigError(f"packages: {text!r} names an address; a service installs by name and version")
        requirement.name = canonicalize_name(requirement.name)
        found.add(str(requirement))
    return tuple(sorted(found))


@functools.cache
def site_folders() -> tuple[Path, ...]:
    """The folders of this process's own packages."""
    known = dict.fromkeys(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib"))
    duckdb = next((Path(p) for p in sys.path if p and (Path(p) / "duckdb").is_dir()), None)
    return tuple(p for p in dict.fromkeys([*known, *([duckdb] if duckdb is not None else [])]) if p.is_dir())


def _base_versions() -> dict[str, str]:
    """What the base has: names and versions, as its folders of metadata are called."""
    found: dict[str, str] = {}
    for folder in site_folders():
        for entry in os.scandir(folder):
            if entry.name.endswith(".dist-info"):
                name, _, version = entry.name.removesuffix(".dist-info").partition("-")
                found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    found.pop("dbt-lakehouse", None)
    return found


def _own_versions() -> list[str]:
    base = _base_versions()
    return [f"{name}=={base[name]}" for name in ("duckdb", "pyarrow", "pytz") if name in base]


def _is_in_base(pin: str) -> bool:
    name, _, version = pin.partition("==")
    return _base_versions().get(name) == version


def _has_all(wanted: Sequence[str]) -> bool:
    """Whether the base satisfies every requirement by itself."""
    from packaging.requirements import Requirement

    base = _base_versions()
    for text in wanted:
        requirement = Requirement(text)
        version = base.get(requirement.name)
        plain = requirement.url is None and not requirement.extras and requirement.marker is None
        if version is None or not plain or not requirement.specifier.contains(version, prereleases=True):
            return False
    return True


def _identity(interpreter: Path, shared: bool) -> str:
    if shared:
        return f"{sys.version} {sysconfig.get_platform()}"
    with contextlib.suppress(OSError):
        state = interpreter.stat()
        return f"{state.st_size} {state.st_mtime_ns} {sysconfig.get_platform()}"
    return ""


@functools.cache
def _interpreter(version: str | None) -> tuple[Path, Path, bool]:
    """An interpreter with its prefix, and whether it is the one that runs here."""
    if version is not None and not _VERSION.fullmatch(version):
        # Anything else could be a path, a pattern or an option, by which a model would choose a program to run right here.
        raise ConfigError(f"python_version {version!r} is no version of Python; write for example '3.12'")
    if version is None or version == f"{sys.version_info.major}.{sys.version_info.minor}":
        base = getattr(sys, "_base_executable", None) or sys.executable
        return Path(base).resolve(), Path(sys.base_prefix).resolve(), True
    for candidate in _candidates(version):
        found = _inspect(candidate, version)
        if found is not None:
            return *found, False
    raise ConfigError(
        f"python_version {version!r}: no such interpreter is installed where the model runs; install it there "
        f"(uv python install {version}) or leave python_version out"
    )


def _candidates(version: str) -> Iterator[str]:
    on_path = shutil.which(f"python{version}")
    if on_path is not None:
        yield on_path
    with contextlib.suppress(ConfigError, OSError, subprocess.SubprocessError):
        command = [find_uv(), "python", "find", "--no-python-downloads", "--no-project", version]
        yield subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    folder = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for path in sorted(folder.glob(f"{version}.*"), reverse=True):
        yield str(path / "bin" / "python")


def _inspect(candidate: str, version: str) -> tuple[Path, Path] | None:
    script = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys._base_executable); print(sys.base_prefix)"
    try:
        done = subprocess.run([candidate, "-I", "-c", script], capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    found, executable, prefix = done.stdout.splitlines()
    return (Path(executable).resolve(), Path(prefix).resolve()) if found == version else None


def find_uv() -> str:
    """Uv's path. Raises ``ConfigError`` if it is not installed."""
    beside = Path(sys.executable).with_name("uv")
    path = str(beside) if beside.exists() else shutil.which("uv")
    if path is None:
        raise ConfigError(
            "a Python model names packages or python_version, for which uv is needed, and it is not installed here; "
            "pip install 'dbt-lakehouse[python]'"
        )
    return path


@dataclass(frozen=True)
class _Uv:
    """uv for one environment that is made."""

    interpreter: Path
    folder: Path
    cache: Path | None
    wheels_only: bool
    cancelled: Callable[[], bool]

    def resolve(self, wanted: Sequence[str], base: dict[str, str], beside: Sequence[str]) -> list[str]:
        """Pins of all that the requirements need, in the base's versions where possible."""
        attempts = [_constraints(wanted, base)]
        only_ours = [f"{name}=={version}" for name, version in base.items() if name in _OURS]
        if sorted(only_ours) != sorted(attempts[0]):
            attempts.append(only_ours)
        said = ""
        # What the cache knows is taken first: a look at the index takes longer than all the rest.
        order = [(attempts[0], True), *((constraints, False) for constraints in attempts)]
        order += [(constraints, True) for constraints in attempts[1:]]
        for constraints, offline in order:
            done = self._compile([*wanted, *beside], constraints, offline)
            if isinstance(done, list):
                return done
            said = said if offline else done
        raise PythonModelError(
            f"no environment with {', '.join(wanted) or 'these packages'} can be made: {_cleaned(said)}; "
            "change `packages` of the model"
        )

    def _compile(self, requirements: Sequence[str], constraints: Sequence[str], offline: bool) -> list[str] | str:
        (self.folder / "requirements.txt").write_text("\n".join(requirements))
        (self.folder / "constraints.txt").write_text("\n".join(constraints))
        code, out, err = self._run(
            ["pip", "compile", "--no-header", "--no-annotate"]
            + ["--python", str(self.interpreter), "-c", "constraints.txt", "requirements.txt"]
            + (["--offline"] if offline else [])
        )
        if code != 0:
            return err
        return [line.strip() for line in out.splitlines() if line.strip() and not line.lstrip().startswith(("#", "-"))]

    def install(self, pins: Sequence[str], target: Path) -> None:
        """Put wheels into a folder, as they are."""
        if not pins:
            return
        (self.folder / "pins.txt").write_text("\n".join(pins))
        command = [
            "pip",
            "install",
            "--no-deps",
            "--target",
            str(target),
            "--python",
            str(self.interpreter),
            "-r",
            "pins.txt",
        ]
        code, _, err = self._run([*command, "--offline"])
        if code != 0:
            code, _, err = self._run(command)
        if code != 0:
            raise PythonModelError(f"{', '.join(pins)} cannot be installed: {_cleaned(err)}")

    def _run(self, arguments: Sequence[str]) -> tuple[int, str, str]:
        options = ["--quiet", "--no-config", "--no-progress", "--color", "never"]
        options += ["--cache-dir", str(self.cache)] if self.cache is not None else []
        wheels = ["--no-build"] if self.wheels_only else []
        environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            process = subprocess.Popen(
                [find_uv(), *options, *arguments, *wheels],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
            )
            self._wait(process)
        texts = [(self.folder / name).read_text(errors="replace") for name in ("out", "err")]
        return process.returncode, texts[0], texts[1]

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + _UV_SECONDS
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
                return
            late = time.monotonic() > until
            if late or self.cancelled():
                process.kill()
                process.wait()
                if late:
                    raise PythonModelError(f"uv did not make the environment in {_UV_SECONDS} s")
                raise JobCancelled("the job was cancelled while its environment was made")


def _constraints(wanted: Sequence[str], base: dict[str, str]) -> list[str]:
    """The base's pins but for those that the model itself overrules."""
    from packaging.requirements import Requirement

    asked = {Requirement(text).name: Requirement(text).specifier for text in wanted}
    return [
        f"{name}=={version}"
        for name, version in base.items()
        if name in _OURS or name not in asked or asked[name].contains(version, prereleases=True)
    ]


def _cleaned(text: str) -> str:
    """Uv's message without its drawing, on one line."""
    lines = [re.sub(r"^[\s×╰─▶│├·]+", "", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("warning:", "hint:", "Resolved"))]
    return " ".join(lines).removeprefix("error: ").rstrip(".")[:2000] or "uv says no more"


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8").splitlines()
    return []


def _is_same(one: Path, other: Path) -> bool:
    """Whether two names are one file, as uv links them from its cache."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _cached(source: str) -> str:
    folder, name = os.path.split(source)
    return str(Path(folder) / "__pycache__" / f"{name[:-3]}.{sys.implementation.cache_tag}.pyc")


@contextlib.contextmanager
def _locked(path: Path, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Hold a lock that ends with the process."""
    import fcntl

    with path.open("a+b") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if cancelled():
                    raise JobCancelled("the job was cancelled while its environment was made") from None
                time.sleep(_POLL_SECONDS)
        yield
