//! A cluster to which there is no way: its context is missing, or its credential plugin fails.

use super::KubeCluster;
use super::send::NoWay;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;

/// One that gives no answer to any request, with this reason and at once. `name` is what messages call it.
///
/// Must be called inside a tokio runtime, as [`KubeCluster::new`] must.
#[must_use]
pub fn closed(name: &str, why: &str) -> KubeCluster {
    let why = NoWay(why.to_owned());
    let service = tower::service_fn(move |_: Request<Body>| {
        let why = why.clone();
        async move { Err::<Response<Body>, NoWay>(why) }
    });
    KubeCluster::new(Client::new(service, "default"), name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Cluster as _;

    #[tokio::test(start_paused = true)]
    async fn it_says_why_at_once_and_counts_as_silent() {
        let began = tokio::time::Instant::now();
        let error = closed("west", "the kubeconfig has no context `west`").identity().await.unwrap_err();
        assert!(error.leaves_open());
        assert_eq!(error.to_string(), "no contact with west: the kubeconfig has no context `west`");
        assert_eq!(began.elapsed(), std::time::Duration::ZERO, "nothing is tried again");
    }
}
