//! Finds connections by the addresses of both ends.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use crate::capture::segment::Endpoint;

/// Places of connections, by the hash of their ends.
pub type Index = HashMap<u64, usize, BuildHasherDefault<Hashed>>;

/// A hash of two endpoints in either order, of a random key, so that no capture can have
/// several with the same.
pub struct AddressHash([u64; 4]);

impl AddressHash {
    pub fn random() -> AddressHash {
        let state = RandomState::new();
        AddressHash([0_u8, 1, 2, 3].map(|i| state.hash_one(i)))
    }

    fn endpoint(&self, endpoint: Endpoint) -> u64 {
        let ([high, low], [a, b, c, _]) = (endpoint.addr, self.0);
        fold(fold(high ^ a, low ^ b) ^ u64::from(endpoint.port), c)
    }

    pub fn pair(&self, a: Endpoint, b: Endpoint) -> u64 {
        fold(self.endpoint(a).wrapping_add(self.endpoint(b)), self.0[3])
    }
}

#[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The hash of a key that is one.
#[derive(Default)]
pub struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
