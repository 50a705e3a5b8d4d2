//! Where AWS credentials come from, each against a server that plays its source, and the signatures made with them.

use super::server::{Asked, Server};
use super::sigv4::{KEY, SECRET, check};
use super::{Folder, Known, east};
use deployctl::adapters::aws::{Aws, Variables};
use deployctl::adapters::prometheus::Prometheus;
use deployctl::domain::metric_store::{PrometheusStore, SigV4, StoreAuth};
use deployctl::ports::Metrics as _;
use deployctl::ports::metrics::MetricsError;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Keys as long as STS gives them.
const SESSION_KEY: &str = "ASIAEXAMPLEOFASESSION";
const ROLE: &str = "arn:aws:iam::111122223333:role/reader";
const FAR: &str = "2999-01-01T00:00:00Z";
/// Good for this request, and within the two minutes in which credentials are fetched anew.
fn soon() -> String {
    #[allow(clippy::disallowed_methods, reason = "credentials go by real time")]
    let now = jiff::Timestamp::now();
    (now + std::time::Duration::from_mins(1)).to_string()
}

const SUCCESS: &str =
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]}]}}"#;

/// A store that is asked with signatures, and asks for nothing else.
struct Rig {
    server: Server,
    store: Prometheus,
}

async fn rig(variables: &[(&str, &str)], how: SigV4) -> Rig {
    let server = Server::new(|_| (200, SUCCESS.to_owned())).await;
    let mut wanted = PrometheusStore::open(format!("{}/workspaces/ws-1", server.url));
    wanted.auth = Some(StoreAuth::SigV4(how));
    let aws = Arc::new(Aws::new(Variables::of(variables)));
    let stores = BTreeMap::from([(east(), wanted)]);
    let store = Prometheus::new(&stores, &BTreeMap::new(), &Known::default().door(), &aws).unwrap();
    Rig { server, store }
}

fn how() -> SigV4 {
    SigV4 { region: "us-east-1".into(), service: "aps".into(), profile: None, role: None }
}

impl Rig {
    /// Asks once and checks the signature.
    async fn signed_by(&self, key: &str, secret: &str) -> Asked {
        self.store.reachable(&east()).await.unwrap();
        let [asked] = self.server.asked().try_into().unwrap();
        check(&asked, (key, secret), "us-east-1", "aps");
        asked
    }

    async fn denied(&self) -> String {
        let Err(MetricsError::Denied { message }) = self.store.reachable(&east()).await else { panic!() };
        assert_eq!(self.server.asked(), [], "nothing is sent unsigned");
        message
    }
}

#[tokio::test]
async fn keys_of_the_environment_sign() {
    let keys = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    let asked = rig(&keys, how()).await.signed_by(KEY, SECRET).await;
    assert_eq!(asked.path, "/workspaces/ws-1/api/v1/query");
    assert!(!asked.headers.contains_key("x-amz-security-token"));
    let session = [keys[0], keys[1], ("AWS_SESSION_TOKEN", "of-a-session")];
    let asked = rig(&session, how()).await.signed_by(KEY, SECRET).await;
    assert_eq!(asked.headers["x-amz-security-token"], "of-a-session");
    assert!(asked.headers["authorization"].contains("x-amz-security-token"));
}

#[tokio::test]
async fn profiles_of_the_shared_files_are_found_by_name() {
    let folder = Folder::new("aws-profiles");
    let text = format!(
        "[default]\naws_access_key_id = OTHER\naws_secret_access_key = other\n[prod]\naws_access_key_id = {KEY}\n\
         aws_secret_access_key = {SECRET}\n"
    );
    let credentials = folder.write("credentials", &text);
    let config = folder
        .write("config", "[profile role-only]\nrole_arn = arn:aws:iam::1:role/a\nsource_profile = prod\n");
    let files = [("AWS_SHARED_CREDENTIALS_FILE", credentials.as_str()), ("AWS_CONFIG_FILE", config.as_str())];
    let named = |name: &str| SigV4 { profile: Some(name.to_owned()), ..how() };
    rig(&files, named("prod")).await.signed_by(KEY, SECRET).await;
    // a profile that is named wins over the environment's keys, which are somebody else's
    let both = [files[0], files[1], ("AWS_ACCESS_KEY_ID", "WRONG"), ("AWS_SECRET_ACCESS_KEY", "wrong")];
    rig(&both, named("prod")).await.signed_by(KEY, SECRET).await;
    let by_variable = [files[0], files[1], ("AWS_PROFILE", "prod")];
    rig(&by_variable, how()).await.signed_by(KEY, SECRET).await;
    let why = rig(&both, named("role-only")).await.denied().await;
    assert!(
        why.contains(
            "there are no AWS credentials of profile role-only: the profile `role-only` has neither keys nor"
        ),
        "{why}"
    );
}

fn web_identity(id: &str, secret: &str, expires: &str) -> String {
    format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{id}</AccessKeyId>\
         <SecretAccessKey>{secret}</SecretAccessKey><SessionToken>token</SessionToken>\
         <Expiration>{expires}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
         </AssumeRoleWithWebIdentityResponse>"
    )
}

