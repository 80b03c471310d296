//! Config, telemetry, drain, lease and the decide-commit-apply-act loop.
