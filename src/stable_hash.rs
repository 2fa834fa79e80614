//! A hash that is the same in every build and on every machine: for names and orders that later runs must find again.

use std::hash::Hasher;

/// FNV-1a of bytes.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let mut hasher = fnv::FnvHasher::default();
    hasher.write(bytes);
    hasher.finish()
}
