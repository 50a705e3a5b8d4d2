//! Addresses that the cloud gives: load balancers of Services, and of Ingresses.

use serde_json::{Value, json};

use super::object;
use super::{Context, Controller};
use crate::sim::kube::kinds::KindId;
use crate::sim::random::fnv;

const ME: Controller = Controller::ServiceAddress;

/// Looks at a Service and an Ingress of that name.
pub fn sync(cx: &mut Context<'_>, namespace: &str, name: &str) {
    if let Some(service) = cx.get(KindId::SERVICES, namespace, name)
        && object::text(&service, &["spec", "type"]) == "LoadBalancer"
    {
        let address = json!({"hostname": format!("{}.elb.amazonaws.com", token(&service))});
        give(cx, KindId::SERVICES, &service, &address, true);
    }
    if let Some(ingress) = cx.get(KindId::INGRESSES, namespace, name) {
        let number = fnv(object::text(&ingress, &["spec", "ingressClassName"]).as_bytes());
        let address = json!({"ip": format!("203.0.113.{}", number % 254 + 1)});
        give(cx, KindId::INGRESSES, &ingress, &address, false);
    }
}

fn token(object: &Value) -> String {
    object::uid(object).chars().filter(char::is_ascii_hexdigit).take(20).collect()
}

/// Gives the address some seconds after the object was made.
fn give(cx: &mut Context<'_>, kind: KindId, object: &Value, address: &Value, tell: bool) {
    let has = !object::items(object, &["status", "loadBalancer", "ingress"]).is_empty();
    if has || object::deleting(object) {
        return;
    }
    let age = cx.seconds_since(object::text(object, &["metadata", "creationTimestamp"])).unwrap_or(0.0);
    let wait = 2.0 + f64::from(fnv(object::uid(object).as_bytes()) % 3000) / 1000.0;
    if age < wait {
        cx.again(ME, object, ((wait - age) * 1000.0) as u64 + 1);
        return;
    }
    cx.modify_status(kind, object, ME, |object| {
        object::set(object, &["status", "loadBalancer", "ingress"], json!([address]));
    });
    if tell {
        cx.event(object, ME, false, "EnsuredLoadBalancer", "Ensured load balancer");
    }
}
