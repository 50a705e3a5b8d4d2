//! Access reviews: what the API says about who somebody is and what they may do.

use http::StatusCode;
use serde_json::{Value, json};

use super::api::{Answer, ApiService, Incoming};
use super::decode;
use super::errors::ApiStatus;
use super::handlers::path_not_found;
use super::host::{Access, Identity};
use super::managed;
use super::stored::Stored;
use super::write::time;

impl ApiService {
    /// Answers a review; `None` if the request is none.
    pub(crate) fn review(&self, incoming: &Incoming) -> Result<Option<Answer>, ApiStatus> {
        let info = &incoming.info;
        let is_review = matches!(&*info.group, "authorization.k8s.io" | "authentication.k8s.io")
            && info.version == "v1"
            && info.resource.ends_with("reviews");
        if !is_review {
            return Ok(None);
        }
        if info.verb != "create" {
            return Err(ApiStatus::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            ));
        }
        let mut review = decode::optional(&incoming.body)?;
        review["status"] = match info.resource.as_str() {
            "selfsubjectaccessreviews" | "subjectaccessreviews" | "localsubjectaccessreviews" => {
                let attributes = review["spec"]["resourceAttributes"].clone();
                json!({"allowed": self.may(&attributes)})
            }
            "selfsubjectreviews" => {
                review["metadata"]["creationTimestamp"] = time(self.host.now()).into();
                json!({"userInfo": user_info(&self.identity)})
            }
            "selfsubjectrulesreviews" => self.rules(),
            _ => return Err(path_not_found()),
        };
        if info.resource != "selfsubjectreviews" {
            review["metadata"]["managedFields"] = self.review_fields(incoming, &review);
        }
        Ok(Some(Answer::object(StatusCode::CREATED, &review)))
    }

    fn may(&self, attributes: &Value) -> bool {
        let text = |field: &str| attributes[field].as_str().unwrap_or_default();
        let resource = match text("subresource") {
            "" => text("resource").to_owned(),
            subresource => format!("{}/{subresource}", text("resource")),
        };
        let access = Access {
            verb: text("verb"),
            group: text("group"),
            resource: &resource,
            namespace: text("namespace"),
        };
        self.host.allows(&self.identity, &access)
    }

    /// What the identity may do, as far as rules can say it: everything, unless something is denied.
    fn rules(&self) -> Value {
        let everything = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
        let rules = if self.identity.denied.is_empty() { everything } else { json!([]) };
        json!({"resourceRules": rules, "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": !self.identity.denied.is_empty()})
    }

    fn review_fields(&self, incoming: &Incoming, review: &Value) -> Value {
        let writer = self.writer(&incoming.info, "");
        let api_version = review["apiVersion"].as_str().unwrap_or_default();
        let object = json!({"metadata": {}, "spec": review["spec"]});
        let shape = super::shape::Shape::of_crd(&Value::Null);
        // the spec is always present: only what is in it has an owner
        let empty = Stored::of_client(json!({"metadata": {}, "spec": {"resourceRules": null}}));
        managed::encode(&managed::track_update(&shape, &empty, &object, &writer, api_version))
    }
}

fn user_info(identity: &Identity) -> Value {
    let mut info = json!({"username": identity.user});
    if !identity.uid.is_empty() {
        info["uid"] = identity.uid.clone().into();
    }
    info["groups"] = json!(identity.groups);
    info
}
