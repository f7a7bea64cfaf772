//! Authorization of requests: Basic credentials, and tokens of a token service.

use http::Method;
use serde_json::Value;
use url::Url;

use super::{ATTEMPT_TIMEOUT, Call, Remote};
use crate::base::secret::Secret;
use crate::registry::challenge::Challenge;
use crate::registry::document::MAX_MANIFEST_BYTES;
use crate::registry::{Credential, RegistryError};

#[derive(Clone)]
pub(super) enum Authorization {
    None,
    Basic(String, Secret),
    Bearer(Secret),
}

impl Remote {
    pub(super) async fn authorize(
        &self,
        call: &Call,
        challenge: &Challenge,
    ) -> Result<Option<Authorization>, RegistryError> {
        match challenge {
            Challenge::Basic => {
                let password = self.credential.password().await?;
                Ok(password.map(|(username, password)| Authorization::Basic(username, password)))
            }
            Challenge::Bearer { realm, service } => self
                .token(call, realm, service)
                .await
                .map(|token| Some(Authorization::Bearer(token))),
        }
    }

    /// Requests an access token from the token service that the registry names. If it refuses the
    /// password of a cloud identity, gets a new password and asks once more.
    async fn token(
        &self,
        call: &Call,
        realm: &str,
        service: &str,
    ) -> Result<Secret, RegistryError> {
        let token = self.ask_for_token(call, realm, service).await;
        match (&token, &self.credential) {
            (Err(RegistryError::Denied { .. }), Credential::Login(login))
                if login.discard().await =>
            {
                self.ask_for_token(call, realm, service).await
            }
            _ => token,
        }
    }

    /// Returns what a call needs a token for.
    fn scopes(&self, call: &Call) -> Vec<String> {
        let actions = match call.method {
            Method::GET | Method::HEAD => "pull",
            _ => "pull,push",
        };
        let own = format!("repository:{}:{actions}", self.address.name());
        // A mount reads from another repository.
        let mut parameters = call.url.query_pairs();
        let mounted = parameters.find(|(name, _)| name == "from");
        let mounted = mounted.map(|(_, name)| format!("repository:{name}:pull"));
        std::iter::once(own).chain(mounted).collect()
    }

    async fn ask_for_token(
        &self,
        call: &Call,
        realm: &str,
        service: &str,
    ) -> Result<Secret, RegistryError> {
        let action = "an access token";
        let url =
            Url::parse(realm).map_err(|_| self.untrusted_redirect(realm, "it is not a URL"))?;
        let client = self.client_for(&url, realm)?;
        let scopes = self.scopes(call);
        let scope = scopes.join(" ");
        let query = scopes.into_iter().map(|scope| ("scope", scope));
        let query: Vec<_> = query.chain([("service", service.to_owned())]).collect();
        let request = match &self.credential {
            Credential::Identity { token } => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("service", service),
                    ("scope", &scope),
                    ("client_id", "nuon-runner"),
                    ("refresh_token", token.expose()),
                ];
                client.post(url).form(&form)
            }
            credential => {
                let request = client.get(url).query(&query);
                match credential.password().await? {
                    Some((username, password)) => {
                        request.basic_auth(username, Some(password.expose()))
                    }
                    None => request,
                }
            }
        };
        let response = request
            .timeout(ATTEMPT_TIMEOUT)
            .send()
            .await
            .map_err(|error| self.unreachable(action, &error))?;
        let token_call = Call {
            action,
            ..self.call(action, Method::GET, "")?
        };
        let response = self.check_status(response, &token_call).await?;
        let body = self.body(response, &token_call, MAX_MANIFEST_BYTES).await?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let token = ["token", "access_token"]
            .into_iter()
            .find_map(|member| answer[member].as_str());
        token
            .map(Secret::from)
            .ok_or_else(|| RegistryError::Unreachable {
                host: self.address.host().to_owned(),
                action,
                message: "the token service's answer holds no token".into(),
            })
    }
}
