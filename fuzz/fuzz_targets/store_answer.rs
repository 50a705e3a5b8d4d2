//! `cargo +nightly fuzz run store_answer`
#![no_main]

#[allow(dead_code, reason = "each target uses one of them")]
#[path = "../../tests/it/fuzz/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(wrong) = entry::store_answer(bytes) {
        panic!("{wrong}");
    }
});
