"""Environments made for requirements: a virtual environment each, kept, with this harness linked into it."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import harness
from harness.cache import Entry, hash_tree
from harness.errors import HarnessError
from harness.vocabulary import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

SUPPORT = ("numpy>=1.26", "pillow>=10")
"""What a worker needs besides its engine: tensors, and the decoding of images where they are evaluated."""

FOLDER = "environments"
"""Below the folder of a cache, where they are kept."""

_FORM = 1  # of what is kept: another number, another folder
_INSTALL_S = 1800.0
_ASK_S = 120.0
_LINKED, _COMPLETE = "linked", "complete"
_LINK_FILE = "inference-harness.pth"
_SHOWN_LINES = 3
_ASK = (
    "import json, platform, site\n"
    "from importlib import metadata\n"
    "names = {d: (d.metadata['Name'] or '').lower().replace('_', '-') for d in metadata.distributions()}\n"
    "python = f'{platform.python_implementation()} {platform.python_version()}'\n"
    "held = {name: d.version for d, name in names.items()}\n"
    "print(json.dumps({'python': python, 'held': held, 'site': site.getsitepackages()[0]}))\n"
)


@dataclass(frozen=True)
class Installed:
    """What an interpreter's environment holds."""

    interpreter: str
    python: str  # implementation and version
    versions: Mapping[str, str]  # by normalised name of the distribution
    site: str = ""  # the folder that distributions are installed into


@dataclass(frozen=True)
class Wanted:
    """What an environment is made of."""

    requirements: tuple[str, ...]  # as pip takes them; a wheel by its path
    support: tuple[str, ...] = SUPPORT
    packages: Mapping[str, Path] = field(default_factory=dict)  # linked into it, by name, see ``packages_of``

    @property
    def key(self) -> str:
        """Identity: the requirements as they are written, wheels by their content, and the Python beneath."""
        written = [hash_tree(Path(each))[0] if os.path.isfile(each) else each for each in self.requirements]  # noqa: PTH113 - of a text that may be no path
        beneath = [platform.python_implementation(), platform.python_version(), platform.machine(), sys.base_prefix]
        return digest({"form": _FORM, "python": beneath, "requirements": written, "support": list(self.support)})


def packages_of(targets: Iterable[str]) -> dict[str, Path]:
    """Return where the harness and the adapters at ``module:attribute`` lie: a file or folder by its name.

    Raises ``HarnessError`` for an adapter that is not there.
    """
    found = {"harness": Path(harness.__file__).absolute().parent}
    for name in sorted({target.partition(":")[0].partition(".")[0] for target in targets}):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise HarnessError(f"the package {name} is not to be found", "install what offers the adapter anew")
        origin = Path(spec.origin).absolute()
        place = origin.parent if spec.submodule_search_locations else origin
        found[place.name] = place
    return found


def environment(wanted: Wanted, root: Path, told: Callable[[str], None], *, refresh: bool = False) -> Installed:
    """Return the environment of some requirements, made where there is none yet or where ``refresh`` asks for it.

    It is kept under ``root`` whole or not at all; a second process that wants the same waits for the first. ``told``
    is called with a word before what takes long. Raises ``HarnessError`` with the installer's own last words.
    """
    folder = root / wanted.key[:20]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _held(root / f".{folder.name}.lock", told):
            found = None if refresh or not (folder / _COMPLETE).is_file() else _known(folder)
            if found is None:
                told(f"an environment with {' '.join(wanted.requirements)}")
                shutil.rmtree(folder, ignore_errors=True)
                _install(folder, wanted)
                found = installed(str(_python(folder)))
            # Anew each time: where this harness lies may have changed since.
            _link(folder, wanted.packages, Path(found.site))
            (folder / _COMPLETE).write_text("\n".join(wanted.requirements), encoding="utf-8")
    except OSError as error:
        hint = "free some space there, or set HARNESS_CACHE to a folder that can be written"
        raise HarnessError(f"{root}: no environment can be made: {error.strerror or error}", hint) from error
    return found


