#!/usr/bin/env bash
# Prints the path of moto_server (EC2 and S3 on this machine, for tests); makes a Python environment in the cache folder.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VENV=$CACHE_DIR/moto
SERVER=$VENV/bin/moto_server
READY=$VENV/.ready

# A venv does not survive a move of its folder or of its Python: it is good only if it still imports.
usable() { [ -e "$READY" ] && [ -x "$SERVER" ] && "$VENV/bin/python" -c 'import moto.server' >/dev/null 2>&1; }

# Cheap when nothing changed: the stamp names the folder and the Python it was made for.
stamp() { printf '%s %s\n' "$VENV" "$(readlink -f "$(command -v python3)")"; }

need_python
if [ -x "$SERVER" ] && [ -e "$READY" ] && [ "$(cat "$READY")" = "$(stamp)" ]; then
  printf '%s\n' "$SERVER"
  exit 0
fi
lock moto
if ! usable || [ "$(cat "$READY")" != "$(stamp)" ]; then
  announce "moto (Python package moto[server], about 150 MB with what it needs) into $VENV"
  rm -rf "$VENV"
  if ! python3 -m venv "$VENV" >/dev/null 2>&1; then
    rm -rf "$VENV"
    need_root_debian
    say "python3 has no venv module: installing python3-venv by apt-get"
    apt_install python3-venv
    quietly python3 -m venv "$VENV"
  fi
  quietly "$VENV/bin/python" -m pip install --quiet 'moto[server]>=5.1,<6' ||
    die "could not install moto with pip: is a package index reachable?"
  stamp >"$READY"
  usable || die "moto was installed into $VENV but does not start"
  say "installed moto $("$VENV/bin/python" -c 'import moto; print(moto.__version__)')"
fi
printf '%s\n' "$SERVER"
