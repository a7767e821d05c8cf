#!/usr/bin/env bash
# What both start scripts do; they source this file after they have set:
#   MODE   standalone or saas      STACK  the folder of the stack      PORT  the gateway's
# Secrets go from file to container by standard input: never as an argument, never through the environment.
# shellcheck shell=bash

# The scripts that source this file use it.
# shellcheck disable=SC2034
TREE="$(cd "${STACK}/../.." && pwd)"
PROJECT="somaagent-${MODE}"
SETTINGS="${STACK}/.env"
PRIVATE="${STACK}/private"
INIT_FILE="${PRIVATE}/openbao-init.json"
TOKEN_FILE="${PRIVATE}/operator-token"
SEAL_FILE="${PRIVATE}/openbao-seal.key"
SUPERUSER_FILE="${PRIVATE}/postgres-superuser"
OPENBAO_OWNER=100:1000
POSTGRES_OWNER=999:999

say() { printf '%s: %s\n' "${PROJECT}" "$*"; }

fail() {
    printf '%s: %s\n' "${PROJECT}" "$*" >&2
    exit 1
}

compose() {
    docker compose --project-name "${PROJECT}" --project-directory "${STACK}" --file "${STACK}/docker-compose.yml" "$@"
}

# An errand: a container that does one thing and goes. What it reads comes from our standard input.
errand() { compose run --rm -T "$@"; }

need_docker() {
    command -v docker >/dev/null || fail "docker is not installed; see https://docs.docker.com/engine/install/"
    docker compose version >/dev/null 2>&1 || fail "the compose plugin is missing (docker compose version fails); see https://docs.docker.com/compose/install/"
    docker info >/dev/null 2>&1 || fail "the Docker engine does not answer; start it, and see that you may use it (docker info)"
}

# -- settings ----------------------------------------------------------------------------------------------

setting() { sed -n "s/^$1=//p" "${SETTINGS}"; }

# Puts NAME=VALUE where NAME stands, also as a comment, or at the end.
set_setting() {
    local name="$1" value="$2" new
    [[ "$(setting "${name}")" != "${value}" ]] || return 0
    new="$(mktemp "${SETTINGS}.XXXXXX")"
    NAME="${name}" VALUE="${value}" awk '
        !done && ($0 ~ "^(# )?" ENVIRON["NAME"] "=") { print ENVIRON["NAME"] "=" ENVIRON["VALUE"]; done = 1; next }
        { print }
        END { if (!done) print ENVIRON["NAME"] "=" ENVIRON["VALUE"] }
    ' "${SETTINGS}" >"${new}"
    mv "${new}" "${SETTINGS}"
}

# Makes .env on the first start: SCHEME HOST PORT-SUFFIX say where people will find it.
make_settings() {
    [[ ! -e "${SETTINGS}" ]] || return 0
    [[ -r "${STACK}/.env.example" ]] || fail "${STACK}/.env.example is missing; write it with: python manage.py check_config --env-example ${MODE^^}"
    install -m 0600 "${STACK}/.env.example" "${SETTINGS}"
    set_setting SA01_PUBLIC_URL "$1://$2$3"
    set_setting SA01_ALLOWED_HOSTS "$2"
    say "wrote ${SETTINGS} from .env.example: read it, it is yours to change"
}

# -- keys --------------------------------------------------------------------------------------------------

# Puts standard input into a file that its owner alone can read, whole or not at all.
keep() {
    local new
    new="$(mktemp "$1.XXXXXX")"
    cat >"${new}"
    mv "${new}" "$1"
}

# A key is made where there is none, here or in its volume, and never again: another key would lock the data.
# One that lies here goes into the volume at every start, so that a key from a backup only has to be put here.
make_key() {
    local file="$1" delivered="$2" owner="$3" maker="$4"
    if [[ ! -s "${file}" ]]; then
        ! errand --entrypoint test deliver -s "${delivered}" </dev/null || return 0
        "${maker}" | keep "${file}"
    fi
    errand deliver "${delivered}" "${owner}" <"${file}"
}

random_key() { head -c 32 /dev/urandom; }

random_password() { head -c 36 /dev/urandom | base64; }

make_keys() {
    mkdir -p "${PRIVATE}"
    chmod 0700 "${PRIVATE}"
    make_key "${SEAL_FILE}" /deliver/openbao/key "${OPENBAO_OWNER}" random_key
    make_key "${SUPERUSER_FILE}" /deliver/postgres/password "${POSTGRES_OWNER}" random_password
}

# -- servers -----------------------------------------------------------------------------------------------

health_of() {
    local id
    id="$(compose ps --all --quiet "$1")"
    [[ -n "${id}" ]] || { echo absent; return; }
    docker inspect --format '{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' "${id}"
}

