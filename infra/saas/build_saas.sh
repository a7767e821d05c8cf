#!/usr/bin/env bash
# Builds the image from what is committed, and nothing else: the same commit gives the same content.
# It is tagged with the commit and as "local". Usage: build_saas.sh [COMMIT]
set -euo pipefail

STACK="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
MODE=saas
# Used by common.sh alone.
# shellcheck disable=SC2034
PORT=63080
# shellcheck source=../common.sh
source "${STACK}/../common.sh"

need_docker
command -v git >/dev/null || fail "git is not installed"
commit="$(git -C "${TREE}" rev-parse --verify "${1:-HEAD}^{commit}")" || fail "there is no commit ${1:-HEAD} in ${TREE}"
[[ -z "$(git -C "${TREE}" status --porcelain)" ]] || say "note: what is not committed is left out of the image"
tag="$(git -C "${TREE}" rev-parse --short=12 "${commit}")"

# Times inside the image are the commit's.
SOURCE_DATE_EPOCH="$(git -C "${TREE}" log -1 --format=%ct "${commit}")"
export SOURCE_DATE_EPOCH DOCKER_BUILDKIT=1
git -C "${TREE}" archive --format=tar "${commit}" | build_image "${tag}" "${commit}" -
say "built ${PROJECT}:${tag}; to pin it, put SOMAAGENT_TAG=${tag} into ${STACK}/.env"
