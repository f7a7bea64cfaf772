//! What a deployment tells while it runs.

/// Takes what a deployment tells while it runs. Implementations mask secrets.
pub trait Progress: Sync {
    /// Takes a step of the work, such as an object that became ready.
    fn step(&self, message: &str);

    /// Takes something that the user should know, such as an object that is kept.
    fn note(&self, message: &str);
}
