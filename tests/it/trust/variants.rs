//! One good signature of each form, and everything that may be wrong with it.

use nuon_runner::registry::StoredManifest;
use nuon_runner::trust::{KeyError, PublicKey, TrustError, verify};
use serde_json::{Value, json};

use super::signer::{KINDS, Signer, Store, payload, statement};

async fn refused(store: &Store, artifact: &StoredManifest, keys: &[PublicKey]) -> String {
    let error = verify(&store.repository, artifact, keys).await.unwrap_err();
    nuon_runner::base::error::chain(&error)
}

/// Every place of a JSON document.
fn places(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            places(value, &format!("{at}/{}", key.replace('/', "~1")), into)
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, value)| places(value, &format!("{at}/{index}"), into)),
        _ => {}
    }
}

/// The document with each part altered, deleted, or made a list of two.
fn variants(document: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    places(document, "", &mut all);
    let mut variants = Vec::new();
    for place in all.iter().filter(|place| !place.is_empty()) {
        for (what, change) in [
            ("text", json!("x")),
            ("number", json!(1)),
            ("null", Value::Null),
        ] {
            let mut altered = document.clone();
            *altered.pointer_mut(place).unwrap() = change;
            variants.push((format!("{place} is a {what}"), altered));
        }
        let mut repeated = document.clone();
        let value = repeated.pointer_mut(place).unwrap();
        *value = json!([value.clone(), value.clone()]);
        variants.push((format!("{place} is repeated"), repeated));
        let (holder, key) = place.rsplit_once('/').unwrap();
        let mut deleted = document.clone();
        match deleted.pointer_mut(holder).unwrap() {
            Value::Object(map) => drop(map.remove(&key.replace("~1", "/"))),
            Value::Array(items) => drop(items.remove(key.parse().unwrap())),
            _ => {}
        }
        variants.push((format!("{place} is deleted"), deleted));
    }
    variants
}

#[tokio::test]
async fn a_signature_of_each_kind_of_key_is_accepted_in_both_forms() {
    for kind in KINDS {
        let (store, signer, other) = (Store::new(), Signer::new(kind), Signer::p256());
        let keys = [other.public(), signer.public()];
        let first = store.artifact("by bundle").await;
        assert!(
            refused(&store, &first, &keys)
                .await
                .ends_with("is not signed")
        );
        let bundle = signer.bundle(&statement(&first.digest)).to_string();
        store.sign_by_bundle(&first, &bundle).await;
        let verified = verify(&store.repository, &first, &keys).await.unwrap();
        assert_eq!(verified.key, 1);
        assert!(
            verified.place.starts_with("the referrer sha256:"),
            "{}",
            verified.place
        );

        let second = store.artifact("by tag").await;
        let text = payload(&second.digest).to_string();
        let signed = [
            (text.clone(), other.sign(b"something else")),
            (text.clone(), signer.sign(text.as_bytes())),
        ];
        store.sign_by_tag(&second.digest, &signed).await;
        let verified = verify(&store.repository, &second, &keys).await.unwrap();
        assert_eq!(
            (verified.key, &*verified.place),
            (1, &*format!("the tag sha256-{}.sig", second.digest.hex()))
        );

        for keys in [vec![], vec![other.public()]] {
            for artifact in [&first, &second] {
                let error = verify(&store.repository, artifact, &keys)
                    .await
                    .unwrap_err();
                let is_right = match keys.is_empty() {
                    true => matches!(error, TrustError::NoKeys(_)),
                    false => error.to_string().contains("it is not of a trusted key"),
                };
                assert!(is_right, "{error}");
            }
        }
    }
}

/// Parts that say nothing about who signed what.
fn is_unused(what: &str) -> bool {
    [
        "/verificationMaterial",
        "/critical/identity",
        "/optional",
        "/predicate ",
    ]
    .iter()
    .any(|place| format!("{what} ").contains(place))
        || what.starts_with("/dsseEnvelope/signatures/0 is repeated")
}

#[tokio::test]
async fn a_bundle_with_any_part_altered_is_refused() {
    let (signer, stranger) = (Signer::p256(), Signer::p256());
    let keys = [signer.public()];
    let artifact = Store::new().artifact("a").await;
    let good = statement(&artifact.digest);
    let mut all: Vec<(String, String)> = variants(&signer.bundle(&good))
        .into_iter()
        .map(|(what, bundle)| (what, bundle.to_string()))
        .collect();
    // A statement that the trusted key has signed, but for something else.
    let signed = variants(&good).into_iter();
    all.extend(signed.map(|(what, statement)| (what, signer.bundle(&statement).to_string())));
    let mut sbom = good.clone();
    sbom["predicateType"] = "https://spdx.dev/Document".into();
    all.push(("an SBOM".into(), signer.bundle(&sbom).to_string()));
    all.push(("of a stranger".into(), stranger.bundle(&good).to_string()));
    let whole = signer.bundle(&good).to_string();
    all.extend((1..10).map(|part| ("cut".into(), whole[..whole.len() * part / 10].to_owned())));
    let mut checked = 0;
    for (what, bundle) in all.iter().filter(|(what, _)| !is_unused(what)) {
        let store = Store::new();
        let artifact = store.artifact("a").await;
        store.sign_by_bundle(&artifact, bundle).await;
        let told = refused(&store, &artifact, &keys).await;
        assert!(told.contains("the referrer sha256:"), "{what}: {told}");
        checked += 1;
    }
    assert!(checked >= 70, "only {checked}");
}

