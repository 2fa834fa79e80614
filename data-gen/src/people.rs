//! Fake people and their addresses, made of the word lists of the `fake` crate.

use deunicode::deunicode;
use fake::Fake;
use fake::faker::{address, internet, name, phone_number};
use fake::locales::{DE_DE, EN, FR_FR, JA_JP, PT_BR};
use rand::RngExt;

/// Longest name before the number in an e-mail address, in bytes: the longest number and change still fit into the
/// 50 characters of `customer.email`.
const MAILBOX_BYTES_MAX: usize = 20;

/// A fake person, as a customer's row needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Given name. May hold any letter, apostrophes and quotes too.
    pub first_name: String,
    /// Family name, as free as the given name.
    pub last_name: String,
    /// The name in the e-mail address: lower-case ASCII letters, digits and dots.
    pub mailbox: String,
    /// A domain that is reserved for examples, so that no mail ever reaches anybody.
    pub mail_domain: String,
}

impl Person {
    /// Draws a person: two in three have an English name, the others French, German, Portuguese and Japanese ones.
    pub fn random(rng: &mut impl RngExt) -> Self {
        let (first_name, last_name): (&str, &str) = match rng.random_range(0..12_u8) {
            0 => (name::raw::FirstName(FR_FR).fake_with_rng(rng), name::raw::LastName(FR_FR).fake_with_rng(rng)),
            1 => (name::raw::FirstName(DE_DE).fake_with_rng(rng), name::raw::LastName(DE_DE).fake_with_rng(rng)),
            2 => (name::raw::FirstName(PT_BR).fake_with_rng(rng), name::raw::LastName(PT_BR).fake_with_rng(rng)),
            3 => (name::raw::FirstName(JA_JP).fake_with_rng(rng), name::raw::LastName(JA_JP).fake_with_rng(rng)),
            _ => (name::raw::FirstName(EN).fake_with_rng(rng), name::raw::LastName(EN).fake_with_rng(rng)),
        };
        let address: String = internet::en::SafeEmail().fake_with_rng(rng);
        let mail_domain = address.rsplit('@').next().unwrap_or("example.com");
        Self {
            first_name: first_name.to_owned(),
            last_name: last_name.to_owned(),
            mailbox: mailbox(first_name, last_name),
            mail_domain: mail_domain.to_owned(),
        }
    }

    /// The e-mail address of customer `number` after `changes` changes of it: `lina.oconner42@example.org`, then
    /// `lina.oconner42+1@example.org`. At most 50 characters.
    pub fn email(&self, number: u32, changes: u16) -> String {
        let Self { mailbox, mail_domain, .. } = self;
        match changes {
            0 => format!("{mailbox}{number}@{mail_domain}"),
            _ => format!("{mailbox}{number}+{changes}@{mail_domain}"),
        }
    }
}

fn mailbox(first_name: &str, last_name: &str) -> String {
    let plain = |name: &str| deunicode(name).chars().filter(char::is_ascii_alphanumeric).collect::<String>();
    let mut mailbox = format!("{}.{}", plain(first_name), plain(last_name)).to_ascii_lowercase();
    mailbox.truncate(MAILBOX_BYTES_MAX);
    mailbox
}

/// A fake postal address, as the row of the table `address` needs it; the texts fit into sakila's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// House number and street, at most 50 characters.
    pub street: String,
    /// Flat or suite; three in four addresses have none.
    pub second_line: Option<String>,
    /// State, at most 20 characters.
    pub district: String,
    /// One of the 600 cities of sakila, from 1.
    pub city_id: u16,
    /// At most 10 characters.
    pub postal_code: String,
    /// At most 20 characters.
    pub phone: String,
}

impl Address {
    /// Draws an address.
    pub fn random(rng: &mut impl RngExt) -> Self {
        let house: String = address::en::BuildingNumber().fake_with_rng(rng);
        let street: String = address::en::StreetName().fake_with_rng(rng);
        let has_second_line = rng.random_range(0..4_u8) == 0;
        Self {
            street: format!("{house} {street}"),
            second_line: has_second_line.then(|| address::en::SecondaryAddress().fake_with_rng(rng)),
            district: address::en::StateName().fake_with_rng(rng),
            city_id: rng.random_range(1..=600),
            postal_code: address::en::ZipCode().fake_with_rng(rng),
            phone: phone_number::en::CellNumber().fake_with_rng(rng),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn same_seed_same_people() {
        let people = |seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            (0..100).map(|_| (Person::random(&mut rng), Address::random(&mut rng))).collect::<Vec<_>>()
        };
        assert_eq!(people(1), people(1));
        assert_ne!(people(1), people(2));
    }

    #[test]
    fn texts_fit_the_columns_of_sakila() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for _ in 0..5_000 {
            let person = Person::random(&mut rng);
            assert!(person.first_name.chars().count() <= 45 && person.last_name.chars().count() <= 45, "{person:?}");
            assert!(person.email(u32::MAX, u16::MAX).len() <= 50, "{person:?}");
            assert!(person.mailbox.len() > 2 && person.mailbox.is_ascii(), "{person:?}");
            assert!(person.mail_domain.starts_with("example."), "{person:?}");
            let address = Address::random(&mut rng);
            assert!(address.street.chars().count() <= 50, "{address:?}");
            assert!(address.second_line.as_ref().is_none_or(|line| line.chars().count() <= 50), "{address:?}");
            assert!(address.district.chars().count() <= 20, "{address:?}");
            assert!(address.postal_code.len() <= 10 && address.phone.len() <= 20, "{address:?}");
        }
    }

    #[test]
    fn mailboxes_are_plain() {
        assert_eq!(mailbox("José", "O'Conner"), "jose.oconner");
        assert_eq!(mailbox("Maximilienne", "Müller-Schwarzenberg"), "maximilienne.mullers");
    }
}
