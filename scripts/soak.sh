#!/usr/bin/env bash
# Random process operations on four hosts, some of which are killed, cut off and frozen meanwhile, checked against a model: `make test` does it
# for 20 seconds, this for 30 minutes.
#   SOAK_TIME=30m   how long; 4h, 90s
#   SOAK_SEED=N     the choices of an earlier run, which said its own
#   SOAK_CALM=1     nothing is done to the hosts
#   SOAK_TRACE=FILE everything that happens to each process
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/packages.sh gcc=build-essential
export SOAK_TIME=${SOAK_TIME:-30m}
exec go test -v -count=1 -timeout 0 -run 'TestSoak$' ./e2e/soak
