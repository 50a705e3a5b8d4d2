//! The HTTP probe against a small server of our own.

use deployctl::adapters::http::HttpProbe;
use deployctl::ports::Probe;
use deployctl::ports::probe::HttpQuestion;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A server that gives the same answer to every request and tells what it was asked.
struct Server {
    port: u16,
    asked: tokio::sync::mpsc::UnboundedReceiver<String>,
    _task: JoinSet<()>,
}

async fn server(answer: Vec<u8>, delay: Duration) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, asked) = tokio::sync::mpsc::unbounded_channel();
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                    break;
                }
                request.push(byte[0]);
            }
            let _ = tell.send(String::from_utf8(request).unwrap());
            tokio::time::sleep(delay).await;
            let _ = stream.write_all(&answer).await;
        }
    });
    Server { port, asked, _task: task }
}

fn question(port: u16, path: &str, headers: &[(&str, &str)]) -> HttpQuestion {
    HttpQuestion {
        method: "GET".into(),
        url: format!("http://127.0.0.1:{port}{path}"),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn an_answer_comes_as_it_is() {
    let answer = b"HTTP/1.1 503 Service Unavailable\r\nX-Pod: api-1\r\nContent-Length: 4\r\n\r\nbusy";
    let mut server = server(answer.to_vec(), Duration::from_millis(30)).await;
    let probe = HttpProbe::new().unwrap();
    let headers = [("Host", "shop.example"), ("X-Smoke", "1")];
    for _ in 0..2 {
        let answer = probe.ask(&question(server.port, "/health?deep=1", &headers), SECOND).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "busy"));
        assert_eq!(answer.headers["x-pod"], "api-1");
        assert!(answer.latency >= Duration::from_millis(30), "{:?}", answer.latency);
        let asked = server.asked.recv().await.unwrap().to_lowercase();
        assert!(asked.starts_with("get /health?deep=1 http/1.1\r\n"), "{asked}");
        assert!(
            asked.contains("\r\nhost: shop.example\r\n") && asked.contains("\r\nx-smoke: 1\r\n"),
            "{asked}"
        );
        assert_eq!(asked.matches("host:").count(), 1, "{asked}");
    }
}

#[tokio::test]
async fn redirects_are_answers() {
    let answer = b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n";
    let mut server = server(answer.to_vec(), Duration::ZERO).await;
    let answer = HttpProbe::new().unwrap().ask(&question(server.port, "/", &[]), SECOND).await.unwrap();
    assert_eq!((answer.status, answer.headers["location"].as_str()), (302, "/login"));
    server.asked.recv().await.unwrap();
    assert!(server.asked.try_recv().is_err(), "asked once");
}

#[tokio::test]
async fn bodies_are_cut() {
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_vec();
    answer.resize(answer.len() + 1_000_000, b'x');
    let server = server(answer, Duration::ZERO).await;
    let answer = HttpProbe::new().unwrap().ask(&question(server.port, "/", &[]), SECOND).await.unwrap();
    assert_eq!(answer.body.len(), 64 * 1024);
}

#[tokio::test]
async fn no_answer_says_why() {
    let probe = HttpProbe::new().unwrap();
    let slow = server(Vec::new(), SECOND * 5).await;
    let error = probe.ask(&question(slow.port, "/", &[]), Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.message, format!("http://127.0.0.1:{}/ did not answer within 50ms", slow.port));

    let hangs_up = server(Vec::new(), Duration::ZERO).await;
    let error = probe.ask(&question(hangs_up.port, "/", &[]), SECOND).await.unwrap_err();
    assert!(error.message.contains("connection closed"), "{}", error.message);

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = probe.ask(&question(closed, "/", &[]), SECOND).await.unwrap_err();
    assert!(error.message.contains("refused"), "{}", error.message);

    let wrong = |method: &str, url: &str, header: &str| HttpQuestion {
        method: method.into(),
        url: url.into(),
        headers: BTreeMap::from([(header.to_owned(), "x".to_owned())]),
    };
    for question in [
        wrong("GE T", "http://127.0.0.1/", "a"),
        wrong("GET", "/relative", "a"),
        wrong("GET", "http://127.0.0.1/", "a b"),
    ] {
        assert!(probe.ask(&question, SECOND).await.is_err(), "{question:?}");
    }
}
