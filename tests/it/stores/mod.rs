//! Metric stores: credentials, endpoints that fail, signatures, `CloudWatch`, documents over HTTP, and what a run makes of them.

mod cloudwatch;
mod config;
mod credentials;
mod documents;
mod endpoints;
mod moto;
mod real_prometheus;
mod runs;
mod server;
mod sigv4;

use async_trait::async_trait;
use deployctl::domain::gate::Metric;
use deployctl::domain::ids::{ComponentId, TargetId};
use deployctl::domain::secret::{SecretRef, SecretValue};
use deployctl::ports::metrics::Measurement;
use deployctl::ports::secrets::{SecretError, Secrets};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Says that a test was not run; past the test harness, which swallows what `eprintln!` writes.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Secrets by the name of their variable, as they are now.
#[derive(Clone, Default)]
struct Known(Arc<Mutex<BTreeMap<String, String>>>);

impl Known {
    fn of(all: &[(&str, &str)]) -> Self {
        let known = Self::default();
        for (name, value) in all {
            known.set(name, value);
        }
        known
    }

    fn set(&self, name: &str, value: &str) {
        self.0.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    fn door(&self) -> Arc<dyn Secrets> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl Secrets for Known {
    async fn read(&self, reference: &SecretRef) -> Result<SecretValue, SecretError> {
        let SecretRef::Env(name) = reference else { panic!("{reference}") };
        let known = self.0.lock().unwrap().get(name).cloned();
        known
            .map(SecretValue::new)
            .ok_or_else(|| SecretError { message: format!("the environment variable {name} is not set") })
    }
}

fn secret(name: &str) -> SecretRef {
    SecretRef::Env(name.to_owned())
}

fn east() -> TargetId {
    TargetId::from("east")
}

fn measurement(metric: Metric) -> Measurement {
    Measurement {
        metric,
        target: east(),
        region: "us-east-1".into(),
        namespace: "shop".into(),
        component: ComponentId::from("api"),
        owners: vec!["api-r2-abc".into()],
        version: Some("1.4.0".into()),
        revision: Some("2".into()),
        window: Duration::from_mins(5),
    }
}

/// A folder of this process that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("deployctl-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
