#!/usr/bin/env bash
# Makes a Docker image of a Debian with systemd, HAProxy and the service's pinned packages, for
# tests/end_to_end/test_systemd.py. The service itself is not in it.
#
#   make_test_image.sh IMAGE     as root, with a Docker engine and debootstrap
set -euo pipefail
[ $# = 1 ] || { echo "usage: make_test_image.sh IMAGE" >&2; exit 2; }
image=$1
tree=$(realpath "$(dirname "$0")/../..")
name=crossfix-systemd-image-$$
scratch=$(mktemp -d)
trap 'docker rm -f "$name" > /dev/null 2>&1 || true
  docker rmi "$name" > /dev/null 2>&1 || true; rm -rf "$scratch"' EXIT

packages=systemd,systemd-sysv,dbus,adduser,procps,python3,python3-venv,ca-certificates,curl,haproxy
debootstrap --variant=minbase --include="$packages" bookworm "$scratch/base" \
  > "$scratch/debootstrap.log" \
  || { tail -5 "$scratch/debootstrap.log" >&2; exit 1; }
rm -rf "$scratch"/base/var/cache/apt/* "$scratch"/base/var/lib/apt/lists/*
# IMAGE gets its name at the end only, so that a run that broke off leaves no half of it.
tar -C "$scratch/base" -c . | docker import - "$name" > /dev/null

volumes=()
python3 "$tree/deploy/containers/this_machines_pip.py" "$scratch/pip.conf" > "$scratch/volumes"
while read -r volume; do volumes+=(--volume "$volume"); done < "$scratch/volumes"
python3 "$tree/deploy/containers/requirements_of.py" "$tree/pyproject.toml" \
  cpu serve index otel > "$scratch/requirements.txt"
# setuptools: with it the test installs the service without any index.
docker run --name "$name" --network host --env PIP_CONFIG_FILE=/mnt/pip.conf "${volumes[@]}" \
  --volume "$scratch:/mnt:ro" --volume "$tree/constraints:/constraints:ro" "$name" \
  sh -c 'python3 -m venv /opt/crossfix-0.1 && /opt/crossfix-0.1/bin/pip install --quiet \
    "setuptools>=77" -c /constraints/serve.txt -r /mnt/requirements.txt' \
  > "$scratch/pip.log" 2>&1 || { tail -20 "$scratch/pip.log" >&2; exit 1; }
docker commit "$name" "$image" > /dev/null
