//! What happens in the shop, from the seed alone: who registers, who moves, who leaves.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ShopConfig;
use crate::people::{Address, Person};

/// At most so many customers can change or leave; beyond it, a new one takes the place of a random one, which then
/// stays as it is for ever. Bounds the memory of an endless run to some 30 MB.
const CUSTOMERS_MAX: usize = 1 << 17;

/// The next thing that happens. Stores are counted from 0.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Register(Registration),
    Move { customer_id: i64, store: usize },
    ChangeEmail { customer_id: i64, email: String },
    Leave(Customer),
}

/// A customer who is about to register.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Registration {
    pub(super) store: usize,
    pub(super) person: Person,
    pub(super) address: Address,
    number: u32,
}

impl Registration {
    pub(super) fn email(&self) -> String {
        self.person.email(self.number, 0)
    }

    /// The customer, with the identifiers that the database gave.
    pub(super) fn into_customer(self, id: i64, address_id: i64) -> Customer {
        let Self { store, person, number, .. } = self;
        Customer { id, address_id, store, person, number, email_changes: 0 }
    }
}

/// A customer who has registered and not left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Customer {
    pub(super) id: i64,
    pub(super) address_id: i64,
    store: usize,
    person: Person,
    number: u32,
    email_changes: u16,
}

/// Draws what happens.
#[derive(Debug)]
pub(super) struct Plan {
    rng: ChaCha8Rng,
    stores: usize,
    updates: f64,
    deletes: f64,
    registered: u32,
    customers: Vec<Customer>,
}

impl Plan {
    pub(super) fn new(config: &ShopConfig) -> Result<Self, &'static str> {
        if config.stores == 0 {
            return Err("give at least 1 store");
        }
        let (updates, deletes) = (config.updates.as_fraction(), config.deletes.as_fraction());
        if updates + deletes >= 1.0 {
            return Err("updates and deletes together must be less than 100%");
        }
        Ok(Self {
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            stores: usize::from(config.stores),
            updates,
            deletes,
            registered: 0,
            customers: Vec::new(),
        })
    }

    pub(super) fn next_store_address(&mut self) -> Address {
        Address::random(&mut self.rng)
    }

    pub(super) fn next_action(&mut self) -> Action {
        let draw: f64 = self.rng.random();
        let change = if draw < self.deletes {
            self.leave()
        } else if draw < self.deletes + self.updates {
            self.update()
        } else {
            None
        };
        // Also while there is nobody to change.
        change.unwrap_or_else(|| self.register())
    }

    /// Takes in a customer who has registered.
    pub(super) fn add(&mut self, customer: Customer) {
        if self.customers.len() < CUSTOMERS_MAX {
            self.customers.push(customer);
        } else {
            self.customers[self.rng.random_range(0..CUSTOMERS_MAX)] = customer;
        }
    }

    fn register(&mut self) -> Action {
        self.registered = self.registered.wrapping_add(1);
        Action::Register(Registration {
            store: self.rng.random_range(0..self.stores),
            person: Person::random(&mut self.rng),
            address: Address::random(&mut self.rng),
            number: self.registered,
        })
    }

    fn update(&mut self) -> Option<Action> {
        let index = self.pick()?;
        let moves = self.stores > 1 && self.rng.random();
        let customer = &mut self.customers[index];
        if moves {
            // Any distance but 0 and the number of stores ends at another store.
            customer.store = (customer.store + self.rng.random_range(1..self.stores)) % self.stores;
            return Some(Action::Move { customer_id: customer.id, store: customer.store });
        }
        customer.email_changes = customer.email_changes.wrapping_add(1);
        let email = customer.person.email(customer.number, customer.email_changes);
        Some(Action::ChangeEmail { customer_id: customer.id, email })
    }

    fn leave(&mut self) -> Option<Action> {
        let index = self.pick()?;
        Some(Action::Leave(self.customers.swap_remove(index)))
    }

    fn pick(&mut self) -> Option<usize> {
        (!self.customers.is_empty()).then(|| self.rng.random_range(0..self.customers.len()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::units::Share;

    /// Lets `count` things happen, with a database that numbers customers from `first_id`.
    fn actions(config: &ShopConfig, count: usize, first_id: i64) -> Vec<Action> {
        let mut plan = Plan::new(config).unwrap();
        let mut next_id = first_id;
        let mut next = || {
            let action = plan.next_action();
            if let Action::Register(Registration { store, person, number, .. }) = &action {
                let (store, person, number) = (*store, person.clone(), *number);
                plan.add(Customer { id: next_id, address_id: next_id, store, person, number, email_changes: 0 });
                next_id += 1;
            }
            action
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn same_seed_same_actions() {
        let config = ShopConfig::default();
        assert_eq!(actions(&config, 500, 1), actions(&config, 500, 1));
        assert_ne!(actions(&config, 500, 1), actions(&ShopConfig { seed: 2, ..config }, 500, 1));
    }

    #[test]
    fn registrations_do_not_depend_on_identifiers() {
        let registrations = |first_id| {
            let all = actions(&ShopConfig::default(), 500, first_id);
            all.into_iter().filter(|action| matches!(action, Action::Register(_))).collect::<Vec<_>>()
        };
        assert_eq!(registrations(1), registrations(1_000));
    }

    #[test]
    fn only_customers_who_are_there_change_and_leave() {
        let config = ShopConfig {
            stores: 3,
            updates: Share::percent(40.0),
            deletes: Share::percent(20.0),
            ..Default::default()
        };
        let (mut store_of, mut next_id) = (HashMap::new(), 1);
        for action in actions(&config, 2_000, 1) {
            match action {
                Action::Register(registration) => {
                    store_of.insert(next_id, registration.store);
                    next_id += 1;
                }
                Action::Move { customer_id, store } => {
                    assert!(store < 3);
                    assert_ne!(store_of.insert(customer_id, store).unwrap(), store);
                }
                Action::ChangeEmail { customer_id, .. } => assert!(store_of.contains_key(&customer_id)),
                Action::Leave(customer) => assert_eq!(store_of.remove(&customer.id), Some(customer.store)),
            }
        }
    }

    #[test]
    fn shares_are_about_right() {
        let actions = actions(&ShopConfig::default(), 5_000, 1);
        let count = |wanted: fn(&Action) -> bool| actions.iter().filter(|action| wanted(action)).count();
        let updates = count(|action| matches!(action, Action::Move { .. } | Action::ChangeEmail { .. }));
        let deletes = count(|action| matches!(action, Action::Leave(_)));
        assert!((430..570).contains(&updates), "{updates}");
        assert!((70..130).contains(&deletes), "{deletes}");
    }

    #[test]
    fn impossible_shops_are_refused() {
        assert!(Plan::new(&ShopConfig { stores: 0, ..Default::default() }).is_err());
        assert!(Plan::new(&ShopConfig { updates: Share::percent(100.0), ..Default::default() }).is_err());
    }
}
