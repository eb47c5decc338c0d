#!/usr/bin/env bash
# Builds images upon a Debian of our own, with buildah (no engine) or with Docker; run as root.
# docs/containers.md explains.
set -euo pipefail
cd "$(dirname "$0")/../.."

usage() {
  cat <<'TEXT'
usage: deploy/containers/build.sh [options] TARGET...

TARGET is serve, serve-gpu, ray, index or train. Images are called localhost/crossfix-TARGET:TAG,
with Docker crossfix-TARGET:TAG, as docker-compose.yml calls them. `clean` instead of targets removes
the storage folder with all images in it; Docker keeps its own.

  --with docker           build with Docker's engine instead of buildah
  --base IMAGE            build upon this image (python 3.11 with venv) instead of a Debian
                          that debootstrap makes here, once: localhost/crossfix-base:bookworm
  --tag TAG               default local
  --storage FOLDER        where images are kept; default /var/tmp/crossfix-containers
  --pip-config FILE       a pip.conf for the build alone; no image holds it
  --pip-certificates FILE authorities pip trusts; FILE is /etc/pip-certificates.pem in the build
  --volume FROM:TO:ro     a folder the build may read (packages that FILE names); may be repeated,
                          not with Docker
  --this-machines-pip     all of these, as pip is configured on this machine
  --archive FOLDER        also write FOLDER/crossfix-TARGET.tar.gz, which `docker load` reads
TEXT
}

with=buildah base="" tag=local storage=/var/tmp/crossfix-containers archive="" like_here=""
pip_config="" pip_certificates="" volumes=() targets=()
while [ $# -gt 0 ]; do
  case $1 in
    --with) with=$2; shift 2 ;;
    --base) base=$2; shift 2 ;;
    --tag) tag=$2; shift 2 ;;
    --storage) storage=$2; shift 2 ;;
    --pip-config) pip_config=$2; shift 2 ;;
    --pip-certificates) pip_certificates=$2; shift 2 ;;
    --volume) volumes+=(--volume "$2"); shift 2 ;;
    --this-machines-pip) like_here=yes; shift ;;
    --archive) archive=$2; shift 2 ;;
    --help) usage; exit 0 ;;
    serve | serve-gpu | ray | index | train | clean) targets+=("$1"); shift ;;
    *) echo "build.sh: $1 is no option and no target; see --help" >&2; exit 2 ;;
  esac
done
[ ${#targets[@]} -gt 0 ] || { usage >&2; exit 2; }
case $with in
  buildah) prefix=localhost/ ;;
  docker) prefix="" ;;
  *) echo "build.sh: --with takes buildah or docker, not $with" >&2; exit 2 ;;
esac
[ "$with" = buildah ] || [ ${#volumes[@]} = 0 ] \
  || { echo "build.sh: a build by Docker has no --volume; name an index by its address" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "build.sh: run as root; chroot and mounts need it" >&2; exit 2; }

# Chroot isolation needs neither a daemon nor cgroups. vfs works everywhere but copies every layer.
export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot}
if [ -z "${STORAGE_DRIVER:-}" ]; then
  STORAGE_DRIVER=vfs
  grep -qw overlay /proc/filesystems && STORAGE_DRIVER=overlay
fi
export STORAGE_DRIVER
mkdir -p "$storage"
storage=$(realpath "$storage")
buildah() { command buildah --root "$storage/root" --runroot "$storage/run" "$@"; }

if [ "${targets[0]}" = clean ]; then
  buildah rm --all > /dev/null
  buildah rmi --all --force > /dev/null
  ! mountpoint --quiet "$storage/root/overlay" || umount "$storage/root/overlay"
  rm -rf "$storage"
  exit 0
fi

scratch=$(mktemp -d "$storage/build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

make_base() {
  echo "build.sh: debootstrap makes a Debian with Python" >&2
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
    bookworm "$scratch/base" > "$scratch/debootstrap.log" \
    || { tail -5 "$scratch/debootstrap.log" >&2; exit 1; }
  (cd "$scratch/base" && rm -rf var/cache/apt/* var/lib/apt/lists/* var/log/* \
    usr/share/man/* usr/share/locale/* \
    && find usr/share/doc -type f ! -name copyright -delete)  # licences are shipped
  local container
  if [ "$with" = docker ]; then
    tar --directory "$scratch/base" --create . | docker import - "$1" > /dev/null
    rm -rf "$scratch/base"
    return
  fi
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$scratch/base" / > /dev/null
  buildah commit --quiet "$container" "$1" > /dev/null
  buildah rm "$container" > /dev/null
  rm -rf "$scratch/base"
}

if [ -z "$base" ]; then
  base=${prefix}crossfix-base:bookworm
  "$with" inspect --type image "$base" > /dev/null 2>&1 || make_base "$base"
fi

options=()
if [ -n "$like_here" ] && [ "$with" = docker ]; then
  pip_certificates=$(python3 deploy/containers/this_machines_pip.py --no-folders "$scratch/pip.conf")
  pip_config=$scratch/pip.conf
elif [ -n "$like_here" ]; then
  while read -r volume; do volumes+=(--volume "$volume"); done \
    < <(python3 deploy/containers/this_machines_pip.py "$scratch/pip.conf")
  pip_config=$scratch/pip.conf
fi
[ -z "$pip_config" ] || options+=(--secret "id=pip_config,src=$pip_config")
[ -z "$pip_certificates" ] || options+=(--secret "id=pip_certificates,src=$pip_certificates")

build() {  # docker-format, because OCI images have no HEALTHCHECK
  if [ "$with" = docker ]; then
    DOCKER_BUILDKIT=1 docker build --progress plain "$@"
  else
    buildah bud --quiet --format docker --layers --network host "${volumes[@]}" "$@"
  fi
}
save() {
  if [ "$with" = docker ]; then
    docker save --output "$2" "$1"
  else
    buildah push --quiet "$1" "docker-archive:$2:${1#localhost/}"
  fi
}

revision=$(git describe --always --dirty --abbrev=40 --exclude '*' 2> /dev/null || echo unknown)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
for target in "${targets[@]}"; do
  image=${prefix}crossfix-$target:$tag
  build --target "$target" --build-arg "PYTHON_IMAGE=$base" "${options[@]}" \
    --label "org.opencontainers.image.revision=$revision" \
    --label "org.opencontainers.image.version=$version" \
    --label "org.opencontainers.image.base.name=$base" \
    --tag "$image" . > "$scratch/$target.log" 2>&1 \
    || { tail -40 "$scratch/$target.log" >&2; exit 1; }
  echo "$image"
  if [ -n "$archive" ]; then
    mkdir -p "$archive"
    save "$image" "$scratch/$target.tar"
    gzip --stdout "$scratch/$target.tar" > "$archive/crossfix-$target.tar.gz"
    rm "$scratch/$target.tar"
  fi
done
