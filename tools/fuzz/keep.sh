#!/bin/sh
# Keeps a corpus for every Fuzz target: from the inputs that fuzzing has found (in Go's build cache), and those kept before, it
# takes the few that together reach the most statements beyond the seeds, of this module and of the decoders that it uses, and writes
# them to testdata/fuzz/TARGET beside the test. Inputs that once failed and are kept under a name (not 16 digits) stay.
# Run it after a longer run: FUZZTIME=5m tools/fuzz/run.sh, then tools/fuzz/keep.sh. Arguments name packages; without any it is all.
set -eu
cd "$(dirname "$0")/../.." || exit 1
root=$PWD
most=12    # inputs kept for a target
largest=4096 # bytes of one
tried=150  # inputs looked at, the smallest first
decoding="^($(go list -m)|encoding/(json|pem|asn1|base64|hex)|crypto/x509|mime|net/(http|url|netip|textproto)|go\\.yaml\\.in|\
github\\.com/(go-asn1-ber|go-ldap|go-jose|google/uuid)|google\\.golang\\.org/protobuf)(/|\$)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GOCOVERDIR="$work" # or listing the targets warns
cache=$(go env GOCACHE)/fuzz
[ $# -gt 0 ] || set -- $(git grep -l --untracked '^func Fuzz' -- '*_test.go' | sed 's,^,./,; s,/[^/]*$,,' | sort -u)
for package; do
    import=$(go list "$package")
    decoders=$(go list -deps -test "$package" | grep -E "$decoding" | sed 's, .*,,' | grep -v '_test$\|\.test$' | sort -u | paste -sd, -)
    go test -c -cover -coverpkg "$decoders" -o "$work/test" "$package"
    cd "$root/$package"
    for target in $("$work/test" -test.list '^Fuzz'); do
        kept=testdata/fuzz/$target
        mkdir -p "$kept" "$work/all" "$work/profiles"
        find "$kept" "$cache/$import/$target" -type f -size -${largest}c -exec cp {} "$work/all" \; 2> /dev/null || true
        # The seeds alone, then each input alone; go test finds inputs only in testdata.
        "$work/test" -test.run "^$target\$/^seed#" -test.coverprofile "$work/profiles/seeds" > /dev/null || true
        cp -n "$work/all"/* "$kept" 2> /dev/null || true
        ls -Sr "$work/all" | head -n "$tried" | while read -r input; do
            "$work/test" -test.run "^$target\$/^$input\$" -test.coverprofile "$work/profiles/$input" > /dev/null ||
                echo "$package $target: $input fails" >&2
        done
        # Greedy cover: again and again the input that reaches most of what is not reached yet, our own statements first. Where the
        # seeds reach nearly all, others of different sizes make it four, since fuzzing needs something to begin from.
        chosen=$(cd "$work/profiles" && ls -Sr "$work/all" | head -n "$tried" | awk -v most="$most" -v own="^$(go list -m)" '
            { order[++n] = $0 }
            function reached(file, into,   line, part, k) {
                k = 0
                while ((getline line < file) > 0) { split(line, part, " "); if (part[3] > 0) into[++k] = part[1] }
                close(file)
                return k
            }
            END {
                k = reached("seeds", list); for (i = 1; i <= k; i++) have[list[i]] = 1
                for (i = 1; i <= n; i++) { count[i] = reached(order[i], list); for (j = 1; j <= count[i]; j++) block[i, j] = list[j] }
                while (taken < most) {
                    best = 0; gain = 0
                    for (i = 1; i <= n; i++) if (!used[i]) {
                        g = 0; for (j = 1; j <= count[i]; j++) if (!(block[i, j] in have)) g += block[i, j] ~ own ? 50 : 1
                        if (g > gain) { gain = g; best = i }
                    }
                    if (!best) break
                    used[best] = 1; taken++; print order[best]
                    for (j = 1; j <= count[best]; j++) have[block[best, j]] = 1
                }
                for (s = 1; s <= 4 && taken < 4; s++) if (n && !used[i = int(1 + (n - 1) * s / 4)]) { used[i] = 1; taken++; print order[i] }
            }')
        find "$kept" -type f -regex '.*/[0-9a-f]*' -delete
        for input in $chosen; do cp "$work/all/$input" "$kept/$input"; done
        printf '%s %s: %s of %s inputs\n' "$package" "$target" "$(ls "$kept" | wc -l)" "$(ls "$work/all" | wc -l)"
        rm -rf "$work/all" "$work/profiles"
    done
    cd "$root"
done
