//! What the objects of a release look like, with the server asked about kinds that nobody else defines.

use crate::domain::definitions::{ApiKind, Definitions};
use crate::domain::object::Object;
use crate::ports::Cluster;

/// The definitions of all kinds of some objects. A server is asked only about those that the objects do not define
/// themselves and that are not built in: of most releases, about none.
pub async fn definitions(cluster: &dyn Cluster, objects: &[&Object]) -> Definitions {
    let values = || objects.iter().map(|object| &object.value);
    let definitions = Definitions::of(values());
    let unknown: Vec<ApiKind> = definitions.unknown(values()).into_iter().collect();
    if unknown.is_empty() {
        return definitions;
    }
    definitions.and_served(cluster.schemas(&unknown).await)
}
