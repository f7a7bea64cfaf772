//! The key of each runner for keyed hashes.

use sqlx::Row as _;

use super::store::{Journal, JournalError};

impl Journal {
    /// Returns the key of `runner` for keyed hashes of Secret values; the key that signs
    /// inventories is derived from it. The key is generated on the first call and stays the same as
    /// long as the journal exists.
    pub async fn hash_key(&self, runner: &str) -> Result<Vec<u8>, JournalError> {
        let runner = runner.to_owned();
        let new = rand::random::<[u8; 32]>().to_vec();
        self.write("store the hash key", move |db| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO hash_key (runner_id, key) VALUES (?, ?) ON CONFLICT DO \
                     NOTHING",
                )
                .bind(&runner)
                .bind(new)
                .execute(&mut *db)
                .await?;
                let row = sqlx::query("SELECT key FROM hash_key WHERE runner_id = ?")
                    .bind(&runner)
                    .fetch_one(db)
                    .await?;
                row.try_get(0)
            })
        })
        .await
    }
}
