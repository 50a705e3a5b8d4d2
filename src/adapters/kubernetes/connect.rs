//! From a kubeconfig to a client. Nothing here speaks to the cluster; a credential plugin (`aws eks get-token`) is run.

use crate::adapters::errors::chain;
use crate::adapters::kubernetes::{KubeCluster, credentials};
use crate::adapters::tls;
use crate::domain::environment::ClusterAddress;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{ClientBuilder, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::time::Duration;
use tower::ServiceBuilder;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no way to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(String),
    /// No such context.
    #[error("{}", no_context(.wanted, .available, .nearest.as_deref()))]
    NoContext {
        /// What was asked for.
        wanted: String,
        /// What there is.
        available: Vec<String>,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// No context was asked for and none is current.
    #[error("no context is named and the kubeconfig has no current one; there are: {}", .0.join(", "))]
    NoCurrentContext(Vec<String>),
    /// This is no pod with a service account.
    #[error("the credentials of a pod cannot be used: {0}")]
    InCluster(String),
    /// The credential plugin failed.
    #[error("no credentials: {0}")]
    Credentials(String),
    /// A kind of address that is not supported.
    #[error("{0}")]
    Unsupported(String),
}

fn no_context(wanted: &str, available: &[String], nearest: Option<&str>) -> String {
    let there_are = if available.is_empty() {
        "there are none".to_owned()
    } else {
        format!("there are: {}", available.join(", "))
    };
    let meant = nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    format!("the kubeconfig has no context `{wanted}`{meant} ({there_are})")
}

/// A cluster from its address: the kubeconfig that it names, else those of `KUBECONFIG`, else `~/.kube/config`, else
/// the service account of the pod that we run in.
///
/// # Errors
/// When the kubeconfig, the context or the credentials are not to be had.
pub async fn connect(address: &ClusterAddress) -> Result<KubeCluster, ConnectError> {
    let address = address.clone();
    // Reading files and running the plugin block; several clusters are connected side by side.
    tokio::task::spawn_blocking(move || connect_blocking(&address)).await.expect("connecting does not panic")
}

fn connect_blocking(address: &ClusterAddress) -> Result<KubeCluster, ConnectError> {
    if let Some(eks) = &address.eks {
        return Err(ConnectError::Unsupported(format!(
            "EKS cluster `{eks}`: only kubeconfigs are supported; run `aws eks update-kubeconfig --name {eks}` and \
             name the context"
        )));
    }
    tls::ensure_provider();
    cluster(load(address)?)
}

/// The cluster that this process runs in, by its pod's service account.
///
/// # Errors
/// When this is no pod, or its account's token is not mounted.
pub fn connect_in_cluster() -> Result<KubeCluster, ConnectError> {
    tls::ensure_provider();
    cluster(Config::incluster().map_err(|error| ConnectError::InCluster(chain(&error)))?)
}

fn cluster(config: Config) -> Result<KubeCluster, ConnectError> {
    let server = config.cluster_url.to_string();
    let mut hasher = DefaultHasher::new();
    (std::process::id(), &server).hash(&mut hasher);
    let client = client(config)?;
    let cluster = KubeCluster::new(client, server.trim_end_matches('/')).with_seed(hasher.finish());
    Ok(match cache_folder() {
        Some(folder) => cluster.with_document_cache(folder),
        None => cluster,
    })
}

/// `deployctl/openapi` in the user's folder for caches, as the XDG base directory specification finds it.
fn cache_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("deployctl").join("openapi"))
}

/// Reads the kubeconfig and picks the context.
fn load(address: &ClusterAddress) -> Result<Config, ConnectError> {
    let read = match &address.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => match listed() {
            paths if paths.is_empty() => Kubeconfig::read(),
            paths => merged(&paths),
        },
    };
    let kubeconfig = match read {
        Ok(kubeconfig) => kubeconfig,
        Err(error) => {
            // No file at all is what a pod looks like; a file that is wrong, or that was named, is a mistake.
            let missing = matches!(error, KubeconfigError::ReadConfig(..) | KubeconfigError::FindPath);
            let named = address.kubeconfig.is_some() || address.context.is_some();
            return match Config::incluster() {
                Ok(config) if missing && !named => Ok(config),
                _ => Err(ConnectError::Kubeconfig(chain(&error))),
            };
        }
    };
    check_context(address.context.as_deref(), &kubeconfig)?;
    let options = KubeConfigOptions { context: address.context.clone(), ..KubeConfigOptions::default() };
    let config =
        tokio::runtime::Handle::current().block_on(Config::from_custom_kubeconfig(kubeconfig, &options));
    config.map_err(|error| ConnectError::Kubeconfig(chain(&error)))
}

