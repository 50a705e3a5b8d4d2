//! Why an image cannot be pulled, told apart by what runtimes and registries say.

use super::pods::{Cause, Sort};

/// What an error says when the registry did not answer: the next try may succeed.
const TRANSIENT: &[&str] = &[
    "toomanyrequests",
    "too many requests",
    "i/o timeout",
    "connection refused",
    "connection reset",
    "tls handshake timeout",
    "temporary failure",
    "context deadline exceeded",
    "client.timeout exceeded",
    "no such host",
    "server misbehaving",
    "unexpected eof",
    "502 bad gateway",
    "503 service unavailable",
    "504 gateway",
    "500 internal server error",
];
/// Several lines of one manifest list, none of them for the node.
const PLATFORM: &[&str] = &[
    "no match for platform",
    "no matching manifest for",
    "does not match the specified platform",
    "no image found in manifest list",
    "no image found in image index",
    "exec format error",
];
const UNAUTHORIZED: &[&str] = &[
    "unauthorized",
    "authentication required",
    "no basic auth credentials",
    "authorization failed",
    "insufficient_scope",
    "pull access denied",
    "access denied",
    "denied:",
    "403 forbidden",
    "401 unauthorized",
    "permission denied on",
];
const NOT_FOUND: &[&str] = &["not found", "notfound", "manifest unknown", "name unknown", "does not exist"];

/// The cause that these words of the runtime stand for.
pub(super) fn cause(image: &str, words: &str) -> Cause {
    let lower = words.to_lowercase();
    let says = |list: &[&str]| list.iter().any(|part| lower.contains(part));
    let because = |why: &str| format!("image {image} cannot be pulled: {why}");
    let inspect = Some(format!("docker manifest inspect {image}"));
    if says(PLATFORM) {
        let platform = platform(words).map_or_else(String::new, |platform| format!(" ({platform})"));
        let what = because(&format!("it has no build for the node's platform{platform}"));
        return Cause::new(Sort::ImagePlatform, what).remedy(inspect);
    }
    if says(UNAUTHORIZED) {
        // Docker Hub says the same of what does not exist: it does not tell strangers which.
        let either = if lower.contains("may require") { ", or there is no such repository" } else { "" };
        let what = because(&format!(
            "the registry refuses these credentials{either} (imagePullSecrets of the pod or its ServiceAccount)"
        ));
        return Cause::new(Sort::ImageUnauthorized, what).remedy(inspect);
    }
    if says(TRANSIENT) {
        let what = because(&format!("the registry does not answer: {}", last_part(words)));
        return Cause::new(Sort::ImagePull, what).unsure();
    }
    if says(NOT_FOUND) {
        let what = because("not found, the registry has no such image or tag");
        return Cause::new(Sort::ImageNotFound, what).remedy(inspect);
    }
    Cause::new(Sort::ImagePull, because(&last_part(words))).remedy(inspect)
}

/// `linux/arm64` in `no match for platform in manifest sha256:…` or `no matching manifest for linux/arm64/v8 in …`.
fn platform(words: &str) -> Option<String> {
    let is_platform = |word: &&str| ["linux/", "windows/"].iter().any(|os| word.starts_with(os));
    let mut words = words.split([' ', ',', '"', ':', '(', ')']);
    words.find(is_platform).map(str::to_owned)
}

/// An error is a chain of causes; the last says most. What stands in quotes is one part.
fn last_part(words: &str) -> String {
    let short = words.rsplit(": ").next().unwrap_or(words).trim();
    if short.len() < 8 { words.trim().to_owned() } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_foreign_and_forbidden_images_are_told_apart() {
        let cases = [
            (
                r#"rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/shop/api:9": failed to resolve reference "docker.io/shop/api:9": docker.io/shop/api:9: not found"#,
                Sort::ImageNotFound,
                true,
            ),
            (
                "manifest for shop/api:9 not found: manifest unknown: manifest unknown",
                Sort::ImageNotFound,
                true,
            ),
            (
                "rpc error: code = NotFound desc = failed to pull and unpack image: no match for platform in manifest: not found",
                Sort::ImagePlatform,
                true,
            ),
            (
                "no matching manifest for linux/arm64/v8 in the manifest list entries",
                Sort::ImagePlatform,
                true,
            ),
            (
                "failed to authorize: failed to fetch anonymous token: unexpected status from GET request: 403 Forbidden",
                Sort::ImageUnauthorized,
                true,
            ),
            (
                "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
                Sort::ImageUnauthorized,
                true,
            ),
            ("dial tcp 10.0.0.1:443: i/o timeout", Sort::ImagePull, false),
            (
                "429 Too Many Requests - toomanyrequests: You have reached your pull rate limit",
                Sort::ImagePull,
                false,
            ),
            ("dial tcp: lookup registry.exmaple.com: no such host", Sort::ImagePull, false),
            (r#"Back-off pulling image "shop/api:missing""#, Sort::ImagePull, true),
        ];
        for (words, sort, sure) in cases {
            let cause = cause("shop/api:9", words);
            assert_eq!((cause.sort, cause.sure), (sort, sure), "{words}: {}", cause.what);
            assert!(cause.what.starts_with("image shop/api:9 cannot be pulled: "), "{}", cause.what);
        }
        let arm = cause("a", "no matching manifest for linux/arm64/v8 in the manifest list entries");
        assert!(arm.what.ends_with("platform (linux/arm64/v8)"), "{}", arm.what);
    }
}
