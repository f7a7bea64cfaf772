//! `push`, `pull`, `copy`, `inspect`, `verify`: with a real registry and image layouts.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::parts::{testbed, unique};
use crate::trust::signer::{Signer, Store, payload};

const MAPS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '1'}\n";

/// A folder with a docker configuration for the testbed's registry, and what a command says.
struct Folder(tempfile::TempDir);

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pair = format!("{}:{}", testbed().user(), testbed().password());
        let auths = json!({"auths": {testbed().registry(): {"auth": STANDARD.encode(pair)}}});
        std::fs::write(folder.path().join("config.json"), auths.to_string()).unwrap();
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path().join(name), text).unwrap();
        name.to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_nuon-runner"))
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("DOCKER_CONFIG", self.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// Runs a command that succeeds. Returns what it prints, without the end of the line.
    fn done(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {}", said.err);
        said.out.trim_end().to_owned()
    }
}

#[test]
fn what_is_pushed_is_pulled_sorted_and_pushed_again_with_the_same_digest() {
    let folder = Folder::new();
    folder.write("maps.yaml", MAPS);
    std::fs::create_dir(folder.path().join("overlay")).unwrap();
    folder.write("overlay/kustomization.yaml", "resources: [maps.yaml]\n");
    folder.write("overlay/maps.yaml", MAPS);
    let remote = format!("oci://{}/{}:v1", testbed().registry(), unique("push"));
    let digest = folder.done(&["push", &remote, "-f", "maps.yaml"]);
    assert!(
        digest.starts_with("sha256:") && digest.len() == 71,
        "{digest}"
    );
    for input in [["-f", "maps.yaml"], ["-k", "overlay"]] {
        let again = [&["push", "oci-layout:layout:v1"][..], &input].concat();
        assert_eq!(folder.done(&again), digest, "{input:?}");
    }
    let sorted = folder.done(&["normalize", "-f", "maps.yaml"]);
    assert_eq!(folder.done(&["pull", &remote]), sorted);
    let by_digest = format!("{}@{digest}", remote.trim_end_matches(":v1"));
    folder.done(&["pull", &by_digest, "--to", "pulled.yaml"]);
    let pulled = std::fs::read_to_string(folder.path().join("pulled.yaml")).unwrap();
    assert_eq!(pulled.trim_end(), sorted);

    let source = [
        "--source",
        "https://git.example/a",
        "--revision",
        "main@sha1:1",
    ];
    let named = [
        &["push", "oci-layout:layout:v2", "-f", "maps.yaml"][..],
        &source,
    ]
    .concat();
    assert_ne!(folder.done(&named), digest);
    let shown = folder.done(&["inspect", "oci-layout:layout:v2", "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let annotations = &shown["annotations"];
    assert_eq!(annotations["org.opencontainers.image.source"], source[1]);
    assert_eq!(annotations["org.opencontainers.image.revision"], source[3]);
}

#[tokio::test]
async fn a_signature_travels_with_a_copy_and_is_verified_there() {
    let folder = Folder::new();
    folder.write("maps.yaml", MAPS);
    let (signer, other) = (Signer::p256(), Signer::p256());
    let key = folder.write("key", &signer.private_pem());
    let public = folder.write("key.pub", &signer.public_pem());
    let stranger = folder.write("other.pub", &other.public_pem());
    let remote = format!("oci://{}/{}", testbed().registry(), unique("sign"));
    let push = ["push", &remote, "-f", "maps.yaml", "--sign-key", &key];
    let digest = folder.done(&push);
    let again = folder.run(&push);
    assert!(again.err.contains("already signed"), "{}", again.err);
    assert_eq!(
        folder.done(&["copy", &remote, "oci-layout:mirror:v1"]),
        digest
    );
    for place in [&*remote, "oci-layout:mirror:v1"] {
        let verify = ["verify", place, "--key", &stranger, "--key", &public];
        assert_eq!(folder.done(&verify), digest);
        let refused = folder.run(&["verify", place, "--key", &stranger]);
        assert_eq!((refused.code, &*refused.out), (6, ""), "{}", refused.err);
        assert!(
            refused.err.contains("it is not of a trusted key"),
            "{}",
            refused.err
        );
        let refused = folder.run(&["pull", place, "--verify-key", &stranger]);
        assert_eq!((refused.code, &*refused.out), (6, ""), "{}", refused.err);
        assert!(
            folder
                .done(&["pull", place, "--verify-key", &public])
                .contains("name: a")
        );
        let shown = folder.done(&["inspect", place]);
        assert!(shown.contains("signature: the referrer sha256:"), "{shown}");
    }
    // openssl finds the signature good, too: it is that of the statement.
    let shown = folder.done(&["inspect", &remote, "-o", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let predicate = &shown["signatures"][0]["predicate_type"];
    assert_eq!(predicate, "https://sigstore.dev/cosign/sign/v1");
    assert_signed(&folder, &shown["referrers"][0]["digest"]);

    // A signature in the old form is known as well.
    folder.done(&["push", "oci-layout:old:v1", "-f", "maps.yaml"]);
    let layout = nuon_runner::registry::layout::ImageLayout::new(folder.path().join("old"));
    let store = Store::at(nuon_runner::registry::Repository::Layout(layout));
    let digest = digest.parse().unwrap();
    let text = payload(&digest).to_string();
    store
        .sign_by_tag(&digest, &[(text.clone(), signer.sign(text.as_bytes()))])
        .await;
    folder.done(&["verify", "oci-layout:old:v1", "--key", &public]);
}

/// Checks a signature of ours by openssl and the specification of the envelope.
fn assert_signed(folder: &Folder, referrer: &Value) {
    let blob = |digest: &Value| {
        let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        let bytes = std::fs::read(folder.path().join("mirror/blobs/sha256").join(hex)).unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()
    };
    let bundle = blob(&blob(referrer)["layers"][0]["digest"]);
    let envelope = &bundle["dsseEnvelope"];
    let decoded = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
    let (payload, kind) = (
        decoded(&envelope["payload"]),
        "application/vnd.in-toto+json",
    );
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("message"), [head.as_bytes(), &payload].concat()).unwrap();
    std::fs::write(
        path("signature"),
        decoded(&envelope["signatures"][0]["sig"]),
    )
    .unwrap();
    let verify = [
        "dgst",
        "-sha256",
        "-verify",
        "key.pub",
        "-signature",
        "signature",
        "message",
    ];
    let verified = Command::new("openssl")
        .args(verify)
        .current_dir(folder.path())
        .output();
    assert!(verified.unwrap().status.success());
}

#[test]
fn wrong_input_is_told() {
    let folder = Folder::new();
    folder.write(
        "typo.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {nam: a}\n",
    );
    folder.write("maps.yaml", MAPS);
    let signer = Signer::p256();
    let key = folder.write("key", &signer.private_pem());
    let public = folder.write("key.pub", &signer.public_pem());
    for (arguments, code, told) in [
        (
            vec!["push", "oci-layout:l", "-f", "typo.yaml"],
            1,
            "is \"nam\" meant to be",
        ),
        (vec!["push", "oci-layout:l"], 64, "--filename"),
        (
            vec![
                "push",
                "oci-layout:l",
                "-f",
                "maps.yaml",
                "--sign-key",
                &public,
            ],
            1,
            "it is not a private key",
        ),
        (
            vec!["verify", "oci-layout:l", "--key", &key],
            1,
            "it is a private key",
        ),
        (
            vec!["verify", "oci-layout:l", "--key", &public],
            1,
            "does not exist",
        ),
        (
            vec!["pull", "oci://user:password@r.example/a"],
            1,
            "is not the address",
        ),
        (
            vec!["copy", "oci-layout:l:-", "oci-layout:m"],
            1,
            "is not the address",
        ),
    ] {
        let said = folder.run(&arguments);
        assert_eq!(
            (said.code, &*said.out),
            (code, ""),
            "{arguments:?}: {}",
            said.err
        );
        assert!(said.err.contains(told), "{arguments:?}: {}", said.err);
        assert!(!said.err.contains("password@"), "{}", said.err);
    }
}
