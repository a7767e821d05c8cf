#!/usr/bin/env bash
# Starts SomaAgent for many tenants in containers; run it again at any time, it finds what is there.
set -euo pipefail
umask 077

STACK="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
MODE=saas
PORT=63080
# shellcheck source=../common.sh
source "${STACK}/../common.sh"

usage() {
    cat <<USAGE
Usage: ${0##*/} [--host NAME]
  --host NAME  the public name, needed for the first start; a proxy that ends TLS for it forwards to port ${PORT}
The image comes from build_saas.sh.
USAGE
}

host=""
while (($#)); do
    case "$1" in
        --host) host="${2:?--host takes a name}"; shift 2 ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done

need_docker
[[ -e "${SETTINGS}" || -n "${host}" ]] || fail "the first start needs the public name: ${0##*/} --host agents.example.org"
make_settings https "${host}" ""
tag="$(setting SOMAAGENT_TAG)"
image_exists "${tag:-local}" || fail "there is no image ${PROJECT}:${tag:-local}; build it with: ${STACK}/build_saas.sh"
start_stack
