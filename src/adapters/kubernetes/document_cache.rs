//! `OpenAPI` documents on disk, from command to command. An address with a hash names one content for good, so nothing
//! here is ever out of date; what cannot be read is fetched again, what cannot be written is not kept.

use crate::adapters::clock::SystemClock;
use crate::ports::Clock as _;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

/// What nobody has used for so long is dropped.
const UNUSED: Duration = Duration::from_hours(30 * 24);
/// How exactly it is known when an entry was used last: not every use is written down.
const USED: Duration = Duration::from_hours(24);
/// Larger documents than any server has are not unpacked.
const LARGEST: u64 = 64 << 20;

/// How names end: of entries, and of what is being written.
const PACKED: &str = ".json.gz";
const UNFINISHED: &str = ".tmp";

/// A folder of documents, one gzipped file each.
#[derive(Clone, Debug)]
pub(crate) struct DocumentCache {
    folder: PathBuf,
}

impl DocumentCache {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The document of a server at an address, if it is kept and whole.
    pub(crate) async fn read(&self, server: &str, url: &str) -> Option<Bytes> {
        let path = self.path(server, url);
        let read =
            tokio::task::spawn_blocking(move || read(&path)).await.expect("reading a file does not panic");
        read.ok().map(Bytes::from)
    }

    /// Keeps a document, and drops those that were not used for long.
    pub(crate) async fn write(&self, server: &str, url: &str, document: Bytes) {
        let (folder, path) = (self.folder.clone(), self.path(server, url));
        let written = tokio::task::spawn_blocking(move || {
            write(&folder, &path, &document)?;
            drop_unused(&folder)
        });
        if let Err(error) = written.await.expect("writing a file does not panic") {
            tracing::debug!(folder = %self.folder.display(), %error, "OpenAPI documents cannot be kept");
        }
    }

    /// The name is a hash of all that the content depends on: no server has a say in it.
    fn path(&self, server: &str, url: &str) -> PathBuf {
        let mut name = String::new();
        for byte in Sha256::new().chain_update(server).chain_update("\n").chain_update(url).finalize() {
            let _ = write!(name, "{byte:02x}");
        }
        self.folder.join(format!("{name}{PACKED}"))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::options().read(true).open(path)?;
    let mut document = Vec::new();
    // The checksum at the end of the file tells whether it is whole.
    GzDecoder::new(&file).take(LARGEST).read_to_end(&mut document)?;
    if age(&file.metadata()?) > USED {
        // Who may read the cache and not write it reads it all the same.
        let touched = File::options().append(true).open(path).and_then(|file| file.set_modified(now()));
        if let Err(error) = touched {
            tracing::debug!(path = %path.display(), %error, "the use of a document cannot be noted");
        }
    }
    Ok(document)
}

/// Whoever reads meanwhile finds the whole document or none.
fn write(folder: &Path, path: &Path, document: &[u8]) -> io::Result<()> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    fs::create_dir_all(folder)?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let unfinished = path.with_extension(format!("{}-{number}{UNFINISHED}", std::process::id()));
    let written = File::create(&unfinished).and_then(|file| {
        let mut packed = GzEncoder::new(file, Compression::default());
        packed.write_all(document)?;
        packed.finish()?;
        fs::rename(&unfinished, path)
    });
    if written.is_err() {
        // Its absence is all that is wanted.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

/// Drops old entries, and what a process that died left unfinished.
fn drop_unused(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        let ours = [PACKED, UNFINISHED].iter().any(|ending| name.ends_with(ending));
        // Another process may have been quicker.
        let old = entry.metadata().is_ok_and(|metadata| metadata.is_file() && age(&metadata) > UNUSED);
        if ours && old {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn age(metadata: &fs::Metadata) -> Duration {
    metadata.modified().ok().and_then(|then| now().duration_since(then).ok()).unwrap_or_default()
}

fn now() -> SystemTime {
    SystemClock.now().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("deployctl-cache-{name}-{}", std::process::id()));
            // One of an earlier run, if there is any.
            let _ = fs::remove_dir_all(&folder);
            Self(folder)
        }

        fn files(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn what_was_kept_is_found_by_server_and_address() {
        let folder = Folder::new("kept");
        let cache = DocumentCache::new(folder.0.join("deep"));
        assert_eq!(cache.read("a", "/x?hash=1").await, None);
        cache.write("a", "/x?hash=1", Bytes::from_static(b"one")).await;
        assert_eq!(cache.read("a", "/x?hash=1").await, Some(Bytes::from_static(b"one")));
        assert_eq!(cache.read("b", "/x?hash=1").await, None);
        assert_eq!(cache.read("a", "/x?hash=2").await, None);
        let odd = "../../etc/passwd\0";
        cache.write("a", odd, Bytes::from_static(b"odd")).await;
        assert_eq!(cache.read("a", odd).await, Some(Bytes::from_static(b"odd")));
        assert_eq!(Folder(folder.0.join("deep")).files().len(), 2);
    }

    #[tokio::test]
    async fn what_is_broken_is_not_found() {
        let folder = Folder::new("broken");
        let cache = DocumentCache::new(folder.0.clone());
        cache.write("a", "/x", Bytes::from_static(b"a document that is long enough to be cut")).await;
        let path = cache.path("a", "/x");
        let whole = fs::read(&path).unwrap();
        for broken in [&whole[..whole.len() - 9], b"", b"no gzip"] {
            fs::write(&path, broken).unwrap();
            assert_eq!(cache.read("a", "/x").await, None);
        }
        cache.write("a", "/x", Bytes::from_static(b"again")).await;
        assert_eq!(cache.read("a", "/x").await, Some(Bytes::from_static(b"again")));
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_had_is_no_error() {
        let folder = Folder::new("barred");
        fs::write(&folder.0, "a file where the folder should be").unwrap();
        let cache = DocumentCache::new(folder.0.clone());
        cache.write("a", "/x", Bytes::from_static(b"x")).await;
        assert_eq!(cache.read("a", "/x").await, None);
        fs::remove_file(&folder.0).unwrap();
    }

    #[tokio::test]
    async fn what_nobody_used_for_a_month_goes() {
        let folder = Folder::new("old");
        let cache = DocumentCache::new(folder.0.clone());
        let aged = |name: &str, days: u64| {
            let then = now() - Duration::from_hours(24 * days);
            File::options()
                .append(true)
                .create(true)
                .open(folder.0.join(name))
                .unwrap()
                .set_modified(then)
                .unwrap();
        };
        cache.write("a", "/used", Bytes::from_static(b"used")).await;
        let used = cache.path("a", "/used").file_name().unwrap().to_str().unwrap().to_owned();
        for (name, days) in
            [("old.json.gz", 31), ("died.1-0.tmp", 31), ("theirs.txt", 400), ("new.json.gz", 29)]
        {
            aged(name, days);
        }
        aged(&used, 31);
        assert!(cache.read("a", "/used").await.is_some(), "a use is noted");
        cache.write("a", "/next", Bytes::from_static(b"next")).await;
        let mut left = folder.files();
        left.sort();
        let next = cache.path("a", "/next").file_name().unwrap().to_str().unwrap().to_owned();
        let mut expected = vec![used, next, "theirs.txt".to_owned(), "new.json.gz".to_owned()];
        expected.sort();
        assert_eq!(left, expected);
    }
}
