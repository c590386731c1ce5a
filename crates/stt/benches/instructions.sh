#!/usr/bin/env bash
# Counts instructions and allocations of `instructions.rs` under valgrind: of a stranger's datagram,
# and of the masks in bulk transfer. Takes a minute or two.
set -euo pipefail
cd "$(dirname "$0")/../../.."
command -v valgrind >/dev/null || { echo "needs valgrind"; exit 1; }
program="${1:-$(cargo bench -p stt --bench instructions --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*instructions[^"]*\)".*/\1/p')}"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

# Instructions of a run.
count() {
    valgrind --tool=callgrind --callgrind-out-file="$folder/$1-$2-${3:-}" "$program" "$@" 2>&1 >/dev/null |
        sed -n 's/.*Collected : //p'
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
echo "masks in bulk transfer (MTU 1,452), share of all instructions of both ends:"
count bulk 8 >/dev/null
callgrind_annotate --inclusive=yes --threshold=100 "$folder/bulk-8-" 2>/dev/null |
    grep -E 'PROGRAM TOTALS|Masks::(short|open_long|seal_long)|Opaque::(inbound|unmask_short|outbound)' | cut -c1-150
