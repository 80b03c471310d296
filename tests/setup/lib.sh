# Shared by the scripts of this folder; sourced, never run.
# What a script was asked for goes to stdout (one path); everything a person reads goes to stderr.

set -euo pipefail

REPO_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE_DIR=${ASTERISM_CACHE_DIR:-$REPO_DIR/.cache}
mkdir -p "$CACHE_DIR"
CACHE_DIR=$(cd "$CACHE_DIR" && pwd)

# Exit status of a script that cannot serve this machine (not root, not Debian): tests are skipped, loudly.
EXIT_UNSUPPORTED=3

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

unsupported() {
  {
    printf '\n!!! %s: cannot be installed here: %s\n' "$(basename "$0" .sh)" "$*"
    printf '!!! tests that need it are skipped (with CI=true a skip is a failure)\n\n'
  } >&2
  exit "$EXIT_UNSUPPORTED"
}

# Outside CI, says what is about to be installed and where, before it happens.
announce() { [ "${CI:-}" = true ] || say "will install $*"; }

# Runs the rest of the script with the lock NAME held, so that two runs never install the same thing twice.
lock() {
  exec 9>"$CACHE_DIR/.$1.lock"
  command -v flock >/dev/null 2>&1 || return 0
  flock -n 9 || { say "waits for another run of this script"; flock 9; }
}

# version_at_least HAVE WANT: true when dotted version HAVE is WANT or newer.
version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

need_python() {
  command -v python3 >/dev/null 2>&1 || die "python3 is missing: install it (Debian, Ubuntu: apt-get install python3 python3-pip)"
}

need_pip() {
  need_python
  python3 -m pip --version >/dev/null 2>&1 ||
    die "pip for python3 is missing: install it (Debian, Ubuntu: apt-get install python3-pip)"
}

is_debian() {
  [ -r /etc/os-release ] && grep -Eq '^(ID|ID_LIKE)=.*(debian|ubuntu)' /etc/os-release && command -v apt-get >/dev/null 2>&1
}

need_root_debian() {
  is_debian || unsupported "this is neither Debian nor Ubuntu"
  [ "$(id -u)" = 0 ] || unsupported "this needs root (packages are installed by apt-get)"
}

# Runs a command silently; shows the end of its output when it fails.
quietly() {
  local out
  out=$(mktemp)
  if "$@" >"$out" 2>&1 9>&-; then
    rm -f "$out"
  else
    local status=$?
    tail -n 30 "$out" >&2
    rm -f "$out"
    say "failed: $*"
    return "$status"
  fi
}

# apt_install PACKAGE...: refreshes the package lists only when a package is not known yet.
apt_install() {
  export DEBIAN_FRONTEND=noninteractive
  local opts=(-y -q --no-install-recommends -o DPkg::Lock::Timeout=300)
  quietly apt-get install "${opts[@]}" "$@" 2>/dev/null && return 0
  quietly apt-get update -q
  quietly apt-get install "${opts[@]}" "$@"
}
