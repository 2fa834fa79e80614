//! How many cases a property test tries, and which.

use std::env;

use proptest::test_runner::{Config, RngSeed};

/// The same cases each time, so that `make test` says the same of the same code. `PROPTEST_CASES=20000` tries as many new ones.
pub(crate) fn properties(cases: u32) -> Config {
    let config = Config { failure_persistence: None, ..Config::default() };
    match (env::var_os("PROPTEST_CASES"), env::var_os("PROPTEST_RNG_SEED")) {
        (Some(_), _) => config,
        (None, Some(_)) => Config { cases, ..config },
        (None, None) => Config { cases, rng_seed: RngSeed::Fixed(1), ..config },
    }
}
