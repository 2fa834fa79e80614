//! The customers as they are now: what updates and deletes can pick, and their rows.

use rand::{Rng, RngExt};

use super::text::{push_i64, push_iso_seconds, push_json_escaped, push_u64};
use crate::people::Person;

/// Different people; customers share them, with a different e-mail address each.
const PEOPLE: usize = 4096;

/// At most so many customers can be picked for an update or a delete; beyond it, a new one takes the place of a random
/// one, which then stays as it is for ever. Bounds the memory to 24 MiB for any number of events.
const CUSTOMERS_MAX: usize = 1 << 20;

/// A row of the table, without what follows from the customer's number: the person and the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Customer {
    pub(super) created_ms: i64,
    pub(super) id: u32,
    /// In seconds since 1970, enough until 2106.
    pub(super) updated_s: u32,
    pub(super) store_id: u16,
    pub(super) email_changes: u16,
}

/// The live customers, in no order.
#[derive(Debug, Default)]
pub(super) struct Customers {
    live: Vec<Customer>,
}

impl Customers {
    pub(super) fn add(&mut self, customer: Customer, rng: &mut impl Rng) {
        if self.live.len() < CUSTOMERS_MAX {
            self.live.push(customer);
        } else {
            self.live[rng.random_range(0..CUSTOMERS_MAX)] = customer;
        }
    }

    /// Any customer, to be changed; `None` when there is none.
    pub(super) fn pick(&mut self, rng: &mut impl Rng) -> Option<&mut Customer> {
        let index = self.pick_index(rng)?;
        self.live.get_mut(index)
    }

    /// Removes any customer; `None` when there is none.
    pub(super) fn remove(&mut self, rng: &mut impl Rng) -> Option<Customer> {
        let index = self.pick_index(rng)?;
        Some(self.live.swap_remove(index))
    }

    fn pick_index(&self, rng: &mut impl Rng) -> Option<usize> {
        (!self.live.is_empty()).then(|| rng.random_range(0..self.live.len()))
    }
}

/// Writes rows as JSON. The people's parts are made once.
#[derive(Debug)]
pub(super) struct RowWriter {
    people: Vec<PersonJson>,
    seed: u64,
    stores: u16,
}

/// The parts of a row that come from the person, as JSON.
#[derive(Debug)]
struct PersonJson {
    /// From the given name up to the number in the e-mail address.
    names_and_mailbox: Vec<u8>,
    /// From the `@` on.
    mail_domain: Vec<u8>,
}

impl RowWriter {
    pub(super) fn new(seed: u64, stores: u16, rng: &mut impl Rng) -> Self {
        let people = (0..PEOPLE).map(|_| PersonJson::new(&Person::random(rng))).collect();
        Self { people, seed, stores }
    }

    pub(super) fn push_row(&self, out: &mut Vec<u8>, customer: &Customer) {
        let id = u64::from(customer.id);
        let person = &self.people[person_of(self.seed, customer.id)];
        out.extend_from_slice(b"{\"customer_id\":");
        push_u64(out, id);
        out.extend_from_slice(b",\"store_id\":");
        push_u64(out, u64::from(customer.store_id));
        out.extend_from_slice(&person.names_and_mailbox);
        push_u64(out, id);
        if customer.email_changes > 0 {
            out.push(b'+');
            push_u64(out, u64::from(customer.email_changes));
        }
        out.extend_from_slice(&person.mail_domain);
        out.extend_from_slice(b"\",\"address_id\":");
        // The first addresses are the stores' own.
        push_u64(out, u64::from(self.stores) + id);
        out.extend_from_slice(b",\"active\":1,\"create_date\":");
        push_i64(out, customer.created_ms);
        out.extend_from_slice(b",\"last_update\":\"");
        push_iso_seconds(out, i64::from(customer.updated_s));
        out.extend_from_slice(b"\"}");
    }
}

impl PersonJson {
    fn new(person: &Person) -> Self {
        let mut names_and_mailbox = Vec::new();
        for (field, text) in
            [("first_name", &person.first_name), ("last_name", &person.last_name), ("email", &person.mailbox)]
        {
            if !names_and_mailbox.is_empty() {
                names_and_mailbox.push(b'"');
            }
            names_and_mailbox.extend_from_slice(format!(",\"{field}\":\"").as_bytes());
            push_json_escaped(&mut names_and_mailbox, text);
        }
        Self { names_and_mailbox, mail_domain: format!("@{}", person.mail_domain).into_bytes() }
    }
}

/// Which person a customer is: any, but always the same one (SplitMix64 of the number).
fn person_of(seed: u64, customer_id: u32) -> usize {
    let mut mixed = (seed ^ u64::from(customer_id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ mixed >> 31) as usize % PEOPLE
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use serde_json::{Value, json};

    #[test]
    fn row_is_the_person_of_the_customer() {
        let people: Vec<_> = {
            let mut rng = ChaCha8Rng::seed_from_u64(7);
            (0..PEOPLE).map(|_| Person::random(&mut rng)).collect()
        };
        let writer = RowWriter::new(7, 3, &mut ChaCha8Rng::seed_from_u64(7));
        for id in 1..1000 {
            let email_changes = u16::try_from(id % 3).unwrap();
            let customer =
                Customer { created_ms: 1_718_900_122_000, id, updated_s: 1_795_244_780, store_id: 2, email_changes };
            let person = &people[person_of(7, id)];
            let mut row = Vec::new();
            writer.push_row(&mut row, &customer);
            let expected = json!({
                "customer_id": id, "store_id": 2, "first_name": person.first_name, "last_name": person.last_name,
                "email": person.email(id, email_changes), "address_id": id + 3, "active": 1,
                "create_date": 1_718_900_122_000_i64, "last_update": "2026-11-21T07:06:20Z",
            });
            assert_eq!(serde_json::from_slice::<Value>(&row).unwrap(), expected);
        }
    }
}
