//! A client's host, joined to the server's by an Ethernet link.

use std::fs::{self, File};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::{self, Command, Output};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use super::clients::connect;
use super::daemon::Daemon;

/// The server's port on every address.
const PORT: u16 = 3000;

/// Starts a daemon that listens on all links and on loopback.
pub fn start_daemon(args: &[&str]) -> Daemon {
    let listen = ["--listen", "0.0.0.0:3000", "--listen", "[::]:3000"];
    let daemon = Daemon::start_with(&[&listen, args].concat());
    daemon.wait_for_record("listening on [::]:3000");
    daemon
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Which end of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    Server,
    Client,
}
use Host::{Client, Server};

/// A link from this network namespace, the server's, to a new one for clients.
pub struct Link {
    number: u8,
    /// The interface's name, the same on both hosts.
    pub interface: String,
    /// The client's namespace. The kernel removes it, with the link, when this is closed.
    client: File,
}

impl Link {
    /// Sets up a link without segmentation offload, so that a packet is one segment.
    /// The addresses contain `number`, which must be unique.
    pub fn new(number: u8, mtu: usize) -> Link {
        let link = Link {
            number,
            interface: format!("link{number}"),
            client: new_network_namespace(),
        };
        let (name, server) = (&link.interface, process::id());
        let end = format!("name {name} mtu {mtu}");
        link.run(
            Client,
            &format!("ip link add {end} type veth peer {end} netns {server}"),
        );
        link.configure(Server, mtu);
        link.configure(Client, mtu);
        link
    }

    /// Configures the interface on `host`, and its packet filter. IPv6 needs an MTU of 1,280.
    fn configure(&self, host: Host, mtu: usize) {
        let name = &self.interface;
        let v4 = self.address(host, Family::V4);
        let v6 = self.address(host, Family::V6);
        for command in [
            format!("ip address add {}/24 dev {name}", v4.ip()),
            format!("ethtool -K {name} tso off gso off gro off"),
            format!("ip link set {name} gso_max_segs 1 up"),
            "nft add table inet link".to_string(),
            "nft add chain inet link input { type filter hook input priority 0 ; }".to_string(),
        ] {
            self.run(host, &command);
        }
        if mtu >= 1280 {
            let command = format!("ip address add {}/64 dev {name} nodad", v6.ip());
            self.run(host, &command);
        }
    }

    /// A host's address on this link, with the server's port.
    pub fn address(&self, host: Host, family: Family) -> SocketAddr {
        let host = if host == Server { 1 } else { 2 };
        match family {
            Family::V4 => (Ipv4Addr::new(10, 77, self.number, host), PORT).into(),
            Family::V6 => {
                let [link, host] = [self.number, host].map(u16::from);
                (Ipv6Addr::new(0xfd77, link, 0, 0, 0, 0, 0, host), PORT).into()
            }
        }
    }

    /// Connects from the client's host.
    pub fn connect(&self, family: Family) -> TcpStream {
        let server = self.address(Server, family);
        self.on(Client, || connect(server))
    }

    /// Runs a command on `host`. Spaces separate its words.
    pub fn run(&self, host: Host, command: &str) {
        self.output_of(host, command);
    }

    /// As [`Link::run`]; returns what the command prints.
    pub fn output_of(&self, host: Host, command: &str) -> String {
        let output = self.output(host, command);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command on `host`, which may fail. Spaces separate its words.
    pub fn output(&self, host: Host, command: &str) -> Output {
        self.on(host, || {
            let mut words = command.split(' ');
            let program = words.next().unwrap();
            let output = Command::new(program).args(words).output();
            output.unwrap_or_else(|e| panic!("{program} is not installed: {e}"))
        })
    }

    /// Sets `/proc/sys/net/ipv4/NAME` on `host`.
    pub fn set(&self, host: Host, name: &str, value: &str) {
        let file = format!("/proc/sys/net/ipv4/{name}");
        self.on(host, || fs::write(file, value).unwrap());
    }

    /// Adds a filter rule: `action` for TCP packets that arrive at `host` on this link.
    pub fn on_arrival_at(&self, host: Host, action: &str) {
        let name = &self.interface;
        self.run(
            host,
            &format!("nft add rule inet link input iifname {name} meta l4proto tcp {action}"),
        );
    }

    /// Each tenth packet that `host` sends waits for a slow queue, so that later ones overtake
    /// it.
    pub fn delay_each_tenth_packet_from(&self, host: Host) {
        let name = &self.interface;
        let slow = "chain inet link slow { type route hook output priority 0 ; }";
        let rule = format!(
            "rule inet link slow oifname {name} meta l4proto tcp numgen inc mod 10 == 0 \
             meta priority set 1:2"
        );
        for command in [
            format!("tc qdisc add dev {name} root handle 1: htb default 1"),
            format!("tc class add dev {name} parent 1: classid 1:1 htb rate 10gbit"),
            format!(
                "tc class add dev {name} parent 1: classid 1:2 htb rate 200kbit burst 100 cburst 100"
            ),
            format!("nft add {slow}"),
            format!("nft add {rule}"),
        ] {
            self.run(host, &command);
        }
    }

    /// Lets `host` send again after 20 ms, not only after 200.
    pub fn retransmit_early(&self, host: Host, family: Family) {
        let (name, addr) = (&self.interface, self.address(host, family).ip());
        let number = self.number;
        let route = match family {
            Family::V4 => format!("10.77.{number}.0/24 dev {name} src {addr}"),
            Family::V6 => format!("fd77:{number:x}::/64 dev {name} proto kernel"),
        };
        self.run(host, &format!("ip route replace {route} rto_min 20ms"));
    }

    /// Lets the kernel of `host` send several segments as one packet, as it does by default.
    pub fn offload_segmentation(&self, host: Host) {
        let name = &self.interface;
        self.run(host, &format!("ip link set {name} gso_max_segs 64"));
        self.run(host, &format!("ethtool -K {name} tso on gso on gro on"));
    }

    /// Runs `work` in a thread in the network namespace of `host`. Sockets that `work`
    /// creates stay in that namespace.
    fn on<T: Send>(&self, host: Host, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let moved = scope.spawn(|| {
                if host == Client {
                    setns(&self.client, CloneFlags::CLONE_NEWNET).unwrap();
                }
                work()
            });
            moved.join().unwrap()
        })
    }
}

fn new_network_namespace() -> File {
    let unshared = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap()
    });
    unshared.join().unwrap()
}
