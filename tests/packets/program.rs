//! The program: what it prints, and its exit status.
