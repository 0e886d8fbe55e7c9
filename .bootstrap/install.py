"""Make `.venv` exactly what requirements-dev.lock says. `make` runs this before every target.

Debian and Ubuntu ship `python3` without pip, and without what `python3 -m venv` needs to bring pip along.
So pip's own wheel lies beside this file (MIT licence; renew it with `pip download --no-deps pip`). A bare
virtual environment gets pip from that wheel, and from there on everything is ordinary: pip reads its usual
configuration (PIP_* variables, pip.conf) and checks every package against the hash in the lock file.

Two notes inside `.venv` say what it was made from. While they hold, nothing is done:
- `.environment`: this folder, the interpreter, pip and the lock file. After a change `.venv` is made anew,
  so that a package which left the lock file leaves the environment too.
- `.project`: pyproject.toml. After a change only the project itself is installed again, in two seconds.

Usage: python3 install.py [INTERPRETER]. With INTERPRETER (`make PYTHON=...`, which also runs this file with
it) `.venv` must be made from it. Without, any supported interpreter will do; when the one that runs this
file is none, one is looked for on PATH. The syntax is readable to Python 3.6, so that an old Python can say
that it is too old. Everything is written to standard error.
"""

# ruff: noqa: S603, S606 - every command that is run here is put together here

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements-dev.lock"
PYPROJECT = ROOT / "pyproject.toml"
PIP_WHEEL = next(HERE.glob("pip-*.whl"))


def main() -> None:
    """Bring `.venv` up to date, or exit with what a person can do about it."""
    this_one_wanted = len(sys.argv) > 1
    wait_for_any_other_make()
    is_another = this_one_wanted and interpreter_in_venv() != this_interpreter()
    if is_another or note(".environment") != environment():
        use_a_supported_interpreter(this_one_wanted)
        started = time.monotonic()
        say(f"Setting up .venv with Python {'.'.join(map(str, sys.version_info[:3]))}: once, in about 20 s.")
        make_environment()
        install_project()
        say(f"Ready after {time.monotonic() - started:.0f} s.")
    elif note(".project") != digest(PYPROJECT):
        install_project()


def wait_for_any_other_make() -> None:
    """Hold a lock on this folder until this process ends: two sets-up at once would spoil each other."""
    folder = os.open(str(HERE), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("Another make is setting up .venv; waiting for it.")
        fcntl.flock(folder, fcntl.LOCK_EX)


def make_environment() -> None:
    """Make `.venv` anew, with pip and every locked package in it, as wheels only: nothing is compiled."""
    try:
        import venv  # noqa: PLC0415 - python3-minimal comes without it
    except ImportError:
        sys.exit("This Python has no venv module. On Debian and Ubuntu: apt-get install python3")
    venv.create(VENV, clear=True, symlinks=True, with_pip=False, prompt=ROOT.name)
    pip_install("--no-index", PIP_WHEEL, pip=(PIP_WHEEL / "pip",))
    pip_install("--require-hashes", "--only-binary", ":all:", "--requirement", LOCK)
    (VENV / ".environment").write_text(environment())


def install_project() -> None:
    """Put the `clarify-connector` command into `.venv`, running from this folder."""
    pip_install("--no-deps", "--no-build-isolation", "--editable", ROOT)
    (VENV / ".project").write_text(digest(PYPROJECT))


def pip_install(*arguments: object, pip: "tuple[object, ...]" = ("-m", "pip")) -> None:
    """Run `pip install` with the Python in `.venv`; `pip` says which pip. Quiet, but exits if pip fails."""
    # Compiling every module to bytecode takes a third of the time; Python compiles what it imports anyway.
    command = [VENV_PYTHON, *pip, "install", "--no-compile", "--disable-pip-version-check", *arguments]
    outcome = subprocess.run(
        [str(part) for part in command],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if outcome.returncode != 0:
        sys.exit(
            f"{outcome.stdout}\nSetting up .venv failed; what pip said is above. pip looks for packages where it\n"
            "is told to: for a mirror or a proxy set PIP_INDEX_URL, PIP_CERT or PIP_PROXY, or write a pip.conf."
        )


def use_a_supported_interpreter(this_one_wanted: bool) -> None:
    """Return if this interpreter is one; else start again with one from PATH, or exit and say what to do."""
    lowest, above = supported_minor_versions()
    if sys.version_info[0] == 3 and lowest <= sys.version_info[1] < above:
        return
    here = f"Python {sys.version_info[0]}.{sys.version_info[1]} ({sys.executable})"
    if this_one_wanted:
        sys.exit(f"{here} does not do: clarify-connector needs Python 3.{lowest} to 3.{above - 1}.")
    for minor in reversed(range(lowest, above)):
        found = shutil.which(f"python3.{minor}")
        # A version manager may put a command on PATH that only says which version is missing: ask it.
        if found and subprocess.call([found, "-c", "import venv"], stderr=subprocess.DEVNULL) == 0:
            os.execv(found, [found, str(Path(__file__).resolve())])
    sys.exit(
        f"clarify-connector needs Python 3.{lowest} to 3.{above - 1}. Found only {here}.\n"
        "Install one of them, or name it: make PYTHON=/path/to/python3"
    )


def supported_minor_versions() -> "tuple[int, int]":
    """From pyproject.toml: the lowest minor version of Python 3 that will do, the first that will not."""
    bounds = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', PYPROJECT.read_text())
    if bounds is None:
        sys.exit('pyproject.toml does not say requires-python = ">=3.x,<3.y"')
    return int(bounds.group(1)), int(bounds.group(2))


def environment() -> str:
    """What `.venv` should be made from, together with the interpreter that is in it now."""
    return "\n".join([str(ROOT), interpreter_in_venv(), PIP_WHEEL.name, digest(LOCK)])


def interpreter_in_venv() -> str:
    return os.path.realpath(str(VENV_PYTHON))


def this_interpreter() -> str:
    """Where this interpreter is installed, also when it runs in a virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def note(name: str) -> str:
    """What an earlier run wrote down about `.venv`; nothing if it did not get that far."""
    path = VENV / name
    return path.read_text() if path.exists() else ""


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def say(message: str) -> None:
    sys.stderr.write(message + "\n")


if __name__ == "__main__":
    main()
