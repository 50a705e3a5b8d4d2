//! `cargo +nightly fuzz run journal`
#![no_main]

#[allow(dead_code, reason = "each target uses one of them")]
#[path = "../../tests/it/fuzz/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(wrong) = entry::journal(bytes) {
        panic!("{wrong}");
    }
});
