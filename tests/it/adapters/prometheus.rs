//! The metric store against a real Prometheus, where one is installed.

use deployctl::adapters::aws::{Aws, Variables};
use deployctl::adapters::prometheus::Prometheus;
use deployctl::adapters::secrets::LocalSecrets;
use deployctl::config::defaults;
use deployctl::domain::counters::{CounterNames, Selector};
use deployctl::domain::gate::Metric;
use deployctl::domain::ids::{ComponentId, TargetId};
use deployctl::domain::metric_store::PrometheusStore;
use deployctl::ports::metrics::{CountersOf, Measurement, MetricsError, Reading};
use deployctl::ports::{Metrics, Secrets};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Two pods of one owner, one of another. With every scrape: ten requests, one of them failed, all in 40 ms.
fn page(scrape: u64) -> String {
    let mut out = String::new();
    for pod in ["api-r2-abc-x1x1x", "api-r2-abc-x2x2x", "api-r1-def-y1y1y"] {
        let failed = if pod.starts_with("api-r2") { scrape } else { 0 };
        let labels = format!("namespace=\"shop\",pod=\"{pod}\"");
        let _ = writeln!(out, "http_requests_total{{{labels},status=\"200\"}} {}", 10 * scrape - failed);
        if failed > 0 {
            let _ = writeln!(out, "http_requests_total{{{labels},status=\"500\"}} {failed}");
        }
        for (le, count) in [("0.02", 0), ("0.05", 10 * scrape), ("+Inf", 10 * scrape)] {
            let _ = writeln!(out, "http_request_duration_seconds_bucket{{{labels},le=\"{le}\"}} {count}");
        }
    }
    out
}

