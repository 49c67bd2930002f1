"""MySQL's programs for a machine without them: fetched with apt, unpacked in the stack's folder.

Debian's stable releases have MariaDB alone; MySQL is in its unstable one. Those packages need newer
libraries than the machine's, so nothing of them is installed: apt works on lists and a state of its own,
takes MySQL and all that it needs down to the C library, and each program starts through the loader that
came with it. The machine's packages stay as they are, and no right of root's is needed.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from dev.servers import ServiceError
from dev.services import programs
from dev.services.programs import run_to_end
from dev.services.stack import replace_text

FOLDER = "mysql-server"
MARKER = ".complete"  #: names the packages; written last, so what was interrupted is begun anew
SERIES = ("-8.4", "-8.0", "")  #: the long-lived ones before the newest
PROGRAMS = {"mysqld": "usr/sbin", "mysql": "usr/bin", "mysqldump": "usr/bin"}
KEYRINGS = ("debian-archive-keyring.pgp", "debian-archive-keyring.gpg")
UNUSED_PACKAGES = ("perl", "libperl")  #: for scripts that are not run here
UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/locale")
BY_HAND = "install MySQL 8 or newer so that `mysqld` is on the PATH, or choose mariadb"

#: ``$0`` tells where the folder is, wherever it was moved to. What the server looks for by itself (error
#: messages, plugins) it looks for below --basedir.
WRAPPER = """\
#!/bin/sh
root=$(cd "$(dirname "$0")/../root" && pwd) || exit 1
exec "$root/{loader}" --library-path "$root/{libraries}" "$root/{program}" "$@"{more}
"""


def provide(*, directory: Path) -> Path:
    """The folder with mysqld, mysql and mysqldump; fetched if it is not there."""
    folder = directory / FOLDER
    if not (folder / MARKER).exists():
        for program in ("apt-get", "apt-cache", "dpkg-deb"):
            if shutil.which(program) is None:
                raise ServiceError(f"MySQL is missing: {BY_HAND}")
        print("MySQL is missing: fetching it with apt-get", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _fetch(folder)
    return folder / "bin"


def _fetch(folder: Path) -> None:
    apt = folder / "apt"
    for sources in _sources():
        _make_state(apt, sources=sources)
        with suppress(ServiceError):  # one source of many may be away
            run_to_end(["apt-get", *_private(apt), "-qq", "update"])
        for series in SERIES:
            packages = (f"mysql-server-core{series}", f"mysql-client-core{series}")
            if programs.are_available(packages, _private(apt)):
                _download_and_unpack(packages, folder=folder, apt=apt)
                return
    raise ServiceError(
        f"MySQL is missing, and apt's sources and Debian's unstable release have none: {BY_HAND}"
    )


def _download_and_unpack(packages: Sequence[str], *, folder: Path, apt: Path) -> None:
    install = ["--download-only", "--yes", "--no-install-recommends", "install", *packages]
    run_to_end(["apt-get", *_private(apt), *install])
    root = folder / "root"
    root.mkdir()
    archives = (apt / "cache/archives").glob("*.deb")
    fetched = sorted(package for package in archives if not package.name.startswith(UNUSED_PACKAGES))
    for package in fetched:
        run_to_end(["dpkg-deb", "--extract", str(package), str(root)])
    _drop_what_is_not_used(root)
    _write_wrappers(folder, root=root)
    shutil.rmtree(apt)
    replace_text(folder / MARKER, "".join(f"{package.stem}\n" for package in fetched))


def _sources() -> Iterator[str | None]:
    """Contents for a sources.list, to be tried in turn; None stands for the machine's own."""
    yield None
    release = platform.freedesktop_os_release()
    if release["ID"] != "debian":
        return
    keyrings = [path for name in KEYRINGS if (path := Path("/usr/share/keyrings") / name).exists()]
    signed_by = f"[signed-by={keyrings[0]}] " if keyrings else ""
    for site in _sites(codename=release.get("VERSION_CODENAME", "stable")):
        yield f"deb {signed_by}{site} sid main\n"


def _sites(*, codename: str) -> Sequence[str]:
    """Where this machine gets its Debian from: its unstable release is beside it."""
    shown = programs.output_of(
        ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    )
    lines = [line.split() for line in shown.splitlines()]
    return list(
        dict.fromkeys(line[0] for line in lines if line[1:] in ([codename, "main"], ["stable", "main"]))
    )


def _make_state(apt: Path, *, sources: str | None) -> None:
    """A state of apt's own in which nothing is installed: so everything that is needed is fetched."""
    shutil.rmtree(apt, ignore_errors=True)
    (apt / "lists/partial").mkdir(parents=True)
    (apt / "cache/archives/partial").mkdir(parents=True)
    (apt / "status").touch()
    if sources is not None:
        (apt / "sources.list").write_text(sources)


def _private(apt: Path) -> list[str]:
    options = {
        "Dir::State": apt,
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": apt / "status",
        "Dir::Cache": apt / "cache",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }
    if (apt / "sources.list").exists():
        options |= {
            "Dir::Etc::sourcelist": apt / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
        }
    return [f"-o{name}={value}" for name, value in options.items()]


def _drop_what_is_not_used(root: Path) -> None:
    """Two thirds of it: each of MySQL's many tools brings its own copy of the client."""
    for unused in UNUSED:
        shutil.rmtree(root / unused, ignore_errors=True)
    for program in (root / "usr/bin").iterdir():
        if program.name not in PROGRAMS:
            program.unlink()


def _write_wrappers(folder: Path, *, root: Path) -> None:
    loaders = sorted(path for path in root.rglob("ld-linux*.so*") if not path.is_symlink())
    c_libraries = sorted(root.rglob("libc.so.6"))
    if not loaders or not c_libraries:
        raise ServiceError(f"what was fetched for MySQL has no C library: {BY_HAND}")
    (folder / "bin").mkdir()
    for name, place in PROGRAMS.items():
        wrapper = folder / "bin" / name
        wrapper.write_text(
            WRAPPER.format(
                loader=loaders[0].relative_to(root),
                libraries=c_libraries[0].parent.relative_to(root),
                program=f"{place}/{name}",
                more=' --basedir="$root/usr"' if name == "mysqld" else "",
            )
        )
        wrapper.chmod(0o755)
