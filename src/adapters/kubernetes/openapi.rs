//! The server's own `OpenAPI` v3 documents: an index, and one document a group version, fetched only if asked for.
//!
//! Nothing here is needed to deploy, so nothing here fails: what cannot be had in a few seconds is done without.

use crate::adapters::kubernetes::document_cache::DocumentCache;
use crate::adapters::kubernetes::request;
use crate::adapters::kubernetes::send::{Api, Patience};
use crate::domain::definitions::ApiKind;
use crate::domain::kube_schema::Schema;
use crate::domain::openapi;
use crate::ports::ClusterError;
use bytes::Bytes;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::sync::OnceCell;

/// Where the index is; documents are below it.
const ROOT: &str = "/openapi/v3";

/// The address of each document, by group version as in `apis/apps/v1`.
type Index = BTreeMap<String, String>;
/// What came of asking for a document: those who ask at once share one request.
type Read = Arc<OnceCell<Option<Arc<Schema>>>>;

/// What a server was asked already: its index once, each document once.
#[derive(Default)]
pub(crate) struct Documents {
    cache: Option<DocumentCache>,
    index: OnceCell<Index>,
    read: Mutex<BTreeMap<String, Read>>,
}

#[derive(Deserialize)]
struct IndexAnswer {
    #[serde(default)]
    paths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "serverRelativeURL", default)]
    url: String,
}

impl Documents {
    /// Keeps what is fetched in a folder.
    pub(crate) fn keep_in(&mut self, folder: PathBuf) {
        self.cache = Some(DocumentCache::new(folder));
    }

    /// The schemas of the group versions of some kinds, as far as they are to be had.
    pub(crate) async fn schemas(&self, api: &Api, kinds: &[ApiKind]) -> Vec<Arc<Schema>> {
        let paths: BTreeSet<String> =
            kinds.iter().map(|kind| request::discovery_path(&kind.api_version)).collect();
        let read = paths.iter().map(|path| self.schema(api, path.trim_start_matches('/')));
        futures::future::join_all(read).await.into_iter().flatten().collect()
    }

    async fn schema(&self, api: &Api, group_version: &str) -> Option<Arc<Schema>> {
        let cell = {
            let mut read = self.read.lock().expect("no panic while held");
            Arc::clone(read.entry(group_version.to_owned()).or_default())
        };
        cell.get_or_init(|| self.fetch(api, group_version)).await.clone()
    }

    async fn fetch(&self, api: &Api, group_version: &str) -> Option<Arc<Schema>> {
        let index = self.index.get_or_init(|| index(api)).await;
        let url = index.get(group_version)?;
        // Only a hash in the address tells one content from the next.
        let cache = self.cache.as_ref().filter(|_| has_hash(url));
        if let Some(cache) = cache
            && let Some(document) = cache.read(&api.server, url).await
            && let Some(schema) = understood(api, url, &document)
        {
            return Some(schema);
        }
        let document = ask(api, url).await?;
        let schema = understood(api, url, &document)?;
        if let Some(cache) = cache {
            cache.write(&api.server, url, document).await;
        }
        Some(schema)
    }
}

/// The index; empty where there is none.
async fn index(api: &Api) -> Index {
    let Some(body) = ask(api, ROOT).await else { return Index::new() };
    let answer: IndexAnswer = match serde_json::from_slice(&body) {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(server = %api.server, %error, "the index of OpenAPI documents is not understood");
            return Index::new();
        }
    };
    let usable = answer.paths.into_iter().filter(|(_, entry)| is_below_root(&entry.url));
    usable.map(|(path, entry)| (path, entry.url)).collect()
}

async fn ask(api: &Api, url: &str) -> Option<Bytes> {
    let answer = api.call(&request::get(url), Patience::brief()).await;
    match answer {
        Ok(answer) => Some(answer.body),
        Err(error) => {
            let old = matches!(error, ClusterError::NotFound { .. });
            tracing::debug!(server = %api.server, %url, %error, old, "no OpenAPI document: lists are matched by guesses");
            None
        }
    }
}

fn understood(api: &Api, url: &str, document: &[u8]) -> Option<Arc<Schema>> {
    match openapi::read(document) {
        Ok(schema) => Some(Arc::new(schema)),
        Err(error) => {
            tracing::debug!(server = %api.server, %url, %error, "an OpenAPI document is not understood");
            None
        }
    }
}

/// Whether an address of the index is one that can be asked, of this server and of nothing but its documents.
fn is_below_root(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let below = uri.path().strip_prefix(ROOT).is_some_and(|rest| rest.starts_with('/'));
    uri.authority().is_none() && below && !uri.path().split('/').any(|part| part == "..")
}

fn has_hash(url: &str) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query.split('&').any(|pair| pair.strip_prefix("hash=").is_some_and(|hash| !hash.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documents_of_the_server_itself_are_asked_for() {
        for (url, usable) in [
            ("/openapi/v3/apis/apps/v1?hash=AB12", true),
            ("/openapi/v3/apis/apps/v1", true),
            ("", false),
            ("/openapi/v3", false),
            ("/openapi/v3x/apis", false),
            ("/api/v1/secrets", false),
            ("/openapi/v3/../../api/v1/secrets", false),
            ("https://elsewhere.example.com/openapi/v3/apis/apps/v1", false),
            ("//elsewhere.example.com/openapi/v3/apis/apps/v1", false),
            ("/openapi/v3/a b\r\nHost: x", false),
        ] {
            assert_eq!(is_below_root(url), usable, "{url}");
        }
    }

    #[test]
    fn an_address_without_a_hash_says_nothing_of_its_content() {
        for (url, expected) in [
            ("/openapi/v3/apis/apps/v1?hash=AB12", true),
            ("/openapi/v3/apis/apps/v1?timeout=3s&hash=AB12", true),
            ("/openapi/v3/apis/apps/v1?hash=", false),
            ("/openapi/v3/apis/apps/v1", false),
        ] {
            assert_eq!(has_hash(url), expected, "{url}");
        }
    }
}
