#!/usr/bin/env bash
# Starts SomaAgent for one organisation in containers; run it again at any time, it finds what is there.
set -euo pipefail
umask 077

STACK="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
MODE=standalone
PORT=20080
# shellcheck source=../common.sh
source "${STACK}/../common.sh"

usage() {
    cat <<USAGE
Usage: ${0##*/} [--host NAME] [--build]
  --host NAME  the name under which browsers find it, for the first start (default: this machine alone)
  --build      build the image again, from the tree as it is
USAGE
}

host=localhost
build=no
while (($#)); do
    case "$1" in
        --host) host="${2:?--host takes a name}"; shift 2 ;;
        --build) build=yes; shift ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done

need_docker
make_settings http "${host}" ":${PORT}"
if [[ "${build}" == yes ]] || ! image_exists local; then
    say "building the image"
    revision="$(git -C "${TREE}" describe --always --dirty 2>/dev/null || echo unknown)"
    (cd "${TREE}" && build_image local "${revision}" .)
fi
start_stack
