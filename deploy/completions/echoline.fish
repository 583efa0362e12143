# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_echoline_global_optspecs
    string join \n l/listen= reuse-port packet-per-line prefix= max-line= max-connections= max-per-ip= proxy-protocol proxy-timeout= idle-timeout= send-timeout= keepalive= drain-timeout= busy-poll= no-log-empty metrics= v/verbose q/quiet h/help V/version
end

function __fish_echoline_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_echoline_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_echoline_using_subcommand
    set -l cmd (__fish_echoline_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c echoline -n "__fish_echoline_needs_command" -s l -l listen -d 'Address to listen on, repeatable; a port alone means all addresses' -r
complete -c echoline -n "__fish_echoline_needs_command" -l prefix -d 'Put this text before each echoed line' -r
complete -c echoline -n "__fish_echoline_needs_command" -l max-line -d 'Longest line, newline included' -r
complete -c echoline -n "__fish_echoline_needs_command" -l max-connections -d 'Most open connections; 0: as many as file descriptors allow' -r
complete -c echoline -n "__fish_echoline_needs_command" -l max-per-ip -d 'Most open connections from one address; 0: no limit' -r
complete -c echoline -n "__fish_echoline_needs_command" -l proxy-timeout -d 'How long a PROXY protocol header may take; 0: only the idle timeout' -r
complete -c echoline -n "__fish_echoline_needs_command" -l idle-timeout -d 'Close a connection that sends nothing for this long; 0: never' -r
complete -c echoline -n "__fish_echoline_needs_command" -l send-timeout -d 'Close a connection if its peer takes nothing for this long; 0: never' -r
complete -c echoline -n "__fish_echoline_needs_command" -l keepalive -d 'Idle time before the first keepalive probe; 0: no probes' -r
complete -c echoline -n "__fish_echoline_needs_command" -l drain-timeout -d 'How long a stop may take' -r
complete -c echoline -n "__fish_echoline_needs_command" -l busy-poll -d 'Poll this long after an event before sleeping' -r
complete -c echoline -n "__fish_echoline_needs_command" -l metrics -d 'Serve /metrics, /healthz and /readyz over HTTP; a port alone means all addresses' -r
complete -c echoline -n "__fish_echoline_needs_command" -l reuse-port -d 'Share the addresses with other processes that have this option'
complete -c echoline -n "__fish_echoline_needs_command" -l packet-per-line -d 'One packet per echoed line'
complete -c echoline -n "__fish_echoline_needs_command" -l proxy-protocol -d 'Expect a PROXY protocol header, which names the client, on each connection'
complete -c echoline -n "__fish_echoline_needs_command" -l no-log-empty -d 'Do not log connections that never send a byte'
complete -c echoline -n "__fish_echoline_needs_command" -s v -l verbose -d '-v logs each message, -vv each event'
complete -c echoline -n "__fish_echoline_needs_command" -s q -l quiet -d 'Log warnings and errors only'
complete -c echoline -n "__fish_echoline_needs_command" -s h -l help -d 'Print help'
complete -c echoline -n "__fish_echoline_needs_command" -s V -l version -d 'Print version'
complete -c echoline -n "__fish_echoline_needs_command" -f -a "ping" -d 'Check a line echo: send lines, compare echoes, count packets'
complete -c echoline -n "__fish_echoline_needs_command" -f -a "packets" -d 'Count the packets of a capture, and say which carried which line'
complete -c echoline -n "__fish_echoline_needs_command" -f -a "health" -d 'Check the server that has these options and variables'
complete -c echoline -n "__fish_echoline_using_subcommand ping" -s c -l count -d 'Stop after this many lines per connection' -r
complete -c echoline -n "__fish_echoline_using_subcommand ping" -s i -l interval -d 'Time between lines, or connections; 0: the next line as soon as the echo is there' -r
complete -c echoline -n "__fish_echoline_using_subcommand ping" -s s -l size -d 'Bytes per line, newline included' -r
complete -c echoline -n "__fish_echoline_using_subcommand ping" -s w -l deadline -d 'Stop after this time' -r
complete -c echoline -n "__fish_echoline_using_subcommand ping" -s W -l timeout -d 'How long an echo, a connect and the server\'s FIN may take' -r
complete -c echoline -n "__fish_echoline_using_subcommand ping" -l burst -d 'Send this many lines with one write, then wait for their echoes' -r
complete -c echoline -n "__fish_echoline_using_subcommand ping" -l connections -d 'Open this many connections: in turn with one line each unless --count says more; with --interval 0, side by side' -r
complete -c echoline -n "__fish_echoline_using_subcommand ping" -l expect-packets -d 'Fail if an echo takes more or fewer data packets' -r
complete -c echoline -n "__fish_echoline_using_subcommand ping" -l prefix -d 'Expect this text before each echoed line' -r
complete -c echoline -n "__fish_echoline_using_subcommand ping" -l skip-lines -d 'Ignore this many lines at first, such as a greeting' -r
complete -c echoline -n "__fish_echoline_using_subcommand ping" -l proxy-header -d 'Begin each connection with a PROXY protocol header; without a client it says UNKNOWN or LOCAL' -r
complete -c echoline -n "__fish_echoline_using_subcommand ping" -s q -l quiet -d 'Print the summary only'
complete -c echoline -n "__fish_echoline_using_subcommand ping" -s 4 -l ipv4 -d 'Connect to IPv4 addresses only'
complete -c echoline -n "__fish_echoline_using_subcommand ping" -s 6 -l ipv6 -d 'Connect to IPv6 addresses only'
complete -c echoline -n "__fish_echoline_using_subcommand ping" -l open-loop -d 'Send each line when it is due, also while echoes are missing'
complete -c echoline -n "__fish_echoline_using_subcommand ping" -l half-close -d 'Send the FIN with the last line, then expect every echo and the server\'s FIN'
complete -c echoline -n "__fish_echoline_using_subcommand ping" -l expect-close -d 'Fail if the server does not close after the client'
complete -c echoline -n "__fish_echoline_using_subcommand ping" -l count-prefixes -d 'Accept any text before each echoed line, and count the echoes by it'
complete -c echoline -n "__fish_echoline_using_subcommand ping" -s D -l timestamps -d 'Print the time before each line, in seconds since 1970'
complete -c echoline -n "__fish_echoline_using_subcommand ping" -l json -d 'Print a JSON object per line and for the summary'
complete -c echoline -n "__fish_echoline_using_subcommand ping" -l histogram -d 'Draw the distribution of the round-trip times'
complete -c echoline -n "__fish_echoline_using_subcommand ping" -s h -l help -d 'Print help'
complete -c echoline -n "__fish_echoline_using_subcommand packets" -l port -d 'The server\'s port, where the capture does not tell; other ports are left out' -r
complete -c echoline -n "__fish_echoline_using_subcommand packets" -l expect-packets -d 'Fail if an echo takes more or fewer data packets' -r
complete -c echoline -n "__fish_echoline_using_subcommand packets" -l max-connections -d 'Most connections that are followed at a time' -r
complete -c echoline -n "__fish_echoline_using_subcommand packets" -l expect-close -d 'Fail if the server does not send a FIN after the client\'s'
complete -c echoline -n "__fish_echoline_using_subcommand packets" -l all -d 'Print every packet of every connection, in the order of the file'
complete -c echoline -n "__fish_echoline_using_subcommand packets" -s q -l quiet -d 'Print the totals only'
complete -c echoline -n "__fish_echoline_using_subcommand packets" -l json -d 'Print a JSON object per packet, per connection and for the summary'
complete -c echoline -n "__fish_echoline_using_subcommand packets" -s h -l help -d 'Print help'
complete -c echoline -n "__fish_echoline_using_subcommand health" -s l -l listen -d 'Address to listen on, repeatable; a port alone means all addresses' -r
complete -c echoline -n "__fish_echoline_using_subcommand health" -l prefix -d 'Put this text before each echoed line' -r
complete -c echoline -n "__fish_echoline_using_subcommand health" -l max-line -d 'Longest line, newline included' -r
complete -c echoline -n "__fish_echoline_using_subcommand health" -l max-connections -d 'Most open connections; 0: as many as file descriptors allow' -r
complete -c echoline -n "__fish_echoline_using_subcommand health" -l max-per-ip -d 'Most open connections from one address; 0: no limit' -r
complete -c echoline -n "__fish_echoline_using_subcommand health" -l proxy-timeout -d 'How long a PROXY protocol header may take; 0: only the idle timeout' -r
complete -c echoline -n "__fish_echoline_using_subcommand health" -l idle-timeout -d 'Close a connection that sends nothing for this long; 0: never' -r
complete -c echoline -n "__fish_echoline_using_subcommand health" -l send-timeout -d 'Close a connection if its peer takes nothing for this long; 0: never' -r
complete -c echoline -n "__fish_echoline_using_subcommand health" -l keepalive -d 'Idle time before the first keepalive probe; 0: no probes' -r
complete -c echoline -n "__fish_echoline_using_subcommand health" -l drain-timeout -d 'How long a stop may take' -r
complete -c echoline -n "__fish_echoline_using_subcommand health" -l busy-poll -d 'Poll this long after an event before sleeping' -r
complete -c echoline -n "__fish_echoline_using_subcommand health" -l metrics -d 'Serve /metrics, /healthz and /readyz over HTTP; a port alone means all addresses' -r
complete -c echoline -n "__fish_echoline_using_subcommand health" -l reuse-port -d 'Share the addresses with other processes that have this option'
complete -c echoline -n "__fish_echoline_using_subcommand health" -l packet-per-line -d 'One packet per echoed line'
complete -c echoline -n "__fish_echoline_using_subcommand health" -l proxy-protocol -d 'Expect a PROXY protocol header, which names the client, on each connection'
complete -c echoline -n "__fish_echoline_using_subcommand health" -l no-log-empty -d 'Do not log connections that never send a byte'
complete -c echoline -n "__fish_echoline_using_subcommand health" -s v -l verbose -d '-v logs each message, -vv each event'
complete -c echoline -n "__fish_echoline_using_subcommand health" -s q -l quiet -d 'Log warnings and errors only'
complete -c echoline -n "__fish_echoline_using_subcommand health" -s h -l help -d 'Print help'
