//! The key of fingerprints, made once for each runner.

use sqlx::Row as _;

use super::store::{Journal, JournalError};

impl Journal {
    /// The key by which this runner takes fingerprints of Secrets, the same for as long as the journal lives.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn fingerprint_key(&self, runner: &str) -> Result<Vec<u8>, JournalError> {
        let runner = runner.to_owned();
        let new = rand::random::<[u8; 32]>().to_vec();
        self.write("keep the key of fingerprints", move |db| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO fingerprint_key (runner_id, key) VALUES (?, ?) ON CONFLICT DO \
                     NOTHING",
                )
                .bind(&runner)
                .bind(new)
                .execute(&mut *db)
                .await?;
                let row = sqlx::query("SELECT key FROM fingerprint_key WHERE runner_id = ?")
                    .bind(&runner)
                    .fetch_one(db)
                    .await?;
                row.try_get(0)
            })
        })
        .await
    }
}
