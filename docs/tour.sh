# Helpers for the tour of the packets (packets.md). Read them into bash with
#
#     . docs/tour.sh
#
# Except for serve and stop_server, each function runs in a subshell: its redirections,
# jobs and traps end with it.

# The server's log and the last capture are here.
[ -d "${tour_dir-}" ] || tour_dir=$(mktemp -d -t echoline-tour.XXXXXX)

# Where the servers listen and the clients connect. Other values are for other servers.
tour_host=${tour_host-127.0.0.1} tour_port=${tour_port-3000}

# serve COMMAND...: run a server on $tour_port until the next call or the end of the shell.
serve() {
    stop_server
    # The kernel kills the server when the shell ends (prctl(2)). bash announces a job on
    # stderr when it starts, and when it ends unless it is disowned.
    { setpriv --pdeathsig KILL -- "$@" < /dev/null >| "$tour_dir/server.log" 2>&1 & } 2> /dev/null
    tour_server=$!
    disown "$tour_server"
    local deadline=$((SECONDS + 5)) failure
    until server_listens; do
        if ! kill -0 "$tour_server" 2> /dev/null; then
            failure='ended before it listened'
        elif ((SECONDS >= deadline)); then
            failure='does not listen after 5 s'
        else
            sleep 0.1
            continue
        fi
        echo "serve: $*: $failure on port $tour_port" >&2
        cat "$tour_dir/server.log" >&2
        stop_server
        return 1
    done
}

# Whether a server listens on $tour_port. While a process that serve has started runs,
# another process that listens there does not count.
server_listens() {
    ss -tlnpH "sport = :$tour_port" | grep -q "${tour_server:+pid=$tour_server,}"
}

# Stop the server that runs, if any.
stop_server() {
    [ -n "${tour_server-}" ] || return 0
    local deadline=$((SECONDS + 6)) signal=TERM
    while kill -s "$signal" "$tour_server" 2> /dev/null; do
        sleep 0.1
        # 0 only asks whether the process exists. A second TERM would abort echoline.
        if ((SECONDS < deadline)); then signal=0; else signal=KILL; fi
    done
    unset tour_server
}

# capture COMMAND...: run a client, then print what echoline says of the packets of $tour_port.
capture() (
    if ! server_listens; then
        echo "capture: no server${tour_server:+ of serve} listens on port $tour_port" >&2
        exit 1
    fi
    # bash opens the file, because tcpdump of root opens files as another user.
    exec 4< <(exec tcpdump -i lo -nn --immediate-mode -s 256 -B 8192 -U -w - \
        "tcp port $tour_port" 2>&1 >| "$tour_dir/trace.pcap")
    tcpdump=$!
    trap 'kill "$tcpdump" 2> /dev/null' EXIT
    words=
    until [[ $words == *'listening on'* ]]; do
        if ! read -r -t 5 -u 4 line; then
            printf 'capture: %s\n' "${words:-tcpdump does not listen after 5 s}" >&2
            exit 1
        fi
        words+=${words:+$'\n'}$line
    done

    "$@" 4<&-
    status=$?

    sleep 0.5 # longer than the kernel delays an ACK
    kill "$tcpdump"
    # At its end tcpdump prints how many packets it could not capture.
    while read -r -t 5 -u 4 line; do
        if [[ $line == [1-9]*' packet'*' dropped '* ]]; then
            echo "capture: $line" >&2
            status=1
        fi
    done
    cd "$tour_dir" && echoline packets --port "$tour_port" trace.pcap || exit
    exit "$status"
)

# No client waits longer than 5 s for an echo. The clients pause after the connect, so
# that the server has accepted the connection and its packets have an order, and before the
# close, so that the ACK of the last echo does not ride on the FIN.

# send_lines LINE...: send each line after the echo of the one before.
send_lines() (
    tour_connect
    for line; do
        printf '%s\n' "$line" >&3
        tour_await_echoes 1
    done
    sleep 0.2
)

# send_together LINE...: send all lines with one write.
send_together() (
    tour_connect
    lines=$(printf '%s\n' "$@")
    cat <<< "$lines" >&3
    tour_await_echoes $#
    sleep 0.2
)

# send_in_pieces COUNT: send COUNT lines, each with two writes.
send_in_pieces() (
    tour_connect
    for ((i = 0; i < $1; i++)); do
        printf hel >&3
        printf 'lo\n' >&3
        tour_await_echoes 1
    done
    sleep 0.2
)

# send_with_nc LINE: send one line with nc, then half-close the connection.
send_with_nc() (
    { sleep 0.2; printf '%s\n' "$1"; sleep 0.2; } | nc -N -w 5 "$tour_host" "$tour_port"
)

# For subshells only: the connection stays open as file descriptor 3.
tour_connect() {
    exec 3<> "/dev/tcp/$tour_host/$tour_port" || exit
    sleep 0.2
}

# tour_await_echoes COUNT
tour_await_echoes() {
    local i
    for ((i = 0; i < $1; i++)); do
        if ! read -r -t 5 -u 3; then
            echo 'no echo after 5 s' >&2
            exit 1
        fi
    done
}
