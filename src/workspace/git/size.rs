//! Watches the size of what git writes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use super::listing::{BLOCK, Budget};

/// Interval at which the size of a running checkout is measured.
const SIZE_INTERVAL: Duration = Duration::from_millis(200);

/// The limit that a checkout exceeded.
pub(super) enum ExceededLimit {
    Entries,
    Bytes,
}

/// Waits until one of the directories exceeds the limit. A repository is stored twice, packed and
/// checked out, so each directory gets the whole limit.
pub(super) async fn wait_until_exceeded(directories: [&Path; 2], limit: Budget) -> ExceededLimit {
    loop {
        tokio::time::sleep(SIZE_INTERVAL).await;
        for directory in directories {
            let directory = directory.to_owned();
            // If the measuring task panics, the size is unknown until the next measurement.
            let Ok(size) = tokio::task::spawn_blocking(move || size_of(&directory)).await else {
                continue;
            };
            if size.entries > limit.entries {
                return ExceededLimit::Entries;
            }
            if size.bytes > limit.bytes {
                return ExceededLimit::Bytes;
            }
        }
    }
}

/// Measures a directory that may change meanwhile. Links are not followed.
fn size_of(directory: &Path) -> Budget {
    let mut size = Budget {
        entries: 0,
        bytes: 0,
    };
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            size.entries += 1;
            size.bytes = size
                .bytes
                .saturating_add((metadata.blocks() * 512).max(BLOCK));
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
    }
    size
}
