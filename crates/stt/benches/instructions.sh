#!/usr/bin/env bash
# Counts instructions and allocations of `instructions.rs` under valgrind: of a stranger's datagram,
# and of the masks in bulk transfer. What differs between two lengths of a run is the cost of what
# was done in between. Takes a minute, after the build. The program may be given as an argument.
set -euo pipefail
cd "$(dirname "$0")/../../.."
command -v valgrind >/dev/null || { echo "needs valgrind" >&2; exit 1; }
program="${1:-$(cargo bench -p stt --bench instructions --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*instructions[^"]*\)".*/\1/p')}"
[ -x "$program" ] || { echo "no program: ${program:-the build failed}" >&2; exit 1; }
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

# Instructions of a run with these arguments; its profile is kept under their names.
count() {
    valgrind --tool=callgrind --callgrind-out-file="$folder/$*" "$program" "$@" 2>"$folder/log" >"$folder/said"
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$folder/log" | grep . || { cat "$folder/log" >&2; exit 1; }
}

# Instructions that calls of $3 by $2 took in the profile $1, with all that they called.
spent() {
    callgrind_annotate --inclusive=yes --tree=caller --threshold=100 "$folder/$1" |
        awk -v caller="$2" -v callee="$3" '
            /^$/ { from = 0 }
            $3 == "<" || $4 == "<" { if ($0 ~ caller) { gsub(",", "", $1); from += $1 } }
            ($3 == "*" || $4 == "*") && $0 ~ callee { total = from }
            END { if (!total) exit 1; print total }' || { echo "$3 is not in the profile $1" >&2; exit 1; }
}

echo "a stranger's datagram of 1,200 bytes, instructions (the sender's own taken off; X25519 alone would be more than 100,000):"
(( none = ($(count strangers 3000 none) - $(count strangers 1000 none)) / 2000 ))
for kind in noise initial recorded; do
    (( each = ($(count strangers 3000 $kind) - $(count strangers 1000 $kind)) / 2000 - none ))
    echo "  $kind: $each"
done

echo "heap in use at the end of a run:"
for length in 1000 3000; do
    valgrind "$program" strangers "$length" noise 2>&1 | sed -n "s/.*in use at exit:/  after $length of noise:/p"
done

echo "bulk transfer at an MTU of 1,452, instructions for each datagram, both ends together:"
for length in 8 40; do
    all="$(count bulk $length)"
    datagrams="$(sed -n 's/datagrams //p' "$folder/said")"
    on="$(spent "bulk $length" ShortHeaders Masks::short)"
    off="$(spent "bulk $length" poll Opaque::unmask_short)"
    [ "$length" = 40 ] || { before=("$all" "$datagrams" "$on" "$off"); continue; }
    (( datagrams -= before[1] ))
    (( all = (all - before[0]) / datagrams, on = (on - before[2]) / datagrams, off = (off - before[3]) / datagrams ))
    awk -v all="$all" -v on="$on" -v off="$off" 'BEGIN {
        masks = on + off
        printf "  all: %d; masks: %d (%d to put one on, %d to take it off and look at the id)\n", all, masks, on, off
        printf "  more than without masks: %.2f %% (target: at most 3 %%)\n", 100 * masks / (all - masks)
        exit masks > 0.03 * (all - masks)
    }'
done
