//! Fake shops.
