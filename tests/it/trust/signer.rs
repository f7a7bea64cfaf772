//! A signer that knows only the specifications and openssl, and artifacts to sign in an image layout.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use nuon_runner::registry::document::{Descriptor, MANIFEST};
use nuon_runner::registry::layout::ImageLayout;
use nuon_runner::registry::{Digest, Repository, StoredManifest};
use nuon_runner::trust::PublicKey;
use serde_json::{Value, json};

pub const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Kinds of keys: arguments of `openssl genpkey`.
pub const KINDS: [&[&str]; 4] = [
    &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    &["-algorithm", "ED25519"],
];

/// A private key.
pub struct Signer {
    folder: tempfile::TempDir,
    is_edwards: bool,
}

fn openssl(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
    output.stdout
}

impl Signer {
    /// A new key of one of [`KINDS`].
    pub fn new(kind: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        openssl(folder.path(), &[&["genpkey", "-out", "key"], kind].concat());
        Self {
            folder,
            is_edwards: kind.contains(&"ED25519"),
        }
    }

    pub fn p256() -> Self {
        Self::new(KINDS[0])
    }

    pub fn public_pem(&self) -> String {
        let public = openssl(self.folder.path(), &["pkey", "-in", "key", "-pubout"]);
        String::from_utf8(public).unwrap()
    }

    pub fn private_pem(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("key")).unwrap()
    }

    pub fn public(&self) -> PublicKey {
        PublicKey::from_pem(&self.public_pem()).unwrap()
    }

    /// Signs a message; returns base64.
    pub fn sign(&self, message: &[u8]) -> String {
        std::fs::write(self.folder.path().join("message"), message).unwrap();
        let signature = match self.is_edwards {
            true => openssl(
                self.folder.path(),
                &[
                    "pkeyutl", "-sign", "-rawin", "-inkey", "key", "-in", "message",
                ],
            ),
            false => openssl(
                self.folder.path(),
                &["dgst", "-sha256", "-sign", "key", "message"],
            ),
        };
        STANDARD.encode(signature)
    }

    /// A certificate of this key for a subject, by an identity provider, in DER.
    pub fn certificate(&self, subject: &str, issuer: &str) -> Vec<u8> {
        let names = format!("subjectAltName=URI:{subject}");
        let issuer = format!("1.3.6.1.4.1.57264.1.8=ASN1:UTF8String:{issuer}");
        let request = [
            "req",
            "-x509",
            "-key",
            "key",
            "-subj",
            "/CN=signer",
            "-outform",
            "DER",
        ];
        let extensions = ["-addext", &names, "-addext", &issuer];
        openssl(self.folder.path(), &[&request[..], &extensions].concat())
    }

    /// A bundle with a signed statement.
    pub fn bundle(&self, statement: &Value) -> Value {
        let statement = statement.to_string();
        let length = statement.len();
        let message = format!("DSSEv1 {} {IN_TOTO} {length} {statement}", IN_TOTO.len());
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": "h"}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": STANDARD.encode(&statement),
                "payloadType": IN_TOTO,
                "signatures": [{"sig": self.sign(message.as_bytes())}],
            },
        })
    }
}

/// The payload of a simple signature.
pub fn payload(digest: &Digest) -> Value {
    json!({"critical": {"identity": {"docker-reference": "r.example/a"}, "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature"}, "optional": null})
}

/// The statement of a signature in a bundle.
pub fn statement(digest: &Digest) -> Value {
    json!({"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": digest.hex()}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1", "predicate": {}})
}

/// A repository to store and sign artifacts in.
pub struct Store {
    _folder: Option<tempfile::TempDir>,
    pub repository: Repository,
}

impl Store {
    /// An image layout in a folder of its own.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::Layout(ImageLayout::new(folder.path()));
        Self {
            _folder: Some(folder),
            repository,
        }
    }

    /// A repository that is there.
    pub fn at(repository: Repository) -> Self {
        Self {
            _folder: None,
            repository,
        }
    }

    /// Stores an artifact with this content.
    pub async fn artifact(&self, content: &str) -> StoredManifest {
        let layer = self.blob("application/octet-stream", content).await;
        self.document(
            None,
            &manifest(self.blob("application/example", "{}").await, &[layer]),
        )
        .await
    }

    pub async fn blob(&self, media_type: &str, content: &str) -> Value {
        let blob = Descriptor::of(media_type, content.as_bytes());
        let bytes = Bytes::copy_from_slice(content.as_bytes());
        self.repository.put_blob(&blob, bytes).await.unwrap();
        json!({"mediaType": media_type, "digest": blob.digest, "size": blob.size})
    }

    pub async fn document(&self, tag: Option<&str>, document: &Value) -> StoredManifest {
        let bytes = Bytes::from(document.to_string());
        let stored = StoredManifest {
            digest: Digest::of(&bytes),
            media_type: MANIFEST.to_owned(),
            bytes,
        };
        self.repository.put_manifest(tag, &stored).await.unwrap();
        stored
    }

    /// Stores payloads with their signatures under the old tag.
    pub async fn sign_by_tag(&self, digest: &Digest, signed: &[(String, String)]) {
        let mut layers = Vec::new();
        for (payload, signature) in signed {
            let mut layer = self.blob(PAYLOAD, payload).await;
            layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature});
            layers.push(layer);
        }
        let config = self
            .blob("application/vnd.oci.image.config.v1+json", "{}")
            .await;
        let tag = format!("sha256-{}.sig", digest.hex());
        self.document(Some(&tag), &manifest(config, &layers)).await;
    }

    /// Stores a bundle as a referrer.
    pub async fn sign_by_bundle(&self, artifact: &StoredManifest, bundle: &str) {
        let layer = self.blob(BUNDLE, bundle).await;
        let config = self.blob("application/vnd.oci.empty.v1+json", "{}").await;
        let mut document = manifest(config, &[layer]);
        document["artifactType"] = BUNDLE.into();
        document["subject"] =
            json!({"mediaType": MANIFEST, "digest": artifact.digest, "size": artifact.bytes.len()});
        self.document(None, &document).await;
    }
}

fn manifest(config: Value, layers: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers})
}
