#!/usr/bin/env bash
# Renders charts/kubefed with Helm into charts/kubefed/rendered. A test of kubefed-cli compares that with what
# `kubefed init` writes, so that it needs no Helm. Run this after every change of the chart.
set -euo pipefail
cd "$(dirname "$0")/../charts/kubefed"

digest() { # FNV-1a, of the files in the order of their paths, as in the test
    python3 - Chart.yaml templates/* values.yaml <<'PY'
import sys
digest = 0xcbf29ce484222325
for path in sorted(sys.argv[1:]):
    for byte in open(path, "rb").read():
        digest = (digest ^ byte) * 0x100000001b3 % 2**64
print(f"{digest:016x}")
PY
}

render() { # VARIANT OPTIONS...
    local variant=$1
    shift
    {
        echo "# digest: $(digest)"
        for template in apiserver controller-manager ingress; do
            helm template kubefed . --namespace federation-system --show-only "templates/$template.yaml" \
                --set image.repository=registry.example/federation,image.tag=v1 "$@"
        done
    } >"rendered/$variant.yaml"
}

mkdir -p rendered
render default
render options --set-json '{
  "federationName": "planet",
  "image": {"pullPolicy": "Always"},
  "imagePullSecrets": [{"name": "pull"}],
  "nodeSelector": {"pool": "edge"},
  "apiserver": {
    "service": {"type": "NodePort", "nodePort": 31443},
    "etcdServers": ["https://a:2379", "https://b:2379"],
    "extraArgs": ["--v=3"]
  },
  "controllerManager": {"extraArgs": ["--cluster-monitor-period=5s"]},
  "ingress": {
    "extraArgs": ["--geoip-database=/etc/federation/files/city.mmdb"],
    "bindAddress": "192.0.2.1",
    "httpPort": 8080,
    "httpsPort": 8444,
    "metricsPort": 10299,
    "publishAddresses": ["192.0.2.1:8080", "lb.example"],
    "files": {"hostPath": {"path": "/srv/geo", "type": "Directory"}}
  }
}'
