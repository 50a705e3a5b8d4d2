//! From a kubeconfig to a server: credentials by plugin, and what is said when there is no way.

use deployctl::adapters::kubernetes::{ConnectError, connect};
use deployctl::domain::environment::ClusterAddress;
use deployctl::ports::cluster::{Cluster as _, ClusterError};
use std::path::PathBuf;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A kubeconfig in a folder of its own, which goes when it is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new(name: &str, kubeconfig: &str) -> Self {
        let path = std::env::temp_dir().join(format!("deployctl-connect-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("config"), kubeconfig).unwrap();
        Self(path)
    }

    fn address(&self, context: Option<&str>) -> ClusterAddress {
        let context = context.map(str::to_owned);
        ClusterAddress { context, kubeconfig: Some(self.0.join("config")), eks: None }
    }
}

fn kubeconfig(server: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: east\n\
         clusters: [{{name: c, cluster: {{server: '{server}'}}}}]\n\
         contexts: [{{name: east, context: {{cluster: c, user: u}}}}]\n\
         users: [{{name: u, user: {user}}}]\n"
    )
}

/// A user whose credentials come from `plugin` in the folder.
const PLUGIN: &str = "{exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: sh, \
                      args: [PLUGIN]}}";

impl Folder {
    fn with_plugin(name: &str, server: &str, script: &str) -> Self {
        let folder = Self::new(name, "");
        let plugin = folder.0.join("plugin");
        std::fs::write(&plugin, script).unwrap();
        let user = PLUGIN.replace("PLUGIN", plugin.to_str().unwrap());
        std::fs::write(folder.0.join("config"), kubeconfig(server, &user)).unwrap();
        folder
    }
}

#[tokio::test]
async fn a_plugins_token_reaches_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 8192];
            let read = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..read]).to_lowercase();
            let body = if !request.contains("authorization: bearer from-the-plugin") {
                "{}"
            } else if request.starts_with("get /version") {
                r#"{"major":"1","minor":"33+","gitVersion":"v1.33.4-eks-1"}"#
            } else if request.starts_with("get /api/v1/namespaces/kube-system") {
                r#"{"metadata":{"uid":"u-1"}}"#
            } else {
                r#"{"status":{"userInfo":{"username":"ci"}}}"#
            };
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:";
            let _ = stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await;
        }
    });
    let credential = r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"from-the-plugin","expirationTimestamp":"2100-01-01T00:00:00Z"}}"#;
    let folder = Folder::with_plugin("plugin", &server, &format!("echo '{credential}'"));
    let identity = connect(&folder.address(None)).await.unwrap().identity().await.unwrap();
    assert_eq!((identity.version.as_str(), identity.minor), ("v1.33.4-eks-1", (1, 33)));
    assert_eq!((identity.cluster_uid.as_str(), identity.user.as_str()), ("u-1", "ci"));
    assert_eq!(identity.server, server);
}

#[tokio::test]
async fn no_way_to_a_cluster_is_explained() {
    let server = "https://127.0.0.1:1";
    let babbling = Folder::with_plugin("babbling", server, "echo '{\"token\": hunter2 [}'");
    let error = connect(&babbling.address(None)).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "no credentials: what the credential plugin of the kubeconfig prints is not understood"
    );

    let folder = Folder::with_plugin("failing", server, "echo the session has expired >&2; exit 255");
    let error = connect(&folder.address(None)).await.unwrap_err();
    let expected =
        "the credential plugin of the kubeconfig failed (exit status: 255): the session has expired";
    assert_eq!(error, ConnectError::Credentials(expected.into()));

    let error = connect(&folder.address(Some("eats"))).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the kubeconfig has no context `eats`; did you mean `east`? (there are: east)"
    );
    let missing = ClusterAddress { kubeconfig: Some("/no/such/file".into()), ..ClusterAddress::default() };
    let error = connect(&missing).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/file"), "{error}");
    let eks = ClusterAddress { eks: Some("prod".into()), ..ClusterAddress::default() };
    assert!(connect(&eks).await.unwrap_err().to_string().contains("aws eks update-kubeconfig --name prod"));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let folder = Folder::new("closed", &kubeconfig(&format!("https://127.0.0.1:{port}"), "{token: t}"));
    let cluster = connect(&folder.address(None)).await.unwrap();
    tokio::time::pause();
    let Err(ClusterError::Unreachable { server, message }) = cluster.identity().await else {
        panic!("nobody listens");
    };
    assert_eq!(server, format!("https://127.0.0.1:{port}"));
    assert!(message.contains("refused"), "{message}");
}
