#!/usr/bin/env bash
# Builds the packages of this version in target/package/.
#
#   deploy/build.sh                all of them
#   deploy/build.sh tarball        echoline-VERSION-x86_64-linux.tar.gz, with a static binary
#   deploy/build.sh deb            echoline_VERSION-1_amd64.deb; needs cargo-deb
#   deploy/build.sh image          echoline-VERSION-image.tar for podman, docker and
#                                  containerd to load, of the static binary; needs buildah
#
# Files get the time of SOURCE_DATE_EPOCH, or else that of the last commit.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$PWD/target/package
target=x86_64-unknown-linux-gnu
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}

# Leaves the static binary in $static. It needs no file: the C library in it resolves
# names by DNS and /etc/hosts, and localhost is built into echoline.
static() {
    static=$PWD/target/$target/release/echoline
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --bin echoline --target $target
}

# A directory that is removed at the end.
scratch() {
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
}

# Copies the documents to $1, with most files that they link. A link to another file of the
# repository, as a test, becomes its text.
documents() {
    mkdir -p "$1/deploy"
    cp -R README.md docs examples "$1"
    cp -R deploy/haproxy deploy/kubernetes deploy/systemd "$1/deploy"
    find "$1" -name '*.md' -execdir perl -0pi -e '
        s{(?<!!)\[([^][]*)\]\(([^)#]*)(?:#[^)]*)?\)}{
            my ($link, $text, $target) = ($&, $1, $2);
            $target eq "" || $target =~ /:/ || -e $target ? $link : $text
        }ge' {} +
}

tarball() (
    static
    scratch
    name=echoline-$version-x86_64-linux
    mkdir "$scratch/$name"
    cp "$static" CHANGELOG.md LICENSE "$scratch/$name"
    cp -R deploy/man deploy/completions deploy/systemd "$scratch/$name"
    documents "$scratch/$name"
    tar -C "$scratch" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 \
        --numeric-owner --mode=u=rwX,go=rX -cf - "$name" | gzip -9n >"$out/$name.tar.gz"
)

deb() (
    cargo build --locked --release --bin echoline
    rm -rf "$out/doc"
    documents "$out/doc"
    gzip -9nc CHANGELOG.md >"$out/changelog.gz"
    cat >"$out/changelog.Debian" <<END
echoline ($version-1) unstable; urgency=medium

  * Changes are in changelog.gz.

 -- echoline maintainers <$(maintainer)>  $(date -uRd "@$SOURCE_DATE_EPOCH")
END
    cargo deb --no-build --no-strip --locked --output "$out/"
)

maintainer() {
    sed -n 's/^maintainer = ".*<\(.*\)>"/\1/p' Cargo.toml
}

image() (
    static
    scratch
    mkdir "$scratch/context"
    cp "$static" "$scratch/context"
    buildah() {
        command buildah --root "$scratch/storage" --runroot "$scratch/run" --storage-driver vfs "$@"
    }
    # The OCI format has no health check.
    buildah build --isolation chroot --format docker --timestamp "$SOURCE_DATE_EPOCH" \
        --tag "echoline:$version" --file deploy/container/Containerfile "$scratch/context"
    rm -f "$out/echoline-$version-image.tar"
    buildah push "echoline:$version" "docker-archive:$out/echoline-$version-image.tar:echoline:$version"
)

mkdir -p "$out"
(($#)) || set -- tarball deb image
for package; do
    case $package in
        tarball | deb | image) "$package" ;;
        *) echo "$0: no package $package" >&2; exit 2 ;;
    esac
done
