#!/usr/bin/env bash
# Runs every check and test of the project. The last line is `N passed, N failed, N skipped`.
# Exit status is not zero when anything failed, and with CI=true also when anything was skipped.
# Full output: target/test-logs/*.log.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$REPO_DIR"

CARGO=${CARGO:-cargo}
LOGS=${CARGO_TARGET_DIR:-target}/test-logs
mkdir -p "$LOGS"
LOGS=$(cd "$LOGS" && pwd)
rm -f "$LOGS"/*.log

export ASTERISM_SKIP_FILE=$LOGS/skipped.txt
: >"$ASTERISM_SKIP_FILE"

passed=0
failed=0
skipped=0
failures=()

# Everything below reports through these, so that nothing ends without being counted.
count_pass() { passed=$((passed + ${1:-1})); }
count_fail() {
  failed=$((failed + ${2:-1}))
  failures+=("$1")
}

finish() {
  local line
  # A test that could not run says so in the skip file and returns: it is no pass.
  skipped=$(grep -c . "$ASTERISM_SKIP_FILE" || true)
  passed=$((passed - skipped))
  [ "$passed" -ge 0 ] || passed=0
  printf '\n'
  if [ "$skipped" -gt 0 ]; then
    printf '!!! %s tests were SKIPPED:\n' "$skipped"
    while IFS= read -r line; do printf '!!!   %s\n' "$line"; done <"$ASTERISM_SKIP_FILE"
    if [ "${CI:-}" = true ]; then printf '!!! CI=true: a skip is a failure\n'; fi
  fi
  for line in "${failures[@]}"; do printf 'FAILED: %s\n' "$line"; done
  printf 'full output: %s\n' "$LOGS"
  printf '%s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
  [ "$failed" -eq 0 ] || exit 1
  [ "$passed" -gt 0 ] || exit 1
  if [ "${CI:-}" = true ] && [ "$skipped" -gt 0 ]; then exit 1; fi
  exit 0
}

# check NAME COMMAND...: one step, one result; its output goes to NAME.log, the end of it to the screen when it fails.
check() {
  local name=$1 start=$SECONDS
  shift
  printf '== %s\n' "$name"
  if "$@" >"$LOGS/$name.log" 2>&1 </dev/null; then
    printf '   ok (%s s)\n' $((SECONDS - start))
    count_pass
  else
    tail -n 60 "$LOGS/$name.log"
    printf '   FAILED (%s s): %s\n' $((SECONDS - start)) "$LOGS/$name.log"
    count_fail "$name (see $LOGS/$name.log)"
    return 1
  fi
}

# tool VARIABLE SCRIPT: exports the path that the script prints. A tool this machine cannot have leaves the variable unset:
# the tests that need it write themselves into the skip file.
tool() {
  local path status=0
  path=$("$REPO_DIR/tests/setup/$2.sh") || status=$?
  case $status in
    0)
      export "$1=$path"
      printf '   %-12s %s\n' "$2" "$path"
      ;;
    "$EXIT_UNSUPPORTED") unset "$1" ;;
    *) count_fail "setup of $2" ;;
  esac
}

# An ignored test is a failure: nothing here may be switched off in silence.
# Sums up what the runners print: nextest's "Summary [..] 12 tests run: 11 passed (1 slow), 1 failed, 0 skipped",
# cargo test's "test result: ok. 3 passed; 0 failed; 1 ignored; ...".
# tally LOG STATUS NAME
tally() {
  local sums ok bad
  sums=$(sed 's/\x1b\[[0-9;]*m//g' "$1" | awk '
    /^ *Summary \[/ || /^test result: / {
      n = split($0, part, /[ ,;:()]+/)
      for (i = 2; i <= n; i++) {
        if (part[i] == "passed") ok += part[i - 1]
        if (part[i] == "failed" || part[i] == "timed" || part[i] == "exec") if (part[i - 1] ~ /^[0-9]+$/) bad += part[i - 1]
        if (part[i] == "ignored" || part[i] == "skipped") bad += part[i - 1]
      }
    }
    END { print ok + 0, bad + 0 }')
  ok=${sums% *}
  bad=${sums#* }
  count_pass "$ok"
  if [ "$bad" -gt 0 ]; then
    count_fail "$3: $bad failed (see $1)" "$bad"
  elif [ "$2" -ne 0 ]; then
    count_fail "$3 ended with status $2 (see $1)"
  fi
  printf '   %s passed, %s failed\n' "$ok" "$bad"
}

# run_tests NAME COMMAND...: a test runner, shown as it goes.
run_tests() {
  local name=$1 status=0
  shift
  printf '== %s\n' "$name"
  set +e
  "$@" </dev/null 2>&1 | tee "$LOGS/$name.log" | grep -vE '^ +(Compiling|Blocking|Running|PASS|Doc-tests) |^$|^running [0-9]+ tests?$|\.\.\. ok$'
  status=${PIPESTATUS[0]}
  set -e
  tally "$LOGS/$name.log" "$status" "$name"
}

main() {
  command -v "$CARGO" >/dev/null 2>&1 || die "cargo is missing: install Rust (the version in Cargo.toml or newer)"
  printf '== real parts\n'
  tool ASTERISM_NATS_SERVER nats-server
  tool ASTERISM_ASTERISK_ROOT asterisk
  tool ASTERISM_SIPP sipp
  tool ASTERISM_MOTO_SERVER moto
  tool ASTERISM_MEMCACHED memcached

  local features=(--locked --workspace --all-features)
  check fmt "$CARGO" fmt --all -- --check || true
  check clippy "$CARGO" clippy "${features[@]}" --all-targets -- -D warnings || true
  if "$CARGO" deny --version >/dev/null 2>&1; then
    check deny "$CARGO" deny --all-features check bans licenses sources || true
  else
    printf '== deny\n   cargo-deny is not installed (cargo install --locked cargo-deny): tidy checks licences, sources and bans; advisories stay unchecked\n'
  fi
  # The end-to-end tests start the real programs.
  if check build "$CARGO" build "${features[@]}" --bins; then
    ASTERISM_BIN_DIR=$(cd "${CARGO_TARGET_DIR:-target}/debug" && pwd)
    export ASTERISM_BIN_DIR
    if "$CARGO" nextest --version >/dev/null 2>&1; then
      local profile=default
      [ "${ASTERISM_TEST_FULL:-}" != 1 ] || profile=full
      run_tests tests "$CARGO" nextest run --profile "$profile" "${features[@]}" --all-targets --no-fail-fast --no-tests pass
    else
      # As nextest is configured: tests with real servers, one at a time.
      RUST_TEST_THREADS=${RUST_TEST_THREADS:-1} run_tests tests "$CARGO" test "${features[@]}" --all-targets --no-fail-fast
    fi
    run_tests doctests "$CARGO" test "${features[@]}" --doc --no-fail-fast
  fi
  finish
}

main
