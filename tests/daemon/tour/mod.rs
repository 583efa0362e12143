//! The tour of the packets: `docs/packets.md` and its helpers, `docs/tour.sh`.

mod by_hand;
mod helpers;
mod page;
mod terminal;
