//! Named profiles in the AWS tools' files (AWS SDKs and Tools Reference Guide, "Shared config and
//! credentials files").

use std::collections::HashMap;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{SESSION, Signer, container, sts};
use crate::cloud::ini::{Section, parse};
use crate::cloud::{IdentityError, Machine};
use crate::plan::cloud::{AwsKeys, AwsRole};

/// Limit on the profiles that name one another by `source_profile`.
const MAX_CHAIN: usize = 8;

/// Ways to keys that need another program or a person.
const UNSUPPORTED: [&str; 4] = [
    "credential_process",
    "sso_session",
    "sso_start_url",
    "login_session",
];

/// All profiles of the machine, by name.
pub(super) struct Profiles(HashMap<String, Section>);

impl Profiles {
    /// Reads `AWS_CONFIG_FILE` and `AWS_SHARED_CREDENTIALS_FILE`, else the files below `~/.aws`. A
    /// file that does not exist has no profiles. For values of one name the credentials file counts.
    pub(super) async fn read(machine: &Machine) -> Result<Self, IdentityError> {
        let mut profiles: HashMap<String, Section> = HashMap::new();
        let config = file(machine, "AWS_CONFIG_FILE", "config").await?;
        for (name, section) in parse(&config) {
            let name = name.strip_prefix("profile ").unwrap_or(&name);
            profiles.entry(name.to_owned()).or_default().extend(section);
        }
        let credentials = file(machine, "AWS_SHARED_CREDENTIALS_FILE", "credentials").await?;
        for (name, section) in parse(&credentials) {
            profiles.entry(name).or_default().extend(section);
        }
        Ok(Self(profiles))
    }

    /// Returns the region of a profile, or of the machine's own.
    pub(super) fn region(&self, name: Option<&str>) -> Option<&str> {
        let section = self.0.get(name.unwrap_or("default"))?;
        section.get("region").map(String::as_str)
    }

    /// Returns the profile that is the machine's identity: that of `AWS_PROFILE`, else `default` if
    /// it has a way to keys.
    pub(super) fn own<'a>(&self, machine: &'a Machine) -> Option<&'a str> {
        let has_keys = |section: &Section| {
            let mut ways = ["aws_access_key_id", "role_arn"].iter().chain(&UNSUPPORTED);
            ways.any(|way| section.contains_key(*way))
        };
        machine.variable("AWS_PROFILE").or_else(|| {
            self.0
                .get("default")
                .filter(|section| has_keys(section))
                .map(|_| "default")
        })
    }

    /// Gets the keys of a profile.
    pub(super) async fn keys(
        &self,
        machine: &Machine,
        name: &str,
        region: &str,
        now: Timestamp,
    ) -> Result<AwsKeys, IdentityError> {
        let source = Source {
            profiles: self,
            machine,
            region,
            now,
        };
        source.keys(name, MAX_CHAIN).await
    }
}

async fn file(machine: &Machine, variable: &str, name: &str) -> Result<String, IdentityError> {
    let home = machine.variable("HOME");
    let standard = home.map(|home| format!("{home}/.aws/{name}"));
    let Some(path) = machine.variable(variable).map(str::to_owned).or(standard) else {
        return Ok(String::new());
    };
    match tokio::fs::read_to_string(&path).await {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(IdentityError::File {
            path,
            message: error.to_string(),
        }),
    }
}

/// What the keys of a profile are made from.
struct Source<'a> {
    profiles: &'a Profiles,
    machine: &'a Machine,
    region: &'a str,
    now: Timestamp,
}

impl Source<'_> {
    /// `depth` is how many further profiles may be looked at.
    fn keys<'a>(
        &'a self,
        name: &'a str,
        depth: usize,
    ) -> BoxFuture<'a, Result<AwsKeys, IdentityError>> {
        Box::pin(async move {
            let refused = |message: String| refused(name, &message);
            let section = self
                .profiles
                .0
                .get(name)
                .ok_or_else(|| refused("does not exist".into()))?;
            let value = |member: &str| section.get(member).map(String::as_str);
            if let Some(arn) = value("role_arn") {
                return self.role(section, arn, name, depth).await;
            }
            if let Some(keys) = keys_of(section) {
                return Ok(keys);
            }
            let way = UNSUPPORTED.iter().find(|way| value(way).is_some());
            Err(refused(match way {
                Some(way) => format!("uses {way}, which is not supported; use keys or a role"),
                None => "has neither keys nor a role".into(),
            }))
        })
    }

    /// Keys of a profile's role: by a web identity, or with the keys of another source.
    async fn role(
        &self,
        section: &Section,
        arn: &str,
        name: &str,
        depth: usize,
    ) -> Result<AwsKeys, IdentityError> {
        let value = |member: &str| section.get(member).map(String::as_str);
        let session = value("role_session_name").unwrap_or(SESSION);
        if let Some(file) = value("web_identity_token_file") {
            return sts::by_web_identity(self.machine, self.region, arn, session, file).await;
        }
        let refused = |message: &str| refused(name, message);
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| refused("names itself by source_profile"))?;
        let keys = match (value("source_profile"), value("credential_source")) {
            // A profile may name itself: its own keys assume its role.
            (Some(source), _) if source == name => keys_of(section)
                .ok_or_else(|| refused("names itself by source_profile, but has no keys"))?,
            (Some(source), _) => self.keys(source, depth).await?,
            (None, Some(_)) => container::keys(self.machine).await?,
            (None, None) => {
                return Err(refused("has role_arn, but no source_profile"));
            }
        };
        let signer = Signer {
            region: self.region.to_owned(),
            keys,
            now: self.now,
        };
        let seconds = value("duration_seconds").and_then(|text| text.parse().ok());
        let role = AwsRole {
            arn: arn.to_owned(),
            session_name: session.to_owned(),
            seconds: seconds.unwrap_or(3600),
        };
        sts::assume_role(self.machine, &signer, &role).await
    }
}

fn refused(profile: &str, message: &str) -> IdentityError {
    IdentityError::File {
        path: "the AWS configuration".into(),
        message: format!("the profile {profile:?} {message}"),
    }
}

/// Returns the keys in a profile itself.
fn keys_of(section: &Section) -> Option<AwsKeys> {
    let value = |member: &str| section.get(member).map(String::as_str);
    Some(AwsKeys {
        id: value("aws_access_key_id")?.to_owned(),
        secret: value("aws_secret_access_key")?.into(),
        session_token: value("aws_session_token").map(Into::into),
    })
}
