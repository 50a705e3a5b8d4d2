//! `cargo +nightly fuzz run template`
#![no_main]

#[allow(dead_code, reason = "each target uses one of them")]
#[path = "../../tests/it/fuzz/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(wrong) = entry::template(bytes) {
        panic!("{wrong}");
    }
});