# Waits SECONDS for SERVICE; if it is not well by then, shows what it said last.
wait_healthy() {
    local service="$1" limit=$((SECONDS + $2)) state
    while true; do
        state="$(health_of "${service}")"
        [[ "${state}" != healthy ]] || return 0
        ((SECONDS < limit)) || break
        sleep "${POLL_SECONDS:-2}"
    done
    compose logs --no-color --tail 30 "${service}" >&2
    fail "${service} is ${state} after $2 s; its last lines stand above"
}

start_openbao() {
    local status limit
    say "starting OpenBao"
    compose up --detach openbao
    limit=$((SECONDS + 60))
    while true; do
        status=0
        compose exec -T openbao bao operator init -status </dev/null >/dev/null 2>&1 || status=$?
        # 0: initialised, 2: not yet; anything else: it does not answer yet.
        [[ "${status}" != 0 && "${status}" != 2 ]] || break
        if ((SECONDS >= limit)); then
            compose logs --no-color --tail 30 openbao >&2
            fail "OpenBao does not answer; its last lines stand above"
        fi
        sleep "${POLL_SECONDS:-2}"
    done
    [[ "${status}" == 0 ]] || initialise_openbao
    wait_healthy openbao 60
}

initialise_openbao() {
    local file
    for file in "${INIT_FILE}" "${TOKEN_FILE}"; do
        [[ ! -e "${file}" ]] || mv "${file}" "${file}.of-another-openbao-$(date -u +%Y%m%dT%H%M%SZ)"
    done
    say "initialising OpenBao"
    # To the disk first: these keys are given out once.
    compose exec -T openbao bao operator init -format=json -recovery-shares=5 -recovery-threshold=3 </dev/null >"${INIT_FILE}" ||
        fail "OpenBao could not be initialised; what it said is in ${INIT_FILE}"
    sed -n 's/.*"root_token": *"\([^"]*\)".*/\1/p' "${INIT_FILE}" | keep "${TOKEN_FILE}"
    [[ -s "${TOKEN_FILE}" ]] || fail "no root token in ${INIT_FILE}"
}

fill_vault() {
    local ids app owner
    if [[ -s "${TOKEN_FILE}" ]]; then
        errand bootstrap <"${TOKEN_FILE}"
    else
        say "no ${TOKEN_FILE}: Vault is left as it is"
    fi
    ids="$(errand role-ids </dev/null)" ||
        fail "the logins to Vault have to be made, and that takes an operator's token in ${TOKEN_FILE}"
    { read -r app && read -r owner; } <<<"${ids}" || fail "Vault's role ids could not be read"
    set_setting SA01_VAULT_ROLE_ID "${app}"
    set_setting SA01_VAULT_SECRET_ID_FILE /run/secrets/somaagent/app.secret-id
    set_setting SA01_VAULT_OWNER_ROLE_ID "${owner}"
    set_setting SA01_VAULT_OWNER_SECRET_ID_FILE /run/secrets/somaagent/owner.secret-id
}

start_stores() {
    local told
    say "starting PostgreSQL and Valkey"
    told="$(errand valkey-access </dev/null)"
    compose up --detach postgres valkey
    # A running Valkey reads its access list when it starts.
    [[ "${told}" != *wrote* ]] || compose restart valkey
    wait_healthy valkey 60
    wait_healthy postgres 180
    if [[ -s "${SUPERUSER_FILE}" ]]; then
        errand database <"${SUPERUSER_FILE}"
    else
        say "no ${SUPERUSER_FILE}: the database's roles are left as they are"
    fi
}

start_services() {
    local service
    say "migrating the database, then starting gateway, worker and scheduler"
    if ! compose up --detach --remove-orphans; then
        compose logs --no-color --tail 30 migrations >&2
        fail "the services could not be started; what migrations said last stands above"
    fi
    for service in gateway worker scheduler; do
        wait_healthy "${service}" 180
    done
}

tell() {
    local file
    compose exec -T gateway python manage.py seed </dev/null
    say "ready: $(setting SA01_PUBLIC_URL)  (the gateway listens on port ${PORT} of this machine)"
    say "admin: $(setting SA01_PUBLIC_URL)/admin/   health: $(setting SA01_PUBLIC_URL)/api/v1/health"
    for file in "${PRIVATE}"/*; do
        [[ -s "${file}" ]] || continue
        say "move the files in ${PRIVATE} to a safe place: whoever has them has every secret. Starting needs none of them."
        break
    done
}

start_stack() {
    make_keys
    start_openbao
    fill_vault
    start_stores
    start_services
    tell
}

# -- image -------------------------------------------------------------------------------------------------

image_exists() { docker image inspect "${PROJECT}:$1" >/dev/null 2>&1; }

# TAG REVISION CONTEXT...: the context is a folder, or - for an archive on standard input.
build_image() {
    local tag="$1" revision="$2"
    shift 2
    docker build --file "infra/${MODE}/Dockerfile" --build-arg "VERSION=${tag}" --build-arg "REVISION=${revision}" \
        --tag "${PROJECT}:${tag}" --tag "${PROJECT}:local" "$@"
}
