#!/bin/sh
# Fuzzes every decoder of outside bytes for a few seconds: finds the Fuzz functions by itself, goes on after a failure, and says at
# the end which inputs failed. FUZZTIME is the time for each target (2s unless set, not counting the kept corpus, which runs
# first), FUZZPARALLEL the processes that work on one (2). Arguments name packages (./wire); without any it is all that have a target.
# Making an input smaller before it is kept gets half a second, not the usual minute, in which nothing new would be tried.
# New inputs that reach new code go to the fuzz folder of Go's build cache, from where tools/fuzz/keep.sh takes the best.
set -u
cd "$(dirname "$0")/../.." || exit 1
export GOFLAGS="${GOFLAGS:-} -buildvcs=false"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cache=$(go env GOCACHE)/fuzz
[ $# -gt 0 ] || set -- $(git grep -l --untracked '^func Fuzz' -- '*_test.go' | sed 's,^,./,; s,/[^/]*$,,' | sort -u)
failed=0 targets=0

# fuzz works on one target. Like go test, the program runs in its package's folder, where the kept corpus is.
fuzz() {
    (cd "$package" && "$work/test" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "${FUZZTIME:-2s}" -test.fuzzminimizetime 500ms \
        -test.parallel "${FUZZPARALLEL:-2}" -test.timeout 10m -test.fuzzcachedir "$cache/$import") > "$work/log" 2>&1
}

# late tells Go's own race at the end of the time (golang/go#75804) from a find: the log of it has this one line of reason, and no input.
late() {
    grep -qx ' *context deadline exceeded' "$work/log" && ! grep -Eqi 'failing input|panic|testdata/fuzz/|hung or terminated|_test\.go:' "$work/log"
}

for package; do
    import=$(go list "$package") || { failed=1; continue; }
    if ! go test -c -fuzz=. -o "$work/test" "$package" > "$work/log" 2>&1; then
        cat "$work/log"
        echo "FAIL $package does not build" | tee -a "$work/failures"
        failed=1
        continue
    fi
    for target in $(cd "$package" && "$work/test" -test.list '^Fuzz'); do
        targets=$((targets + 1))
        if fuzz || { late && echo "again $package $target: the time ended while nothing had failed" && fuzz; }; then
            printf 'ok   %s %s %s\n' "$package" "$target" "$(grep -o 'execs: [0-9]*' "$work/log" | tail -1)"
        else
            cat "$work/log"
            # The log says testdata/fuzz/TARGET/INPUT, as seen from the package.
            input=$(grep -o 'testdata/fuzz/[A-Za-z0-9_]*/[0-9a-f]*' "$work/log" | tail -1)
            echo "FAIL $package $target ${input:+$package/$input}" | tee -a "$work/failures"
            failed=1
        fi
    done
done
printf '%s targets, %s each\n' "$targets" "${FUZZTIME:-2s}"
[ -e "$work/failures" ] && { echo 'failed, with the input that did it:'; cat "$work/failures"; }
[ "$targets" -gt 0 ] || failed=1
exit "$failed"
