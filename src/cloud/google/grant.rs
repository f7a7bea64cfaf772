//! Tokens by an OAuth grant with the secret in a credentials file: a service account's key, or a
//! user's refresh token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use super::credentials_file::CredentialsFile;
use crate::cloud::{IdentityError, Machine, Token, oauth_token};

/// Name of the token service, for people.
const OAUTH: &str = "the Google token service";

/// Lifetime of an assertion in seconds; Google accepts at most an hour.
const ASSERTION_SECONDS: i64 = 3600;

/// Exchanges an assertion, signed with the service account's key (RFC 7523), for a token.
pub(super) async fn by_key(
    file: &CredentialsFile,
    machine: &Machine,
    scope: &str,
    now: Timestamp,
) -> Result<Token, IdentityError> {
    let url = file.text("token_uri")?.to_owned();
    let issued = now.as_second();
    let claims = json!({
        "iss": file.text("client_email")?,
        "scope": scope,
        "aud": url,
        "iat": issued,
        "exp": issued + ASSERTION_SECONDS,
    });
    let mut header = json!({"alg": "RS256", "typ": "JWT"});
    if let (Some(id), Some(members)) = (file.optional("private_key_id"), header.as_object_mut()) {
        members.insert("kid".into(), id.into());
    }
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let signature = sign(file, signed.as_bytes())?;
    let assertion = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("assertion", &assertion),
    ];
    let answer = machine
        .send(OAUTH, |http| http.post(url).form(&form))
        .await?;
    oauth_token(OAUTH, &answer)
}

fn sign(file: &CredentialsFile, text: &[u8]) -> Result<Vec<u8>, IdentityError> {
    let unusable = || file.unusable("private_key is not an RSA key in PKCS #8".into());
    let pem = pem::parse(file.text("private_key")?).map_err(|_| unusable())?;
    let key = RsaKeyPair::from_pkcs8(pem.contents()).map_err(|_| unusable())?;
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        text,
        &mut signature,
    )
    .map_err(|_| unusable())?;
    Ok(signature)
}

/// A user's token has the scopes that the user has granted to gcloud.
pub(super) async fn by_refresh_token(
    file: &CredentialsFile,
    machine: &Machine,
) -> Result<Token, IdentityError> {
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", file.text("client_id")?),
        ("client_secret", file.text("client_secret")?),
        ("refresh_token", file.text("refresh_token")?),
    ];
    let url = file
        .optional("token_uri")
        .unwrap_or("https://oauth2.googleapis.com/token")
        .to_owned();
    let answer = machine
        .send(OAUTH, |http| http.post(url).form(&form))
        .await?;
    oauth_token(OAUTH, &answer)
}
