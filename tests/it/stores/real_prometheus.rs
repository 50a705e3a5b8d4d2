//! Credentials, certificates and two endpoints against real Prometheus servers, where they are installed (and `openssl`, for
//! the certificates).

use super::{Folder, Known, east, secret};
use deployctl::adapters::aws::{Aws, Variables};
use deployctl::adapters::prometheus::Prometheus;
use deployctl::domain::metric_store::{PrometheusStore, StoreAuth, StoreTls};
use deployctl::ports::Metrics as _;
use deployctl::ports::metrics::MetricsError;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// bcrypt of `test`, as Prometheus' own documentation has it.
const HASH: &str = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay";

/// A Prometheus that asks for a password and a certificate.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn die(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.die();
    }
}

fn installed(program: &str, argument: &str) -> bool {
    let run = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

/// An authority, a server's certificate for a name that no address has, and a client's.
fn certificates(folder: &Folder) {
    let openssl = |arguments: &str| {
        let run = Command::new("openssl").args(arguments.split(' ')).current_dir(&folder.0).output().unwrap();
        assert!(run.status.success(), "{arguments}: {}", String::from_utf8_lossy(&run.stderr));
    };
    folder.write("server.ext", "subjectAltName=DNS:prom.internal\n");
    folder.write("client.ext", "extendedKeyUsage=clientAuth\n");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"));
    openssl(&format!("req -x509 {key} -keyout other.key -out other.pem -subj /CN=other -days 2"));
    for who in ["server", "client"] {
        openssl(&format!("req -new {key} -keyout {who}.key -out {who}.csr -subj /CN={who}"));
        openssl(&format!(
            "x509 -req -in {who}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {who}.ext -out {who}.pem"
        ));
    }
}

async fn server(folder: &Folder, name: &str) -> Server {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let config = folder.write(&format!("{name}.yml"), "global: {}\n");
    let web = format!(
        "basic_auth_users: {{ana: '{HASH}'}}\ntls_server_config: {{cert_file: server.pem, key_file: server.key, \
         client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}}\n"
    );
    let web = folder.write("web.yml", &web);
    let child = Command::new("prometheus")
        .arg(format!("--config.file={config}"))
        .arg(format!("--web.config.file={web}"))
        .arg(format!("--storage.tsdb.path={}", folder.0.join(name).display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Server { child, port }
}

/// How both are asked; what a row changes of it is what must be noticed.
fn wanted(folder: &Folder, servers: &[&Server]) -> PrometheusStore {
    let file = |name: &str| -> PathBuf { folder.0.join(name) };
    PrometheusStore {
        urls: servers.iter().map(|server| format!("https://127.0.0.1:{}", server.port)).collect(),
        auth: Some(StoreAuth::Basic { username: "ana".into(), password: secret("PASSWORD") }),
        headers: BTreeMap::new(),
        tls: Some(StoreTls {
            ca: Some(file("ca.pem")),
            client: Some((file("client.pem"), file("client.key"))),
            server_name: Some("prom.internal".into()),
        }),
    }
}

fn store(wanted: PrometheusStore, secrets: &Known) -> Prometheus {
    let aws = Arc::new(Aws::new(Variables::of(&[])));
    Prometheus::new(&BTreeMap::from([(east(), wanted)]), &BTreeMap::new(), &secrets.door(), &aws).unwrap()
}

async fn comes_up(store: &Prometheus) {
    for _ in 0..400 {
        if store.reachable(&east()).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?}", store.reachable(&east()).await);
}

#[tokio::test]
async fn passwords_certificates_and_a_second_endpoint() {
    if !installed("prometheus", "--version") || !installed("openssl", "version") {
        super::skipped("`prometheus` or `openssl` is not installed; credentials were not tried");
        return;
    }
    let folder = Folder::new("prometheus-tls");
    certificates(&folder);
    let (mut first, mut second) = (server(&folder, "one").await, server(&folder, "two").await);
    let secrets = Known::of(&[("PASSWORD", "test")]);
    for one in [&first, &second] {
        comes_up(&store(wanted(&folder, &[one]), &secrets)).await;
    }

    let down = async |change: fn(&mut StoreTls), words: &str| {
        let mut wanted = wanted(&folder, &[&first]);
        change(wanted.tls.as_mut().unwrap());
        let result = store(wanted, &secrets).reachable(&east()).await;
        let Err(MetricsError::Down { message }) = result else { panic!("{words}: {result:?}") };
        assert!(message.contains(words), "{words}: {message}");
    };
    down(|tls| tls.client = None, "ertificate").await;
    down(|tls| tls.server_name = None, "ertificate").await;
    down(|tls| tls.ca = Some(tls.ca.take().unwrap().with_file_name("other.pem")), "ertificate").await;
    down(
        |tls| tls.ca = Some(tls.ca.take().unwrap().with_file_name("nowhere.pem")),
        "nowhere.pem: No such file",
    )
    .await;
    down(|tls| tls.client.as_mut().unwrap().1.set_file_name("other.key"), "").await;

    secrets.set("PASSWORD", "wrong-password");
    let both = store(wanted(&folder, &[&first, &second]), &secrets);
    let Err(MetricsError::Denied { message }) = both.reachable(&east()).await else { panic!() };
    assert!(message.contains("refuses these credentials: 401 Unauthorized"), "{message}");
    assert!(!message.contains("wrong-password"), "{message}");
    secrets.set("PASSWORD", "test");

    assert_eq!(both.reachable(&east()).await, Ok(()));
    first.die();
    assert_eq!(both.reachable(&east()).await, Ok(()));
    let [notice] = both.notices(&east()).try_into().unwrap();
    let begins = format!("Prometheus of east is asked at https://127.0.0.1:{} from now on; ", second.port);
    assert!(notice.starts_with(&begins), "{notice}");
    second.die();
    let Err(MetricsError::Down { message }) = both.reachable(&east()).await else { panic!() };
    let named =
        |server: &Server| message.contains(&format!("https://127.0.0.1:{}: does not answer: ", server.port));
    assert!(named(&first) && named(&second), "{message}");
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_shown() {
    if !installed("prometheus", "--version") || !installed("openssl", "version") {
        super::skipped("`prometheus` or `openssl` is not installed; renewed certificates were not tried");
        return;
    }
    let folder = Folder::new("prometheus-renewed");
    certificates(&folder);
    let server = server(&folder, "one").await;
    let secrets = Known::of(&[("PASSWORD", "test")]);
    comes_up(&store(wanted(&folder, &[&server]), &secrets)).await;
    // a client that nobody vouches for, until its files are replaced
    let (good, bad) = (folder.0.join("client.pem"), folder.0.join("other.pem"));
    std::fs::copy(&bad, folder.0.join("mine.pem")).unwrap();
    std::fs::copy(folder.0.join("other.key"), folder.0.join("mine.key")).unwrap();
    let mut wanted = wanted(&folder, &[&server]);
    wanted.tls.as_mut().unwrap().client = Some((folder.0.join("mine.pem"), folder.0.join("mine.key")));
    let store = store(wanted, &secrets);
    assert!(matches!(store.reachable(&east()).await, Err(MetricsError::Down { .. })));
    std::fs::copy(&good, folder.0.join("mine.pem")).unwrap();
    std::fs::copy(folder.0.join("client.key"), folder.0.join("mine.key")).unwrap();
    assert_eq!(store.reachable(&east()).await, Ok(()));
}