#[tokio::test]
async fn a_payload_with_any_part_altered_is_refused() {
    let (signer, stranger) = (Signer::p256(), Signer::p256());
    let keys = [signer.public()];
    let artifact = Store::new().artifact("a").await;
    let good = payload(&artifact.digest);
    let (text, signature) = (good.to_string(), signer.sign(good.to_string().as_bytes()));
    let mut all = vec![
        (
            "of a stranger".to_owned(),
            text.clone(),
            stranger.sign(text.as_bytes()),
        ),
        ("no signature".to_owned(), text.clone(), String::new()),
        ("no base64".to_owned(), text.clone(), "%%%".to_owned()),
        (
            "a space more".to_owned(),
            format!("{text} "),
            signature.clone(),
        ),
        (
            "cut".to_owned(),
            text.clone(),
            signature[..signature.len() - 8].to_owned(),
        ),
        (
            "not JSON".to_owned(),
            "payload".to_owned(),
            signer.sign(b"payload"),
        ),
    ];
    for (what, altered) in variants(&good) {
        let altered = altered.to_string();
        all.push((
            format!("unsigned: {what}"),
            altered.clone(),
            signature.clone(),
        ));
        let signed = signer.sign(altered.as_bytes());
        all.push((format!("signed: {what}"), altered, signed));
    }
    let is_refused = |what: &str| what.starts_with("unsigned") || !is_unused(what);
    for (what, text, signature) in all.iter().filter(|(what, ..)| is_refused(what)) {
        // Null is what `optional` is in the good one.
        if what == "unsigned: /optional is a null" {
            continue;
        }
        let store = Store::new();
        let artifact = store.artifact("a").await;
        let pair = (text.clone(), signature.clone());
        store.sign_by_tag(&artifact.digest, &[pair]).await;
        let told = refused(&store, &artifact, &keys).await;
        assert!(told.contains("the tag sha256-"), "{what}: {told}");
    }
    assert!(all.len() >= 70, "only {}", all.len());
}

#[tokio::test]
async fn the_signature_of_another_artifact_counts_for_none() {
    let signer = Signer::p256();
    let keys = [signer.public()];
    let store = Store::new();
    let (one, two) = (store.artifact("one").await, store.artifact("two").await);
    let text = payload(&one.digest).to_string();
    let pair = (text.clone(), signer.sign(text.as_bytes()));
    store.sign_by_tag(&two.digest, &[pair]).await;
    let bundle = signer.bundle(&statement(&one.digest)).to_string();
    store.sign_by_bundle(&two, &bundle).await;
    let told = refused(&store, &two, &keys).await;
    assert_eq!(
        told.matches("it is for another digest").count(),
        2,
        "{told}"
    );
}

/// Whoever may write to the registry may add signatures without end.
#[tokio::test]
async fn more_signatures_than_are_looked_at_are_refused() {
    let (signer, store) = (Signer::p256(), Store::new());
    let artifact = store.artifact("a").await;
    let text = payload(&artifact.digest).to_string();
    let mut signed = vec![(text.clone(), "AAAA".to_owned()); 10_000];
    signed.push((text.clone(), signer.sign(text.as_bytes())));
    store.sign_by_tag(&artifact.digest, &signed).await;
    let told = refused(&store, &artifact, &[signer.public()]).await;
    assert!(told.contains("more than 1000 signatures"), "{told}");
}

#[test]
fn only_public_keys_are_read() {
    let signer = Signer::p256();
    let error = |text: &str| PublicKey::from_pem(text).unwrap_err();
    assert_eq!(error(&signer.private_pem()), KeyError::Private);
    let certificate = signer.public_pem().replace("PUBLIC KEY", "CERTIFICATE");
    for text in ["", "key", &*certificate, &signer.public_pem()[..90]] {
        assert_eq!(error(text), KeyError::Format, "{text}");
    }
    let other = Signer::new(&["-algorithm", "X25519"]).public_pem();
    assert_eq!(error(&other), KeyError::Algorithm);
}
