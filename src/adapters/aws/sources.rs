//! Where credentials are looked for, one after the other.

use super::SESSION;
use crate::adapters::errors::chain;
use crate::domain::metric_store::SigV4;
use reqsign_aws_v4::{
    AssumeRoleWithWebIdentityCredentialProvider, Credential, ECSCredentialProvider, EnvCredentialProvider,
    IMDSv2CredentialProvider, ProfileCredentialProvider, SSOCredentialProvider,
};
use reqsign_core::{Context, Error, ProvideCredential, Result};

/// The usual chain, or the sources of one profile that is named.
#[derive(Debug)]
pub(super) struct Sources {
    named: Option<String>,
    environment: EnvCredentialProvider,
    profile: ProfileCredentialProvider,
    sso: SSOCredentialProvider,
    web_identity: AssumeRoleWithWebIdentityCredentialProvider,
    container: ECSCredentialProvider,
    instance: IMDSv2CredentialProvider,
}

impl Sources {
    pub fn new(profile: Option<&str>, region: &str) -> Self {
        let (mut keys, mut sso) = (ProfileCredentialProvider::new(), SSOCredentialProvider::new());
        if let Some(name) = profile {
            keys = keys.with_profile(name);
            sso = sso.with_profile(name);
        }
        let web_identity = AssumeRoleWithWebIdentityCredentialProvider::new()
            .with_role_session_name(SESSION.to_owned())
            .with_region(region.to_owned())
            .with_regional_sts_endpoint();
        Self {
            named: profile.map(str::to_owned),
            environment: EnvCredentialProvider::new(),
            profile: keys,
            sso,
            web_identity,
            container: ECSCredentialProvider::new(),
            instance: IMDSv2CredentialProvider::new(),
        }
    }

    async fn of_profile(&self, context: &Context) -> Result<Option<Credential>> {
        if let Some(found) = asked("the profile", &self.profile, context).await? {
            return Ok(Some(found));
        }
        asked("IAM Identity Center", &self.sso, context).await
    }
}

impl ProvideCredential for Sources {
    type Credential = Credential;

    async fn provide_credential(&self, context: &Context) -> Result<Option<Credential>> {
        if let Some(name) = &self.named {
            let found = self.of_profile(context).await?;
            let none = || {
                Error::config_invalid(format!(
                    "the profile `{name}` has neither keys nor a session of IAM Identity Center (a `role_arn` in it is not \
                     followed: name it under `role`)"
                ))
            };
            return found.ok_or_else(none).map(Some);
        }
        if let Some(found) = asked("the environment", &self.environment, context).await? {
            return Ok(Some(found));
        }
        if let Some(found) = self.of_profile(context).await? {
            return Ok(Some(found));
        }
        if let Some(found) = asked("the web identity", &self.web_identity, context).await? {
            return Ok(Some(found));
        }
        if let Some(found) = asked("the container's endpoint", &self.container, context).await? {
            return Ok(Some(found));
        }
        let elsewhere = "none in the environment, in the shared files, of a web identity or of a container";
        match asked("the instance's metadata", &self.instance, context).await {
            Ok(Some(found)) => Ok(Some(found)),
            Ok(None) => Err(Error::config_invalid(elsewhere)),
            Err(error) => Err(Error::new(error.kind(), format!("{elsewhere}; {error}"))),
        }
    }
}

async fn asked(
    name: &str,
    source: &impl ProvideCredential<Credential = Credential>,
    context: &Context,
) -> Result<Option<Credential>> {
    let found = source.provide_credential(context).await;
    found.map_err(|error| Error::new(error.kind(), format!("{name}: {}", chain(&error))))
}

/// Whose credentials, for an error.
pub(super) fn of(how: &SigV4) -> String {
    let profile = how.profile.as_ref().map(|name| format!(" of profile {name}"));
    let role = how.role.as_ref().map(|role| format!(" for {role}"));
    profile.into_iter().chain(role).collect()
}
