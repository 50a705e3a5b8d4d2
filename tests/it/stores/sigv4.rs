//! Signature Version 4, recomputed from what a server receives, by AWS's description of it.

use super::server::Asked;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The key pair of AWS's published examples.
pub const KEY: &str = "AKIDEXAMPLE";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn hash(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

/// RFC 2104.
fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::digest([padded(0x36).as_slice(), data].concat());
    Sha256::digest([padded(0x5c).as_slice(), inner.as_slice()].concat()).to_vec()
}

/// The signature over a request; `scope` is `DATE/REGION/SERVICE/aws4_request`.
fn signature(asked: &Asked, secret: &str, scope: &str, signed: &[&str], payload: &str) -> String {
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    pairs.sort();
    let headers = signed.iter().fold(String::new(), |mut out, name| {
        let _ =
            writeln!(out, "{name}:{}", asked.headers[*name].split_whitespace().collect::<Vec<_>>().join(" "));
        out
    });
    let request =
        format!("{}\n{path}\n{}\n{headers}\n{}\n{payload}", asked.method, pairs.join("&"), signed.join(";"));
    let text =
        format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", asked.headers["x-amz-date"], hash(request.as_bytes()));
    let key =
        scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part.as_bytes()));
    hex(&hmac(&key, text.as_bytes()))
}

/// What a server of AWS checks; panics where it would refuse.
pub fn check(asked: &Asked, (key, secret): (&str, &str), region: &str, service: &str) {
    let authorization = &asked.headers["authorization"];
    let parts: BTreeMap<&str, &str> = authorization
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .unwrap_or_else(|| panic!("{authorization}"))
        .split(", ")
        .filter_map(|part| part.split_once('='))
        .collect();
    let (by, scope) = parts["Credential"].split_once('/').unwrap();
    let day = &asked.headers["x-amz-date"][..8];
    assert_eq!((by, scope), (key, format!("{day}/{region}/{service}/aws4_request").as_str()));
    let signed: Vec<&str> = parts["SignedHeaders"].split(';').collect();
    for needed in ["host", "x-amz-date", "x-amz-content-sha256"] {
        assert!(signed.contains(&needed), "{signed:?}");
    }
    let payload = hash(asked.body.as_bytes());
    assert_eq!(asked.headers["x-amz-content-sha256"], payload);
    assert_eq!(parts["Signature"], signature(asked, secret, scope, &signed, &payload));
}

/// AWS's published requests, so that the recomputation itself is checked: `get-vanilla`,
/// `get-vanilla-query-order-key-case`, `post-x-www-form-urlencoded`.
#[test]
fn the_published_examples_have_their_signatures() {
    let headers = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
    let asked = |method: &str, path: &str, more: &[(&str, &str)], body: &str| Asked {
        method: method.into(),
        path: path.into(),
        headers: headers.iter().chain(more).map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        body: body.into(),
    };
    let plain = ["host", "x-amz-date"];
    let form = ["content-type", "host", "x-amz-date"];
    let form_header = [("content-type", "application/x-www-form-urlencoded")];
    for (asked, signed, expected) in [
        (
            asked("GET", "/", &[], ""),
            plain.as_slice(),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            asked("GET", "/?Param2=value2&Param1=value1", &[], ""),
            plain.as_slice(),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            asked("POST", "/", &form_header, "Param1=value1"),
            form.as_slice(),
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ] {
        let scope = "20150830/us-east-1/service/aws4_request";
        let payload = hash(asked.body.as_bytes());
        assert_eq!(signature(&asked, SECRET, scope, signed, &payload), expected, "{asked:?}");
    }
}
