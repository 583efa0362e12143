#!/usr/bin/env bash
# Makes the captures in this directory anew, with real servers and clients on port 3000
# of a private network. Needs echoline in the PATH, tcpdump, python3, ip and ss
# (iproute2), unshare(1) and user namespaces, but not root.
#
#   docs/captures/make.sh [DIRECTORY]    the files go to DIRECTORY, by default this one
set -euo pipefail
here=$(realpath "$(dirname "$0")")
target=$(realpath "${1-$here}")

if [ -z "${IN_PRIVATE_NETWORK-}" ]; then
    IN_PRIVATE_NETWORK=1 exec timeout 60 \
        unshare --user --map-user=1000 --keep-caps --net "$here/make.sh" "$target"
fi
ip link set lo up

work=$(mktemp -d)
server='' tcpdump=''
clean_up() {
    for pid in $server $tcpdump; do kill "$pid" || true; done
    rm -r "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# fail MESSAGE [LOG]
fail() {
    echo "make.sh: $1" >&2
    if [ $# -gt 1 ]; then cat "$2" >&2; fi
    exit 1
}

# wait_for WHAT CONDITION...: polls for up to ten seconds.
wait_for() {
    for _ in {1..200}; do
        if "${@:2}"; then return; fi
        sleep 0.05
    done
    fail "timed out waiting for $1"
}

# serve COMMAND...: runs a server on port 3000 until the next call.
serve() {
    if [ -n "$server" ]; then kill "$server"; wait "$server" || true; fi
    "$@" > "$work/server.log" 2>&1 & server=$!
    wait_for "$1 to listen on port 3000" is_listening
}
is_listening() {
    if ! kill -0 "$server" 2> /dev/null; then
        server=''
        fail 'the server exited:' "$work/server.log"
    fi
    ss -tlnpH 'sport = :3000' | grep -q "pid=$server,"
}

# capture NAME PACKETS CLIENT...: captures the packets of one run of the client.
capture() {
    local file=$work/$1.pcap
    : > "$work/tcpdump.log" # Now, not when tcpdump starts in the background.
    tcpdump -i lo --immediate-mode -U -s 128 -w "$file" 'tcp port 3000' \
        2>> "$work/tcpdump.log" & tcpdump=$!
    wait_for 'tcpdump to listen' is_capturing
    "${@:3}"
    wait_for "$2 packets of $1" has_packets "$2" "$file"
    sleep 0.3 # A packet too many is captured as well.
    kill -INT "$tcpdump"; wait "$tcpdump"; tcpdump=''
    # If the machine is busy for 40 ms, a timer sends an ACK.
    if [ "$(count "$file")" != "$2" ]; then fail "$1 has more than $2 packets"; fi
}
is_capturing() {
    if ! kill -0 "$tcpdump" 2> /dev/null; then
        tcpdump=''
        fail 'tcpdump exited:' "$work/tcpdump.log"
    fi
    grep -q 'listening on' "$work/tcpdump.log"
}
has_packets() { [ "$(count "$2")" -ge "$1" ]; }
# While tcpdump writes, the last packet may be incomplete. Then the reader fails after it
# has printed the others.
count() { { tcpdump -nr "$1" 2> /dev/null || true; } | wc -l; }

# The clients. Each waits 0.2 s after it has connected, so that the server has accepted
# the connection when the line arrives, and 0.2 s before it closes.
connect() { exec 3<> /dev/tcp/127.0.0.1/3000; sleep 0.2; }
expect() {
    local echo
    read -r -t 10 echo <&3 || fail "no echo of $1"
    if [ "$echo" != "$1" ]; then fail "an echo of $1 that reads $echo"; fi
}
disconnect() { sleep 0.2; exec 3>&-; }

one_line() { connect; echo 1 >&3; expect 1; disconnect; }
# A capture ends at its last packet. Only a later packet shows that the server had time to
# close the first connection, and did not.
one_line_and_a_later_connection() { one_line; sleep 3; connect; disconnect; }
two_pieces() { connect; printf hel >&3; sleep 0.1; echo lo >&3; expect hello; disconnect; }
# Nagle's algorithm holds the second piece of a line until the first is acknowledged.
two_lines_in_pieces() {
    connect
    for _ in 1 2; do printf hel >&3; echo lo >&3; expect hello; sleep 0.1; done
    disconnect
}
four_lines() {
    connect
    printf 'one\ntwo\nthree\nfour\n' > "$work/lines"
    cat "$work/lines" >&3 # One write; printf makes one for each line.
    for line in one two three four; do expect "$line"; done
    disconnect
}

serve python3 "$here/../tour/two-writes.py"
capture two-writes 16 one_line_and_a_later_connection
serve python3 "$here/../tour/one-write.py"
capture one-write 10 one_line
capture stall 18 two_lines_in_pieces
serve echoline
capture echoline 9 one_line
capture two-piece-client 12 two_pieces
serve echoline --packet-per-line
capture packet-per-line 15 four_lines

mv "$work"/*.pcap "$target"