#[tokio::test]
async fn a_web_identity_is_exchanged_for_a_session() {
    let sts = Server::new(|_| (200, web_identity(SESSION_KEY, "first", FAR))).await;
    let folder = Folder::new("aws-web-identity");
    let token = folder.write("token", "jwt-one\n");
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()),
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_ENDPOINT_URL_STS", sts.url.as_str()),
    ];
    let rig = rig(&variables, how()).await;
    rig.signed_by(SESSION_KEY, "first").await;
    rig.signed_by(SESSION_KEY, "first").await;
    let [exchange] = sts.asked().try_into().expect("the session is kept");
    for part in ["Action=AssumeRoleWithWebIdentity", "WebIdentityToken=jwt-one", "RoleSessionName=deployctl"]
    {
        assert!(exchange.body.contains(part), "{}", exchange.body);
    }
    assert_eq!(exchange.headers["host"], "sts.us-east-1.amazonaws.com");
}

#[tokio::test]
async fn a_refused_web_identity_ends_the_search_with_its_own_words() {
    let sts = Server::new(|_| {
        let error = "<Error><Code>AccessDenied</Code><Message>Not authorized to perform \
                     sts:AssumeRoleWithWebIdentity</Message></Error>";
        (403, format!("<ErrorResponse>{error}</ErrorResponse>"))
    })
    .await;
    let folder = Folder::new("aws-web-identity-refused");
    let token = folder.write("token", "hidden-jwt");
    let rig = rig(
        &[
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()),
            ("AWS_ROLE_ARN", ROLE),
            ("AWS_ENDPOINT_URL_STS", sts.url.as_str()),
        ],
        how(),
    )
    .await;
    let why = rig.denied().await;
    assert!(
        why.contains(
            "the web identity: AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity"
        ),
        "{why}"
    );
    assert!(!why.contains("hidden-jwt"), "{why}");
}

#[tokio::test]
async fn a_pod_identity_is_asked_again_before_it_expires_with_the_token_of_the_moment() {
    let expires = Arc::new(Mutex::new(soon()));
    let now = Arc::clone(&expires);
    let agent = Server::new(move |_| {
        let body = json!({"AccessKeyId": SESSION_KEY, "SecretAccessKey": "of-the-pod", "Token": "t",
            "Expiration": *now.lock().unwrap()});
        (200, body.to_string())
    })
    .await;
    let folder = Folder::new("aws-pod-identity");
    let token = folder.write("token", "pod-one");
    let url = format!("{}/v1/credentials", agent.url);
    let rig = rig(
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.as_str()),
        ],
        how(),
    )
    .await;
    rig.signed_by(SESSION_KEY, "of-the-pod").await;
    FAR.clone_into(&mut expires.lock().unwrap());
    folder.write("token", "pod-two");
    rig.signed_by(SESSION_KEY, "of-the-pod").await;
    rig.signed_by(SESSION_KEY, "of-the-pod").await;
    let seen: Vec<String> =
        agent.asked().iter().map(|asked| asked.headers["authorization"].clone()).collect();
    assert_eq!(seen, ["pod-one", "pod-two"]);
}

#[tokio::test]
async fn an_instance_tells_its_role_to_who_has_a_session() {
    let metadata = Server::new(|asked| {
        let session = asked.headers.get("x-aws-ec2-metadata-token").map(String::as_str);
        match (asked.method.as_str(), asked.path.as_str(), session) {
            ("PUT", "/latest/api/token", _) => (200, "a-session".to_owned()),
            ("GET", "/latest/meta-data/iam/security-credentials/", Some("a-session")) => (200, "nodes".to_owned()),
            ("GET", "/latest/meta-data/iam/security-credentials/nodes", Some("a-session")) => {
                let body = json!({"Code": "Success", "AccessKeyId": SESSION_KEY, "SecretAccessKey": "of-the-node",
                    "Token": "t", "Expiration": FAR});
                (200, body.to_string())
            }
            _ => (401, String::new()),
        }
    })
    .await;
    let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url.as_str())];
    rig(&variables, how()).await.signed_by(SESSION_KEY, "of-the-node").await;
}

#[tokio::test]
async fn a_role_is_assumed_with_a_signed_request() {
    let sts = Server::new(|_| {
        let body =
            web_identity(SESSION_KEY, "of-the-role", FAR).replace("AssumeRoleWithWebIdentity", "AssumeRole");
        (200, body)
    })
    .await;
    let variables = [
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_ENDPOINT_URL_STS", sts.url.as_str()),
    ];
    let rig = rig(&variables, SigV4 { role: Some(ROLE.to_owned()), ..how() }).await;
    let asked = rig.signed_by(SESSION_KEY, "of-the-role").await;
    assert_eq!(asked.headers["x-amz-security-token"], "token");
    let [exchange] = sts.asked().try_into().unwrap();
    check(&exchange, (KEY, SECRET), "us-east-1", "sts");
    let said = format!("{}{}", exchange.path, exchange.body);
    for part in ["Action=AssumeRole&", "role%2Freader", "RoleSessionName=deployctl"] {
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test]
async fn without_credentials_nothing_is_sent_and_every_source_is_named() {
    let rig = rig(&[("AWS_EC2_METADATA_DISABLED", "true")], how()).await;
    assert_eq!(
        rig.denied().await,
        "Prometheus of east: there are no AWS credentials: none in the environment, in the shared \
         files, of a web identity or of a container; check targets.east.prometheus"
    );
}
