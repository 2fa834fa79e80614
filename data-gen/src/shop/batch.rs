//! One transaction of changes.

use sqlx::any::{Any, AnyArguments};
use sqlx::query::Query;
use sqlx::{AnyConnection, Connection, Row, Transaction};

use super::plan::{Action, Customer, Registration};
use super::statements::Statements;
use crate::people::Address;

/// A transaction that is under way. Dropped without [`Batch::commit`], it leaves no trace.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    transaction: Transaction<'a, Any>,
    statements: &'static Statements,
}

impl<'a> Batch<'a> {
    pub(super) async fn begin(
        connection: &'a mut AnyConnection,
        statements: &'static Statements,
    ) -> sqlx::Result<Self> {
        Ok(Self { transaction: connection.begin().await?, statements })
    }

    pub(super) async fn commit(self) -> sqlx::Result<()> {
        self.transaction.commit().await
    }

    /// Opens a store, and returns its identifier.
    pub(super) async fn open_store(&mut self, manager: u16, address: &Address) -> sqlx::Result<i64> {
        let address_id = self.insert_address(address).await?;
        self.insert(sqlx::query(self.statements.insert_store).bind(i64::from(manager)).bind(address_id)).await
    }

    /// Lets one thing happen; returns the new customer when somebody registered.
    pub(super) async fn apply(&mut self, action: Action, store_ids: &[i64]) -> sqlx::Result<Option<Customer>> {
        let statements = self.statements;
        match action {
            Action::Register(registration) => {
                let store_id = store_ids[registration.store];
                return self.register(registration, store_id).await.map(Some);
            }
            Action::Move { customer_id, store } => {
                self.execute(sqlx::query(statements.update_store).bind(store_ids[store]).bind(customer_id)).await?;
            }
            Action::ChangeEmail { customer_id, email } => {
                self.execute(sqlx::query(statements.update_email).bind(email).bind(customer_id)).await?;
            }
            Action::Leave(customer) => {
                self.execute(sqlx::query(statements.delete_customer).bind(customer.id)).await?;
                self.execute(sqlx::query(statements.delete_address).bind(customer.address_id)).await?;
            }
        }
        Ok(None)
    }

    async fn register(&mut self, registration: Registration, store_id: i64) -> sqlx::Result<Customer> {
        let address_id = self.insert_address(&registration.address).await?;
        let customer = sqlx::query(self.statements.insert_customer)
            .bind(store_id)
            .bind(registration.person.first_name.clone())
            .bind(registration.person.last_name.clone())
            .bind(registration.email())
            .bind(address_id);
        let id = self.insert(customer).await?;
        Ok(registration.into_customer(id, address_id))
    }

    async fn insert_address(&mut self, address: &Address) -> sqlx::Result<i64> {
        let address = sqlx::query(self.statements.insert_address)
            .bind(address.street.clone())
            .bind(address.second_line.clone())
            .bind(address.district.clone())
            .bind(i64::from(address.city_id))
            .bind(address.postal_code.clone())
            .bind(address.phone.clone());
        self.insert(address).await
    }

    /// Inserts a row, and returns the identifier that the database gave it.
    async fn insert(&mut self, query: Query<'_, Any, AnyArguments>) -> sqlx::Result<i64> {
        if self.statements.inserts_return_id {
            query.fetch_one(&mut *self.transaction).await?.try_get(0)
        } else {
            query.execute(&mut *self.transaction).await?.last_insert_id().ok_or(sqlx::Error::RowNotFound)
        }
    }

    async fn execute(&mut self, query: Query<'_, Any, AnyArguments>) -> sqlx::Result<()> {
        query.execute(&mut *self.transaction).await.map(|_| ())
    }
}
