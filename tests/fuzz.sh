#!/usr/bin/env bash
# Runs the fuzz targets of fuzz/, each on a core of its own, for a while.
#
#   tests/fuzz.sh [SECONDS]    60 by default
#
# Needs a nightly toolchain and cargo-fuzz (`cargo install --locked cargo-fuzz`). Inputs that
# reach new code are kept in fuzz/corpus/, one that fails in fuzz/artifacts/; neither is
# committed.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1-60}

# Counts steps (fuzz/cost.rs); libFuzzer's own function of that name does nothing. The targets
# have no unsafe code that a sanitizer would watch.
export RUSTFLAGS="-Cllvm-args=-sanitizer-coverage-trace-pc -Clink-arg=-Wl,--allow-multiple-definition"
cargo +nightly fuzz build --sanitizer none

status=0 runs=()
for target in $(cargo +nightly fuzz list); do
    cargo +nightly fuzz run --sanitizer none "$target" -- "-max_total_time=$seconds" -max_len=4096 \
        -len_control=20 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 &
    runs+=($!)
done
for run in "${runs[@]}"; do wait "$run" || status=1; done
exit "$status"