async fn metrics_page(tasks: &mut JoinSet<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        for scrape in 1.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let page = page(scrape);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n";
            let answer = format!("{head}Content-Length: {}\r\n\r\n{page}", page.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

/// A Prometheus of our own; it and its data go when it is dropped.
struct Server {
    child: Child,
    folder: PathBuf,
    url: String,
    _tasks: JoinSet<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// `None`, and a line that says so, where Prometheus is not installed.
async fn server() -> Option<Server> {
    let installed =
        Command::new("prometheus").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if installed.is_err() {
        super::skipped("`prometheus` is not installed");
        return None;
    }
    let mut tasks = JoinSet::new();
    let scraped = metrics_page(&mut tasks).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let folder = std::env::temp_dir().join(format!("deployctl-prometheus-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let config = format!(
        "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms }}\nscrape_configs:\n- job_name: pods\n  \
         static_configs: [ {{ targets: ['127.0.0.1:{scraped}'] }} ]\n"
    );
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{free}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Some(Server { child, folder, url: format!("http://127.0.0.1:{free}"), _tasks: tasks })
}

fn measurement(metric: Metric, owners: &[&str]) -> Measurement {
    Measurement {
        metric,
        target: TargetId::from("east"),
        region: "us-east-1".into(),
        namespace: "shop".into(),
        component: ComponentId::from("api"),
        owners: owners.iter().map(|owner| (*owner).to_owned()).collect(),
        version: None,
        revision: None,
        window: Duration::from_secs(2),
    }
}

fn store(url: &str) -> Prometheus {
    let queries = [
        ("error_rate", defaults::QUERY_ERROR_RATE),
        ("availability", defaults::QUERY_AVAILABILITY),
        ("latency", defaults::QUERY_LATENCY),
        ("requests", defaults::QUERY_REQUESTS),
    ];
    let queries = queries.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let stores = BTreeMap::from([(TargetId::from("east"), PrometheusStore::open(url))]);
    let secrets: Arc<dyn Secrets> = Arc::new(LocalSecrets);
    Prometheus::new(&stores, &queries, &secrets, &Arc::new(Aws::new(Variables::of(&[])))).unwrap()
}

#[tokio::test]
async fn the_default_queries_give_what_happened() {
    let Some(server) = server().await else { return };
    let store = store(&server.url);
    let east = TargetId::from("east");
    let new = ["api-r2-abc"];
    // Two pods, ten requests a scrape, ten scrapes in the window, give or take what extrapolation makes of it; a busy
    // machine takes a while to begin and may miss some.
    let full =
        |reading: &Reading| reading.requests.is_some_and(|requests| (150.0..250.0).contains(&requests));
    let began = Instant::now();
    let reading = loop {
        match store.measure(&measurement(Metric::ErrorRate, &new)).await {
            Ok(reading) if full(&reading) => break reading,
            _ if began.elapsed() < Duration::from_secs(40) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            odd => panic!("{odd:?}"),
        }
    };
    assert_eq!(store.reachable(&east).await, Ok(()));
    let near = |value: Option<f64>, expected: f64| (value.unwrap() - expected).abs() < 0.001;
    assert!(near(reading.value, 0.1), "{reading:?}");
    let availability = store.measure(&measurement(Metric::Availability, &new)).await.unwrap();
    assert!(near(availability.value, 0.9), "{availability:?}");
    let p50 = store.measure(&measurement(Metric::Latency { quantile: 0.5 }, &new)).await.unwrap();
    assert!(near(p50.value, 0.035), "{p50:?}");
    let stable = store.measure(&measurement(Metric::ErrorRate, &["api-r1-def"])).await.unwrap();
    assert!(near(stable.value, 0.0), "no 5xx series is an error rate of zero: {stable:?}");
    let idle = store.measure(&measurement(Metric::ErrorRate, &["api-r3-none"])).await.unwrap();
    assert_eq!((idle.value, idle.requests), (None, None), "no traffic is no data");

    // Raw samples: what one process counted in one scrape stands in one row.
    let selector = |text: &str| Selector::parse(text).unwrap();
    let counters = CountersOf {
        target: east.clone(),
        namespace: "shop".into(),
        component: ComponentId::from("api"),
        owners: vec!["api-r2-abc".into()],
        names: CounterNames {
            requests: selector("http_requests_total"),
            errors: selector(r#"http_requests_total{status=~"5.."}"#),
            latency: selector(r#"http_request_duration_seconds{job="pods"}"#),
        },
        window: Duration::from_secs(2),
    };
    let rows = store.samples(&counters).await.unwrap();
    let pods: BTreeSet<&str> = rows.iter().map(|row| row.pod.as_str()).collect();
    assert_eq!(pods, BTreeSet::from(["api-r2-abc-x1x1x", "api-r2-abc-x2x2x"]));
    assert!(rows.len() >= 4, "{rows:?}");
    for row in &rows {
        let scrape = row.errors;
        assert!(scrape >= 1.0 && (row.requests - 10.0 * scrape).abs() < 1e-9, "{row:?}");
        let buckets = [(0.02, 0.0), (0.05, 10.0 * scrape), (f64::INFINITY, 10.0 * scrape)];
        assert_eq!(row.buckets, buckets, "{row:?}");
    }
    let stable = CountersOf { owners: vec!["api-r1-def".into()], ..counters.clone() };
    let rows = store.samples(&stable).await.unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.errors == 0.0), "no 5xx series: {rows:?}");
    let nobody = CountersOf { owners: vec!["api-r3-none".into()], ..counters };
    assert_eq!(store.samples(&nobody).await, Ok(Vec::new()));
    let endless = measurement(Metric::Query("vector(1) / 0".into()), &new);
    assert_eq!(store.measure(&endless).await.map(|reading| reading.value), Ok(Some(f64::INFINITY)));

    let many = measurement(Metric::Query("http_requests_total{pod=~\"{{ pods }}\"}".into()), &new);
    let Err(MetricsError::Refused { message }) = store.measure(&many).await else { panic!("four series") };
    assert!(message.starts_with("it gives 4 series where one number is wanted"), "{message}");
    let wrong = measurement(Metric::Query("sum(".into()), &new);
    assert!(matches!(store.measure(&wrong).await, Err(MetricsError::Refused { .. })));
    let elsewhere = Measurement { target: TargetId::from("west"), ..measurement(Metric::ErrorRate, &new) };
    assert!(matches!(store.measure(&elsewhere).await, Err(MetricsError::Refused { .. })));
}

#[tokio::test]
async fn a_store_that_is_away_is_down() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let store = store(&format!("http://user:secret@127.0.0.1:{closed}/prometheus"));
    let Err(MetricsError::Down { message }) = store.reachable(&TargetId::from("east")).await else {
        panic!("nobody listens");
    };
    assert!(message.starts_with("Prometheus of east does not answer: "), "{message}");
    assert!(message.contains("refused") && !message.contains("secret"), "{message}");
}
