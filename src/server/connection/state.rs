//! How a connection lives and ends: its states, and what leads from one to the next. Pure: no
//! I/O.

use crate::server::connection::proxy_header::HeaderError;
use crate::server::connection::reason::{CloseCause, LocalClose};

/// Where a connection stands between its accept and its close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// A PROXY header comes in.
    AwaitingHeader,
    /// The same, until the input that has arrived is drained; then the server ends the
    /// connection.
    DrainingHeader(LocalClose),
    /// Lines come in and go out.
    Open,
    /// The same, until the input that has arrived is drained; then the server ends the
    /// connection.
    Draining(LocalClose),
    /// No more lines are read. Pending output goes out, then our FIN. With a reason the
    /// server ends the connection; without, the peer's FIN has come.
    Flushing(Option<LocalClose>),
    /// Our FIN is out. Input is discarded until the peer's FIN.
    Lingering(LocalClose),
    /// Both FINs are out or on their way, and the kernel still sends.
    Closing(Option<LocalClose>),
}

/// How a read of lines ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// More may wait.
    More,
    /// Nothing waits.
    Drained,
    /// The peer has sent its FIN.
    Finished,
}

/// What a read of a PROXY header has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderInput {
    /// A part of the header.
    Part,
    /// Nothing waits.
    Drained,
    /// The rest of the header.
    Complete,
    /// No header, or the peer's FIN after a part of one.
    Wrong(HeaderError),
    /// The peer's FIN, and no byte before it.
    Finished,
}

impl State {
    /// The server ends the connection when the input that has arrived is echoed. Only a
    /// shutdown takes the place of a close that has begun.
    pub fn begin_close(self, why: LocalClose) -> State {
        let replaces = |begun| {
            if why == LocalClose::Shutdown {
                why
            } else {
                begun
            }
        };
        match self {
            State::AwaitingHeader => State::DrainingHeader(why),
            State::DrainingHeader(begun) => State::DrainingHeader(replaces(begun)),
            State::Open => State::Draining(why),
            State::Draining(begun) => State::Draining(replaces(begun)),
            State::Flushing(_) | State::Lingering(_) | State::Closing(_) => self,
        }
    }

    /// After a read of lines, which `received` bytes or did not, and met a line that is
    /// `too_long` or did not. Input ends an idle close: the event was late.
    pub fn after_read(self, input: Input, received: bool, too_long: bool) -> State {
        match (self, input) {
            _ if too_long => State::Flushing(Some(LocalClose::LineLimit)),
            (_, Input::Finished) => State::Flushing(None),
            (State::Draining(LocalClose::IdleTimeout), _) if received => State::Open,
            (State::Draining(why), Input::Drained) => State::Flushing(Some(why)),
            _ => self,
        }
    }

    /// After a read of a header. A header that arrives in time for the close is followed by
    /// lines, which a shutdown still echoes.
    pub fn after_header_read(self, input: HeaderInput) -> State {
        match (self, input) {
            (_, HeaderInput::Wrong(e)) => State::Flushing(Some(LocalClose::ProxyHeader(e))),
            (_, HeaderInput::Finished) => State::Flushing(None),
            (State::DrainingHeader(LocalClose::Shutdown), HeaderInput::Complete) => {
                State::Draining(LocalClose::Shutdown)
            }
            (_, HeaderInput::Complete) => State::Open,
            (State::DrainingHeader(LocalClose::IdleTimeout), HeaderInput::Part) => {
                State::AwaitingHeader
            }
            (State::DrainingHeader(why), HeaderInput::Drained) => State::Flushing(Some(why)),
            _ => self,
        }
    }

    /// After our FIN, when everything is sent: the peer's FIN is awaited, or was first.
    pub fn after_fin(self) -> State {
        match self {
            State::Flushing(Some(why)) => State::Lingering(why),
            _ => self.closing(),
        }
    }

    /// Both FINs are out, and the kernel has not sent everything.
    pub fn closing(self) -> State {
        State::Closing(self.local_close())
    }

    /// Why the connection is closed if it ends now: by the server, if the server has stopped
    /// reading lines, else for `cause`.
    pub fn cause(self, cause: CloseCause) -> CloseCause {
        self.local_close().map_or(cause, CloseCause::Local)
    }

    /// The reason of a server that has stopped reading lines.
    fn local_close(self) -> Option<LocalClose> {
        match self {
            State::Flushing(why) | State::Closing(why) => why,
            State::Lingering(why) => Some(why),
            State::AwaitingHeader | State::DrainingHeader(_) | State::Open | State::Draining(_) => {
                None
            }
        }
    }

    pub fn awaits_header(self) -> bool {
        matches!(self, State::AwaitingHeader | State::DrainingHeader(_))
    }

    pub fn reads_lines(self) -> bool {
        matches!(self, State::Open | State::Draining(_))
    }

    /// Whether our FIN follows the output at once, and may ride on its last segment.
    pub fn fin_follows(self) -> bool {
        matches!(self, State::Flushing(_))
    }

    /// Whether our FIN is out, or on its way.
    pub fn has_sent_fin(self) -> bool {
        matches!(self, State::Lingering(_) | State::Closing(_))
    }

    /// Whether a close has begun, which has a time limit of its own.
    pub fn is_ending(self) -> bool {
        !matches!(self, State::AwaitingHeader | State::Open)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::io;

    use super::*;

    /// What ends a connection.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum End {
        PeerFinishes,
        SocketFails,
        TimeRunsOut,
    }
    use End::{PeerFinishes, SocketFails, TimeRunsOut};

