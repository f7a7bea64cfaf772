//! Streams of blobs, checked on their way.

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use sha2::{Digest as _, Sha256};

use super::{Descriptor, Digest, RegistryError};

/// The content of a blob, in parts.
pub type BlobStream = BoxStream<'static, Result<Bytes, RegistryError>>;

/// Opens a blob, for each attempt to store it.
pub trait OpenBlob: Sync {
    /// Opens the blob. The stream ends with an error if it does not match the descriptor.
    fn open<'a>(
        &'a self,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<BlobStream, RegistryError>>;
}

/// Content in memory.
impl OpenBlob for Bytes {
    fn open<'a>(&'a self, _: &'a Descriptor) -> BoxFuture<'a, Result<BlobStream, RegistryError>> {
        Box::pin(async { Ok(stream::iter([Ok(self.clone())]).boxed()) })
    }
}

/// What is known of a blob on its way.
struct Passage {
    content: BlobStream,
    descriptor: Descriptor,
    hash: Sha256,
    received: u64,
    /// The part that was received last.
    held: Option<Bytes>,
}

/// Passes a blob on, and ends with an error if it has not the descriptor's size and digest. The last
/// part is held back until they are checked, so that what is not right is never complete.
pub fn checked(content: BlobStream, descriptor: Descriptor) -> BlobStream {
    let passage = Passage {
        content,
        descriptor,
        hash: Sha256::new(),
        received: 0,
        held: None,
    };
    stream::try_unfold(Some(passage), |passage| async move {
        let Some(mut passage) = passage else {
            return Ok(None);
        };
        while let Some(part) = passage.content.next().await.transpose()? {
            passage.receive(&part)?;
            if let Some(before) = passage.held.replace(part) {
                return Ok(Some((before, Some(passage))));
            }
        }
        Ok(passage.finish()?.map(|last| (last, None)))
    })
    .boxed()
}

impl Passage {
    fn receive(&mut self, part: &Bytes) -> Result<(), RegistryError> {
        self.received = self.received.saturating_add(part.len() as u64);
        self.hash.update(part);
        match self.received > self.descriptor.size {
            true => Err(self.mismatch("size", self.descriptor.size.to_string(), "more".to_owned())),
            false => Ok(()),
        }
    }

    /// Returns the last part, if all that was received is right.
    fn finish(mut self) -> Result<Option<Bytes>, RegistryError> {
        if self.received != self.descriptor.size {
            let (expected, got) = (self.descriptor.size.to_string(), self.received.to_string());
            return Err(self.mismatch("size", expected, got));
        }
        let got = Digest::of_hash(&std::mem::take(&mut self.hash).finalize());
        if got != self.descriptor.digest {
            let expected = self.descriptor.digest.to_string();
            return Err(self.mismatch("digest", expected, got.to_string()));
        }
        Ok(self.held.take())
    }

    fn mismatch(&self, property: &'static str, expected: String, got: String) -> RegistryError {
        RegistryError::Mismatch {
            what: format!("the blob {}", self.descriptor.digest),
            property,
            expected,
            got,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    /// Returns what was passed on, and the error at the end.
    async fn pass(parts: &[&str], expected: &[u8]) -> (Vec<Bytes>, Option<String>) {
        let parts: Vec<_> = parts
            .iter()
            .map(|part| Ok(Bytes::from(part.to_string())))
            .collect();
        let mut content = checked(stream::iter(parts).boxed(), Descriptor::of("", expected));
        let mut passed = Vec::new();
        loop {
            match content.try_next().await {
                Ok(Some(part)) => passed.push(part),
                Ok(None) => return (passed, None),
                Err(error) => return (passed, Some(error.to_string())),
            }
        }
    }

    #[tokio::test]
    async fn the_last_part_is_passed_on_only_if_all_is_right() {
        assert_eq!(pass(&[], b"").await, (Vec::new(), None));
        assert_eq!(pass(&["", "ab", "", "c"], b"abc").await.0.concat(), b"abc");
        for (parts, told) in [
            (&["ab", "d"][..], "digest"),
            (&["ab"], "expected 3, got 2"),
            (&["ab", "cd"], "expected 3, got more"),
        ] {
            let (passed, error) = pass(parts, b"abc").await;
            assert!(error.is_some_and(|error| error.contains(told)), "{told}");
            assert!(passed.concat().len() < 3, "{passed:?}");
        }
    }
}