def installed(interpreter: str) -> Installed:
    """Return what an interpreter's environment holds. Raises ``HarnessError`` where it does not say."""
    hint = "name a Python executable, such as .venv/bin/python"
    try:
        # Isolated: neither the user's folder nor PYTHONPATH is part of it, as in a launch.
        done = subprocess.run(
            [interpreter, "-I", "-c", _ASK], capture_output=True, text=True, timeout=_ASK_S, check=False
        )
        said = json.loads(done.stdout)
        return Installed(interpreter, said["python"], dict(sorted(said["held"].items())), said["site"])
    except (OSError, subprocess.SubprocessError) as error:
        raise HarnessError(f"{interpreter} cannot be run: {error}", hint) from error
    except (ValueError, KeyError, TypeError) as error:
        words = _last(done.stderr) or f"it ended with {done.returncode}"
        raise HarnessError(f"{interpreter} does not say what it holds: {words}", hint) from error


def kept(root: Path) -> Iterator[Entry]:
    """Yield the environments under ``root`` as a cache tells of its entries: those too that were left half made.

    One that a process is making or opening just now is left out.
    """
    for folder in sorted(each for each in root.glob("[!.]*") if each.is_dir()):
        mark = folder / _COMPLETE
        whole = mark.is_file()
        with suppress(OSError):
            if not _is_held(root / f".{folder.name}.lock"):
                meta = {"requirements": mark.read_text(encoding="utf-8").split("\n") if whole else []}
                used_s = (mark if whole else folder).stat().st_mtime
                yield Entry(FOLDER, folder.name, folder, meta, _size_bytes(folder), used_s, folder)


def _size_bytes(folder: Path) -> int:
    """Return what a folder takes; what it links to lies elsewhere."""
    files = (Path(inside) / name for inside, _, names in os.walk(folder) for name in names)
    return sum(file.lstat().st_size for file in files)


def _is_held(lock: Path) -> bool:
    """Return whether a process holds a lock."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _known(folder: Path) -> Installed | None:
    """Return what a kept environment holds; ``None`` where it does not run any more, as after its Python went."""
    with suppress(HarnessError):
        return installed(str(_python(folder)))
    return None


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _install(folder: Path, wanted: Wanted) -> None:
    """Make the environment with uv where it is on the path, else with venv and pip. Raises ``HarnessError``."""
    python, requirements = str(_python(folder)), [*wanted.requirements, *wanted.support]
    uv = shutil.which("uv")
    if uv is not None:
        hint = "check the version and the network; uv's own variables hold here, such as UV_DEFAULT_INDEX"
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], wanted, hint)
        _run([uv, "pip", "install", "--quiet", "--python", python, *requirements], wanted, hint)
        return
    hint = "check the version and the network; pip's own variables hold here, such as PIP_INDEX_URL"
    if not _has_pip():
        raise HarnessError("there is neither uv nor pip to make an environment with", "install uv: pip install uv")
    # pip installs from outside: nothing but what is compared is in the environment, and ensurepip need not be there.
    _run([sys.executable, "-P", "-m", "venv", "--without-pip", str(folder)], wanted, hint)
    pip = [sys.executable, "-P", "-m", "pip", "--python", python, "--disable-pip-version-check", "--no-input"]
    _run([*pip, "install", "--quiet", *requirements], wanted, hint)


def _has_pip() -> bool:
    # Looked up as a distribution: setuptools hooks itself into every search for the module.
    try:
        metadata.distribution("pip")
    except metadata.PackageNotFoundError:
        return False
    return True


def _run(command: Sequence[str], wanted: Wanted, hint: str) -> None:
    kept = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONHOME"}}
    what = f"{' '.join(wanted.requirements)} cannot be installed"
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=kept, timeout=_INSTALL_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise HarnessError(f"{what}: no end after {_INSTALL_S:g} s", hint) from error
    if done.returncode:
        raise HarnessError(f"{what}: {_last(done.stderr) or _last(done.stdout)}", hint)


def _last(text: str) -> str:
    """Return the last lines of what a program said."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(line[:400] for line in lines[-_SHOWN_LINES:])


def _link(folder: Path, packages: Mapping[str, Path], site: Path) -> None:
    """Let the environment import the harness and its adapters from where they lie, and nothing else from there."""
    linked = folder / _LINKED
    linked.mkdir(exist_ok=True)
    for name, place in packages.items():
        link = linked / name
        if link.is_symlink() and link.readlink() == place:
            continue
        link.unlink(missing_ok=True)
        link.symlink_to(place, target_is_directory=place.is_dir())
    (site / _LINK_FILE).write_text(f"{linked}\n", encoding="utf-8")


@contextmanager
def _held(lock: Path, told: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock that the process's end releases, waiting for another that holds it."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            told("an environment that another process makes")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
