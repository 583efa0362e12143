//! Sums by server, which tell whether a server is a line echo.

use std::collections::{BTreeMap, BTreeSet};

use crate::capture::report::Report;
use crate::capture::segment::Endpoint;
use crate::capture::summary::Totals;

/// Servers that are told apart.
const MAX_SERVERS: usize = 4096;

#[derive(Default)]
pub struct Servers {
    known: BTreeMap<Endpoint, Totals>,
    /// Sums of servers above [`MAX_SERVERS`].
    others: Totals,
}

impl Servers {
    /// Adds a connection.
    pub fn add(&mut self, report: &Report) {
        let has_room = self.known.len() < MAX_SERVERS;
        let totals = if has_room || self.known.contains_key(&report.endpoint) {
            self.known.entry(report.endpoint).or_default()
        } else {
            &mut self.others
        };
        totals.add(report);
    }

    /// The sums of the servers that are line echoes, and the connections of the others.
    pub fn sums(&self, all: bool) -> (Totals, u64) {
        let is_echo = |totals: &Totals| all || totals.is_echo();
        // A server may be an echo on one address and broken on another.
        let echoes = self.known.iter().filter(|(_, totals)| is_echo(totals));
        let ports: BTreeSet<u16> = echoes.map(|(end, _)| end.port).collect();
        let (mut totals, mut no_echo) = (Totals::default(), 0);
        for (end, server) in &self.known {
            if ports.contains(&end.port) {
                totals.merge(server);
            } else {
                no_echo += server.connections;
            }
        }
        if self.others.may_be_echo > 0 {
            totals.merge(&self.others);
        } else {
            no_echo += self.others.connections;
        }
        (totals, no_echo)
    }
}
