//! `echoline packets` on captures that the tests make themselves: every kind of file, and
//! every way in which a capture misleads a counter (docs/counting.md).

mod changed;
mod close;
mod container;
mod lines;
mod link;
mod live;
mod order;
mod program;
mod robust;
mod segments;
mod support;
mod verdict;
