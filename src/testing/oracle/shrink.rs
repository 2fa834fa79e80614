//! Making a failing scenario as small as it goes.

use super::scenario::Scenario;

/// The most tries.
const TRIES: usize = 400;

/// Leaves out what can be left out while it still fails: halves first, then less and less.
pub(super) async fn shrink<F: Future<Output = bool>>(
    mut scenario: Scenario,
    fails: impl Fn(Scenario) -> F,
) -> Scenario {
    let (mut tries, mut size) = (0, scenario.items.len().div_ceil(2));
    while size > 0 && tries < TRIES {
        let mut at = 0;
        let before = scenario.items.len();
        while at < scenario.items.len() && tries < TRIES {
            let mut smaller = scenario.clone();
            smaller.items.drain(at..(at + size).min(scenario.items.len()));
            tries += 1;
            match fails(smaller.clone()).await {
                true => scenario = smaller,
                false => at += size,
            }
        }
        if size > 1 {
            size = size.div_ceil(2).min(size - 1);
        } else if scenario.items.len() == before {
            break;
        }
    }
    scenario
}
