//! The contract against a real API server, where `DEPLOYCTL_TEST_KUBECONFIG` names one.

use super::contract::Rig;
use deployctl::adapters::kubernetes::connect;
use deployctl::domain::environment::ClusterAddress;
use deployctl::domain::object::ObjectRef;
use deployctl::ports::cluster::Terms;
use deployctl::ports::{Clock, Cluster};
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

struct WallClock;

impl Clock for WallClock {
    #[allow(clippy::disallowed_methods, reason = "a real server goes by real time")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

async fn other(path: &PathBuf) -> kube::Client {
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(path).unwrap(), &options).await;
    kube::Client::try_from(config.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_against_a_real_server() {
    let Some(path) = std::env::var_os("DEPLOYCTL_TEST_KUBECONFIG").map(PathBuf::from) else {
        super::skipped("DEPLOYCTL_TEST_KUBECONFIG names no kubeconfig of a cluster to try");
        return;
    };
    let address = ClusterAddress { kubeconfig: Some(path.clone()), ..ClusterAddress::default() };
    let cluster = connect(&address).await.unwrap();
    let namespace = format!("deployctl-test-{}", std::process::id());
    let rig = Rig { cluster, other: other(&path).await, clock: Arc::new(WallClock), namespace };
    let made = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": rig.namespace } });
    rig.cluster.apply(&made, Terms::PLAIN).await.unwrap();
    rig.all().await;
    for suffix in ["", "-state", "-locks"] {
        let name = format!("{}{suffix}", rig.namespace);
        rig.cluster.delete(&ObjectRef::new("v1", "Namespace", "", &name)).await.unwrap();
    }
}
