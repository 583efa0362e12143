//! A second host, joined to the test's own network by an Ethernet link.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::{self, Command};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use crate::support::{Daemon, connect};

/// The server's port on every address.
const PORT: u16 = 3000;

/// Starts a daemon that listens on every link, on loopback besides.
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

/// A link from this network namespace, the server's, to one for clients. The
/// client's namespace, and the link with it, lasts as long as its descriptor.
pub struct Link {
    number: u8,
    /// The interface's name, the same on both hosts.
    pub interface: String,
    client: File,
}

impl Link {
    /// `number` tells links and their addresses apart. Segmentation offload is
    /// off, so a packet carries one segment.
    pub fn new(number: u8, mtu: usize) -> Link {
        let unshared = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let link = Link {
            number,
            interface: format!("link{number}"),
            client: unshared.join().unwrap(),
        };
        let (name, server) = (&link.interface, process::id());
        link.run(
            Client,
            &format!(
                "ip link add {name} mtu {mtu} type veth peer name {name} mtu {mtu} netns {server}"
            ),
        );
        for host in [Server, Client] {
            let v4 = link.address(host, Family::V4);
            let v6 = link.address(host, Family::V6);
            for command in [
                format!("ip address add {}/24 dev {name}", v4.ip()),
                format!("ip address add {}/64 dev {name} nodad", v6.ip()),
                format!("ethtool -K {name} tso off gso off gro off"),
                format!("ip link set {name} gso_max_segs 1 up"),
                "nft add table inet link".to_string(),
                "nft add chain inet link input { type filter hook input priority 0 ; }".to_string(),
            ] {
                link.run(host, &command);
            }
        }
        link
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

    /// Runs a command on `host`; its words are separated by spaces.
    pub fn run(&self, host: Host, command: &str) {
        let output = self.on(host, || {
            let mut words = command.split(' ');
            let program = words.next().unwrap();
            let output = Command::new(program).args(words).output();
            output.unwrap_or_else(|e| panic!("{program} is not installed: {e}"))
        });
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {stderr}");
    }

    /// Adds `action` for the TCP packets that arrive at `host` on this link.
    pub fn on_arrival_at(&self, host: Host, action: &str) {
        let name = &self.interface;
        self.run(
            host,
            &format!("nft add rule inet link input iifname {name} meta l4proto tcp {action}"),
        );
    }

    /// Runs `work` in a thread that has moved to the network namespace of
    /// `host`. Sockets that it makes stay there.
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