/// The files that `KUBECONFIG` names.
fn listed() -> Vec<PathBuf> {
    let paths = std::env::var_os("KUBECONFIG").unwrap_or_default();
    std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// Several files as one, the first to say something wins. As for kubectl, some of them may be missing.
fn merged(paths: &[PathBuf]) -> Result<Kubeconfig, KubeconfigError> {
    let there: Vec<&PathBuf> = paths.iter().filter(|path| path.exists()).collect();
    if there.is_empty() {
        return Kubeconfig::read_from(&paths[0]);
    }
    there.into_iter().try_fold(Kubeconfig::default(), |all, path| all.merge(Kubeconfig::read_from(path)?))
}

fn check_context(wanted: Option<&str>, kubeconfig: &Kubeconfig) -> Result<(), ConnectError> {
    let available: Vec<String> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let current = kubeconfig.current_context.as_deref().filter(|name| !name.is_empty());
    let Some(wanted) = wanted.or(current) else {
        return Err(ConnectError::NoCurrentContext(available));
    };
    if available.iter().any(|name| name == wanted) {
        return Ok(());
    }
    let nearest = available
        .iter()
        .map(|name| (strsim::jaro_winkler(name, wanted), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.clone());
    Err(ConnectError::NoContext { wanted: wanted.to_owned(), available, nearest })
}

/// kube's stack without its own retries (ours are in one place and seeded), and with keep-alive probes, so that a
/// connection whose other end vanished is found out in 20 s.
fn client(mut config: Config) -> Result<Client, ConnectError> {
    let failed = |error: kube::Error| match &error {
        kube::Error::Auth(error) => ConnectError::Credentials(credentials::explain(error)),
        _ => ConnectError::Kubeconfig(chain(&error)),
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.default_retry = false;
    if config.proxy_url.is_some() {
        return Ok(ClientBuilder::try_from(config).map_err(failed)?.build());
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_keepalive(Some(Duration::from_secs(10)));
    connector.set_keepalive_interval(Some(Duration::from_secs(5)));
    connector.set_keepalive_retries(Some(2));
    let https = config.rustls_https_connector_with_connector(connector).map_err(failed)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(failed)?)
        .layer(config.extra_headers_layer().map_err(failed)?)
        .map_err(tower::BoxError::from)
        .service(hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(https));
    Ok(Client::new(service, config.default_namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(current: &str) -> Kubeconfig {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: '{current}'\n\
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:6443'}}}}]\nusers: []\ncontexts:\n\
             - {{name: us-east-1, context: {{cluster: c}}}}\n- {{name: eu-west-1, context: {{cluster: c}}}}\n"
        );
        Kubeconfig::from_yaml(&text).unwrap()
    }

    #[test]
    fn several_files_are_one_and_some_may_be_missing() {
        let folder = std::env::temp_dir().join(format!("deployctl-kubeconfig-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).unwrap();
            folder.join(name)
        };
        let paths = [
            folder.join("missing"),
            write("a", "{current-context: one, contexts: [{name: one, context: {cluster: c}}]}"),
            write("b", "{current-context: two, contexts: [{name: two, context: {cluster: c}}]}"),
        ];
        let all = merged(&paths).unwrap();
        assert_eq!(all.current_context.as_deref(), Some("one"));
        assert_eq!(all.contexts.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert!(matches!(merged(&paths[..1]), Err(KubeconfigError::ReadConfig(..))));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_wrong_context_is_answered_with_those_there_are() {
        let error = check_context(Some("us-eats-1"), &kubeconfig("")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kubeconfig has no context `us-eats-1`; did you mean `us-east-1`? (there are: us-east-1, eu-west-1)"
        );
        let error = check_context(Some("staging"), &kubeconfig("")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kubeconfig has no context `staging` (there are: us-east-1, eu-west-1)"
        );
        assert!(matches!(check_context(None, &kubeconfig("")), Err(ConnectError::NoCurrentContext(_))));
        assert_eq!(check_context(None, &kubeconfig("eu-west-1")), Ok(()));
        assert_eq!(check_context(Some("us-east-1"), &kubeconfig("")), Ok(()));
    }
}
