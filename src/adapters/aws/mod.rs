//! Requests to AWS: where its credentials are found, and the signature (Signature Version 4) over a request.
//!
//! Credentials come from the first of: the environment, a profile of the shared files (keys or IAM Identity Center), a web
//! identity (IRSA), a container's endpoint (EKS Pod Identity, ECS), the instance's metadata (`IMDSv2`). A source that is set
//! up and fails ends the search with its own words: the next one would be somebody else. They are asked for again two
//! minutes before they expire.

mod context;
mod sources;

use crate::adapters::errors::chain;
use crate::domain::metric_store::SigV4;
use crate::ports::metrics::MetricsError;
use http::{HeaderMap, HeaderValue};
use reqsign_aws_v4::{AssumeRoleCredentialProvider, Credential, RequestSigner};
use reqsign_core::{Context, Signer};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

pub use context::Variables;

/// Name of our sessions in the account's audit log.
const SESSION: &str = "deployctl";
/// How long a session with a role lasts, seconds: the most that one role may give to another.
const ROLE_SECONDS: u32 = 3600;

/// Signs requests, each with the credentials that it names.
#[derive(Debug)]
pub struct Aws {
    context: Context,
    variables: Variables,
    signers: Mutex<BTreeMap<SigV4, Signer<Credential>>>,
}

impl Aws {
    /// Takes the variables of the process (or those of a test).
    #[must_use]
    pub fn new(variables: Variables) -> Self {
        Self { context: context::new(&variables), variables, signers: Mutex::default() }
    }

    /// Where a service is reached: what `AWS_ENDPOINT_URL_SERVICE` or `AWS_ENDPOINT_URL` says, else the region's own address.
    #[must_use]
    pub fn endpoint(&self, service: &str, host: &str, region: &str) -> String {
        let own = format!("https://{host}.{region}.{}", suffix(region));
        let ignored =
            self.variables.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|text| text == "true");
        if ignored { own } else { self.variables.endpoint(service).unwrap_or(own) }
    }

    /// Adds date, session and signature to the headers of a request.
    ///
    /// # Errors
    /// When there are no credentials; the request itself is not sent here.
    pub async fn sign(
        &self,
        how: &SigV4,
        (method, url): (&http::Method, &str),
        headers: &mut HeaderMap,
        body: &[u8],
    ) -> Result<(), MetricsError> {
        let signer = self.signer(how);
        let refused = |message: String| MetricsError::Refused { message };
        let request = http::Request::builder().method(method).uri(url).body(());
        let mut parts = request.map_err(|error| refused(format!("{url}: {error}")))?.into_parts().0;
        parts.headers.clone_from(headers);
        let hash = Sha256::digest(body).iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let hash = HeaderValue::try_from(hash).expect("hexadecimal digits");
        parts.headers.insert("x-amz-content-sha256", hash);
        signer.sign(&mut parts, None).await.map_err(|error| MetricsError::Denied {
            message: format!("there are no AWS credentials{}: {}", sources::of(how), chain(&error)),
        })?;
        *headers = parts.headers;
        Ok(())
    }

    /// Made once for each way to sign, so that its credentials are kept until they expire.
    fn signer(&self, how: &SigV4) -> Signer<Credential> {
        let mut signers = self.signers.lock().expect("no panic while held");
        signers.entry(how.clone()).or_insert_with(|| self.make(how)).clone()
    }

    fn make(&self, how: &SigV4) -> Signer<Credential> {
        let sources = sources::Sources::new(how.profile.as_deref(), &how.region);
        let request = RequestSigner::new(&how.service, &how.region);
        let Some(role) = &how.role else { return Signer::new(self.context.clone(), sources, request) };
        let own = Signer::new(self.context.clone(), sources, RequestSigner::new("sts", &how.region));
        let assumed = AssumeRoleCredentialProvider::new(role.clone(), own)
            .with_role_session_name(SESSION.to_owned())
            .with_duration_seconds(ROLE_SECONDS)
            .with_region(how.region.clone())
            .with_regional_sts_endpoint();
        Signer::new(self.context.clone(), assumed, request)
    }
}

/// Domain of a region's partition, as the published endpoint rules have it.
fn suffix(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "amazonaws.com.cn",
        _ if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        _ if region.starts_with("us-iso-") => "c2s.ic.gov",
        _ if region.starts_with("eusc-") => "amazonaws.eu",
        _ => "amazonaws.com",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_found_as_the_sdks_do() {
        let aws = |variables: &[(&str, &str)]| Aws::new(Variables::of(variables));
        let endpoint = |aws: Aws, region| aws.endpoint("CLOUDWATCH", "monitoring", region);
        assert_eq!(endpoint(aws(&[]), "eu-west-1"), "https://monitoring.eu-west-1.amazonaws.com");
        assert_eq!(endpoint(aws(&[]), "cn-north-1"), "https://monitoring.cn-north-1.amazonaws.com.cn");
        let both = [("AWS_ENDPOINT_URL", "http://all:1/"), ("AWS_ENDPOINT_URL_CLOUDWATCH", "http://one:2")];
        assert_eq!(endpoint(aws(&both), "eu-west-1"), "http://one:2");
        assert_eq!(endpoint(aws(&both[..1]), "eu-west-1"), "http://all:1");
        let ignored = [both[0], ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")];
        assert_eq!(endpoint(aws(&ignored), "eu-west-1"), "https://monitoring.eu-west-1.amazonaws.com");
    }
}
