//! The packet logic over any frame and any maps.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| announcer_fuzz::verdict::check(input));