    /// Closes that a timer or a shutdown begins.
    const BEGUN: [LocalClose; 3] = [
        LocalClose::IdleTimeout,
        LocalClose::Shutdown,
        LocalClose::ProxyHeader(HeaderError::Timeout),
    ];

    /// The states that one input leads to, as the server and the connection apply them.
    fn successors(state: State) -> Vec<State> {
        let mut next: Vec<State> = BEGUN.iter().map(|&why| state.begin_close(why)).collect();
        if state.awaits_header() {
            use HeaderInput::{Complete, Drained, Finished, Part, Wrong};
            let wrong = Wrong(HeaderError::Incomplete);
            let inputs = [Part, Drained, Complete, wrong, Finished];
            next.extend(inputs.map(|input| state.after_header_read(input)));
        }
        if state.reads_lines() {
            for input in [Input::More, Input::Drained, Input::Finished] {
                for (received, too_long) in [(false, false), (true, false), (true, true)] {
                    next.push(state.after_read(input, received, too_long));
                }
            }
        }
        if matches!(state, State::Flushing(_)) {
            next.push(state.after_fin());
        }
        if matches!(state, State::Lingering(_)) {
            next.push(state.closing());
        }
        next
    }

    /// What can end a connection in this state, and the reason that it then has.
    fn ends(state: State) -> BTreeMap<End, String> {
        let is_over = matches!(
            state,
            State::Flushing(None) | State::Lingering(_) | State::Closing(_)
        );
        let peer = is_over.then_some((PeerFinishes, CloseCause::Peer));
        let error = CloseCause::Error(io::Error::other("any"));
        let shutdown = CloseCause::Local(LocalClose::Shutdown);
        let others = [(SocketFails, error), (TimeRunsOut, shutdown)];
        let all = peer.into_iter().chain(others);
        all.map(|(end, reason)| (end, state.cause(reason).to_string()))
            .collect()
    }

    fn name(state: State) -> String {
        format!("{state:?}")
    }

    /// Every state that any sequence of inputs reaches from `starts`.
    fn reachable(starts: &[State]) -> BTreeMap<String, State> {
        let mut found = BTreeMap::new();
        let mut open = starts.to_vec();
        while let Some(state) = open.pop() {
            if found.insert(name(state), state).is_none() {
                open.extend(successors(state));
            }
        }
        found
    }

    const STARTS: [State; 2] = [State::AwaitingHeader, State::Open];

    #[test]
    fn any_input_leads_to_these_states_only() {
        let count = |is: fn(&State) -> bool| reachable(&STARTS).into_values().filter(is).count();
        assert_eq!(count(|state| matches!(state, State::DrainingHeader(_))), 3);
        assert_eq!(count(|state| matches!(state, State::Draining(_))), 3);
        // Those three, a line that is too long, a wrong header, and the peer's FIN.
        assert_eq!(count(|state| matches!(state, State::Flushing(_))), 6);
        assert_eq!(count(|state| matches!(state, State::Lingering(_))), 5);
        assert_eq!(count(|state| matches!(state, State::Closing(_))), 6);
        assert_eq!(reachable(&STARTS).len(), 2 + 3 + 3 + 6 + 5 + 6);
    }

    /// A peer that finishes, and no error and no timeout, is enough to come to the close.
    #[test]
    fn no_state_is_a_dead_end() {
        for (name, state) in reachable(&STARTS) {
            let from_here = reachable(&[state]);
            let closes = |state: &State| ends(*state).contains_key(&PeerFinishes);
            assert!(from_here.values().any(closes), "{name}");
        }
    }

    /// Once our FIN is out, no input leads back to a state that sends one: there is one FIN,
    /// and one close.
    #[test]
    fn nothing_comes_after_the_fin_but_the_close() {
        for state in reachable(&STARTS).into_values() {
            let after = matches!(state, State::Lingering(_) | State::Closing(_));
            for next in successors(state).into_iter().filter(|_| after) {
                assert!(matches!(next, State::Lingering(_) | State::Closing(_)));
                assert_eq!(next.local_close(), state.local_close(), "one reason");
            }
        }
    }

    /// What docs/behaviour.md says of the reasons: a row for each kind of state, a column for
    /// each end.
    #[test]
    fn every_way_to_the_close_has_the_reason_that_the_documents_give() {
        let page = include_str!("../../../docs/behaviour.md");
        let row = |begins: &str| -> Vec<String> {
            let line = page.lines().find(|line| line.starts_with(begins));
            let cells = line.expect("a row").split('|').skip(2);
            cells.map(|cell| cell.trim().replace('`', "")).collect()
        };
        let (reads, finished) = (
            row("| the server reads |"),
            row("| the peer's FIN came first |"),
        );
        let ended = row("| the server has stopped reading |");
        let mut seen = BTreeSet::new();
        for (name, state) in reachable(&STARTS) {
            let cells = match state.local_close() {
                Some(_) => &ended,
                None if state.awaits_header() || state.reads_lines() => &reads,
                None => &finished,
            };
            for (end, reason) in ends(state) {
                let cell = &cells[end as usize];
                let expected = match state.local_close() {
                    Some(why) if cell == "its reason" => CloseCause::Local(why).to_string(),
                    _ => cell.replace("error or send timeout", "error (any)"),
                };
                assert_eq!(reason, expected, "{name}, {end:?}");
                seen.insert(cell.clone());
            }
        }
        assert_eq!(seen.len(), 4, "{seen:?}");
    }
}
