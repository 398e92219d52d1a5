#!/bin/sh
# Runs every check of the repository: lint, builds, all tests under the race detector against a real Samba AD DC, PostgreSQL and
# Chromium, the tests that reach each error number once more under coverage, some seconds of fuzzing for each decoder of outside
# bytes, the stores a second time on PostgreSQL, and the demonstration's own check. Installs missing programs on Debian when
# run as root. Says at the end what was skipped and why. With SALLYPORT_CI=1 nothing may be skipped.
set -u
cd "$(dirname "$0")/../.." || exit 1
export GOFLAGS="${GOFLAGS:-} -buildvcs=false"
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
failed=0

step() { # step NAME COMMAND…
    name=$1
    shift
    printf '\n== %s\n' "$name"
    start=$(date +%s)
    if "$@"; then
        printf '   ok %s (%ss)\n' "$name" $(($(date +%s) - start)) >> "$results/summary"
    else
        printf ' FAIL %s (%ss)\n' "$name" $(($(date +%s) - start)) >> "$results/summary"
        failed=1
    fi
}

missing() {
    for program in /usr/sbin/samba /usr/bin/ldapwhoami /usr/bin/ldbmodify /usr/bin/kinit /usr/bin/chromium /usr/sbin/apache2 \
        /usr/lib/apache2/modules/mod_auth_openidc.so /usr/bin/systemd-analyze /usr/bin/promtool /usr/sbin/squid /usr/bin/swtpm /usr/bin/wine \
        /usr/sbin/winbindd /usr/bin/ntlm_auth /usr/sbin/ip /usr/sbin/nft; do
        [ -e "$program" ] || printf '%s ' "$program"
    done
    [ -n "$(ls /usr/lib/postgresql/*/bin/initdb 2> /dev/null)" ] || printf 'postgresql '
    [ -n "$(ls /usr/lib/*/samba/vfs/acl_xattr.so 2> /dev/null)" ] || printf 'samba-vfs-modules '
    /usr/bin/python3 -c 'import samba' 2> /dev/null || printf 'python3-samba '
    /usr/bin/python3 -c 'import authlib, requests' 2> /dev/null || printf 'python3-authlib '
    command -v node > /dev/null && command -v npm > /dev/null || printf 'node '
}

install() {
    [ -z "$(missing)" ] && return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
        echo "missing: $(missing)"
        echo "not installed: needs root and apt-get. Debian packages: samba samba-dsdb-modules samba-ad-provision ldap-utils" \
            "ldb-tools krb5-user postgresql chromium apache2 libapache2-mod-auth-openidc python3-authlib python3-requests nodejs npm systemd prometheus squid swtpm wine wine64 winbind samba-vfs-modules iproute2 nftables"
        [ -z "${SALLYPORT_CI:-}" ]
        return
    fi
    # Packages must not start their daemons: the tests start their own, on addresses of their own.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod 755 "$policy"
        trap 'rm -rf "$results"; rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    # Node.js from elsewhere brings npm along, and Debian's would not go with it.
    node=
    command -v node > /dev/null && command -v npm > /dev/null || node='nodejs npm'
    # shellcheck disable=SC2086 # $node is a list
    apt-get update -q > "$results/apt.log" 2>&1 &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends samba samba-dsdb-modules \
            samba-ad-provision ldap-utils ldb-tools krb5-user postgresql chromium apache2 libapache2-mod-auth-openidc \
            python3-authlib python3-requests systemd prometheus squid swtpm wine wine64 winbind samba-vfs-modules iproute2 nftables $node >> "$results/apt.log" 2>&1 ||
        { tail -20 "$results/apt.log"; return 1; }
    [ -z "$(missing)" ] || { echo "still missing: $(missing)"; return 1; }
}

gotests() {
    # lab/world and lab/domains load and kill real processes, and their clock is the machine's: each has a step of its own, alone.
    # shellcheck disable=SC2046 # a list of packages
    go test -race -timeout 30m -v $(go list ./... | grep -v -e '/lab/world$' -e '/lab/domains$') > "$results/test.log" 2>&1
    status=$?
    grep -E '^(FAIL|ok  |panic:|--- FAIL|    --- FAIL)|^WARNING: DATA RACE' "$results/test.log"
    if [ "$status" != 0 ]; then
        echo '--- the failures, with what came before them'
        grep -nE '^ *--- FAIL|^panic:|^WARNING: DATA RACE|_test.go:[0-9]+:|^FAIL|cannot|undefined' "$results/test.log" | tail -150
    fi
    grep -hE '^ *--- SKIP' -A 3 "$results/test.log" > "$results/skipped"
    return "$status"
}

alone() { # alone PACKAGE
    go test -count=1 -timeout 15m -v "$1" > "$results/alone.log" 2>&1
    status=$?
    grep -E '^(FAIL|ok  |panic:)|^ *--- (FAIL|PASS)|_test.go:[0-9]+:' "$results/alone.log" | tail -60
    grep -hE '^ *--- SKIP' -A 3 "$results/alone.log" >> "$results/skipped"
    return "$status"
}

postgres() {
    go run ./service/db/dbtest/with-postgres go test -count=1 ./service/... > "$results/postgres.log" 2>&1
    status=$?
    grep -v 'no test files' "$results/postgres.log"
    grep 'with-postgres: skipped' "$results/postgres.log" >> "$results/skipped"
    return "$status"
}

fuzz() {
    sh tools/fuzz/run.sh > "$results/fuzz.log" 2>&1
    status=$?
    if [ "$status" = 0 ]; then tail -1 "$results/fuzz.log"; else grep -v "^ok " "$results/fuzz.log" | tail -150; fi
    return "$status"
}

codes() {
    go test -count=1 -timeout 15m -tags codes -run "^TestNamedTestsMakeTheirCodes$" .
}

demo() {
    go run ./cmd/sallyport demo --check
}

sambademo() {
    if [ ! -x /usr/sbin/samba ]; then
        echo 'demo --check --directory samba: samba is not installed' | tee -a "$results/skipped"
        [ -z "${SALLYPORT_CI:-}" ]
        return
    fi
    go run ./cmd/sallyport demo --check --directory samba
}

step 'programs for the tests' install
step 'lint' make -s lint
step 'static builds' make -s build
step 'agent for Windows and arm64' make -s cross
step 'all tests, race detector' gotests
step 'real processes, killed and restarted under load' alone ./lab/world
step 'several domain controllers and forests' alone ./lab/domains
step 'every error number is reached' codes
step 'fuzzing, some seconds for each decoder' fuzz
step 'stores on PostgreSQL' postgres
step 'demonstration, evaluation directory' demo
step 'demonstration, Samba AD' sambademo

printf '\n== summary\n'
cat "$results/summary"
if [ -s "$results/skipped" ]; then
    printf '\nskipped, and why:\n'
    cat "$results/skipped"
else
    printf '\nnothing was skipped\n'
fi
exit "$failed"
