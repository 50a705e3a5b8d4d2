//! Amazon `CloudWatch` as a metric store: `GetMetricData` over its JSON protocol.
//!
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html>

mod answer;
mod request;

use crate::adapters::aws::Aws;
use crate::adapters::errors::chain;
use crate::adapters::templates::{render, values};
use crate::adapters::{tls, web};
use crate::domain::metric_store::{CloudWatchQuery, SigV4};
use crate::ports::Clock;
use crate::ports::metrics::{Measurement, MetricsError, Reading};
use answer::{Failed, Page, Series};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use std::sync::Arc;
use std::time::Duration;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Waits before a request that was throttled, or that failed inside `CloudWatch`, is sent again.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(300), Duration::from_millis(900), Duration::from_millis(2700)];
/// Pages that are read at most; a window is a few data points.
const MOST_PAGES: usize = 10;
/// Longest page that is read.
const LIMIT: usize = 8 * 1024 * 1024;

/// `CloudWatch`, in whatever region is asked.
pub struct CloudWatch {
    aws: Arc<Aws>,
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for CloudWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CloudWatch")
    }
}

/// One region, as somebody.
struct Asked<'q> {
    how: SigV4,
    url: String,
    what: &'q Measurement,
}

impl CloudWatch {
    /// A way to all regions.
    ///
    /// # Errors
    /// When the machine has no certificates to trust.
    pub fn new(aws: Arc<Aws>, clock: Arc<dyn Clock>) -> Result<Self, String> {
        tls::ensure_provider();
        let client = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT).build();
        Ok(Self { aws, client: client.map_err(|error| chain(&error))?, clock })
    }

    /// The newest data point of the window.
    ///
    /// # Errors
    /// As a store's: throttled for long and failures inside are `Down`, refused credentials `Denied`.
    pub async fn measure(
        &self,
        what: &Measurement,
        query: &CloudWatchQuery,
    ) -> Result<Reading, MetricsError> {
        let filled = request::filled(what, query)?;
        let known = values(what, str::to_owned);
        let text = |name: &str, text: &Option<String>| {
            text.as_ref().map(|text| render(name, text, &known)).transpose()
        };
        let region = text("cloudwatch.region", &query.region)?.unwrap_or_else(|| what.region.clone());
        let how = SigV4 {
            service: "monitoring".to_owned(),
            profile: text("cloudwatch.profile", &query.profile)?,
            role: text("cloudwatch.role", &query.role)?,
            region,
        };
        let url = format!("{}/", self.aws.endpoint("CLOUDWATCH", "monitoring", &how.region));
        let asked = Asked { how, url, what };
        let now = self.clock.now();
        let mut found: Vec<Series> = Vec::new();
        let mut token = None;
        for _ in 0..MOST_PAGES {
            let body = request::body(&filled, what.window, now, token.as_deref());
            let page = self.page(&asked, body.to_string().as_bytes()).await?;
            answer::merge(&mut found, page.series);
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        answer::reading(&found, query.requests.is_some()).map_err(|error| told(&asked, error))
    }

    /// One page, asked again while `CloudWatch` is too busy.
    async fn page(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Page, MetricsError> {
        let mut pauses = PAUSES.iter();
        loop {
            match self.once(asked, body).await? {
                Ok(page) => return Ok(page),
                Err(error) => match pauses.next().filter(|_| error.passes()) {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(told(asked, error)),
                },
            }
        }
    }

    async fn once(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Result<Page, Failed>, MetricsError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
        let operation = HeaderValue::from_static("GraniteServiceVersion20100801.GetMetricData");
        headers.insert("x-amz-target", operation);
        self.aws.sign(&asked.how, (&Method::POST, &asked.url), &mut headers, body).await?;
        let sent = self.client.post(&asked.url).headers(headers).body(body.to_vec()).send().await;
        let silent = |cause: String| Failed::Down(format!("no answer: {cause}"));
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Ok(Err(silent(web::cause(&error, TIMEOUT)))),
        };
        let status = response.status().as_u16();
        Ok(match web::body(response, LIMIT, TIMEOUT).await {
            Ok(body) => answer::read(status, &body),
            Err(cause) => Err(silent(cause)),
        })
    }
}

fn told(asked: &Asked<'_>, error: Failed) -> MetricsError {
    let place = format!("CloudWatch in {} (for {})", asked.how.region, asked.what.target);
    match error {
        Failed::Busy(cause) | Failed::Down(cause) => {
            MetricsError::Down { message: format!("{place}: {cause}") }
        }
        Failed::Denied(cause) => MetricsError::Denied {
            message: format!(
                "{place} refuses these credentials: {cause}; check the AWS credentials of this process, and that they \
                 allow cloudwatch:GetMetricData"
            ),
        },
        Failed::Refused(cause) => MetricsError::Refused { message: format!("{place}: {cause}") },
    }
}
