#!/usr/bin/env bash
# Makes the pictures in this directory anew: Wireshark shows the captures on a virtual
# screen. Needs wireshark, Xvfb, xdotool, ImageMagick, pngquant and the font DejaVu.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
export WIRESHARK_CONFIG_DIR=$work XDG_RUNTIME_DIR=$work
display='' wireshark=''
clean_up() {
    for pid in $wireshark $display; do kill "$pid" && wait "$pid" || true; done
    rm -r "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# The packet list and the display filter, without other panes and bars. The preference of
# TCP leaves the timestamps out of the column Info.
cat > "$work/preferences" << 'END'
gui.qt.font_name: DejaVu Sans Mono,9
gui.update.enabled: FALSE
tcp.ignore_tcp_timestamps: TRUE
END
cat > "$work/recent" << 'END'
gui.toolbar_main_show: FALSE
gui.filter_toolbar_show: TRUE
gui.packet_list_show: TRUE
gui.tree_view_show: FALSE
gui.byte_view_show: FALSE
gui.statusbar_show: FALSE
column.width: %m, 46, %t, 78, %s, 82, %d, 90, %p, 66, %L, 56, %i, 640
END

# The X server prints its display's number when it is ready.
Xvfb -displayfd 3 -screen 0 1042x500x24 3> "$work/display" 2> "$work/xvfb.log" & display=$!
timeout 10 sh -c "until [ -s '$work/display' ]; do sleep 0.1; done"
DISPLAY=:$(cat "$work/display"); export DISPLAY

# settle WINDOW: returns when the window has looked the same for a second.
settle() {
    local before='' now
    for _ in {1..30}; do
        now=$(import -window "$1" rgb:- | md5sum)
        if [ "$now" = "$before" ]; then return; fi
        before=$now; sleep 1
    done
    echo 'pictures.sh: the window does not settle' >&2; exit 1
}

# picture NAME PACKETS
picture() {
    wireshark -r "$1.pcap" -Y 'tcp.port == 3000' > "$work/wireshark.log" 2>&1 & wireshark=$!
    local window; window=$(timeout 30 xdotool search --sync --onlyvisible --name "^$1.pcap")
    local width=1042 height=$((74 + $2 * 17))
    xdotool windowmove "$window" 0 0 windowsize "$window" $width $((height + 40))
    settle "$window"
    # After a click below the list no packet is selected.
    xdotool mousemove 400 $((height + 20)) click 1
    settle "$window"
    import -window "$window" -crop "${width}x$height+0+0" "$work/$1.png"
    pngquant --force --output "$1.png" 32 "$work/$1.png"
    kill "$wireshark"; wait "$wireshark" || true; wireshark=''
}
picture two-writes 16
picture echoline 9
