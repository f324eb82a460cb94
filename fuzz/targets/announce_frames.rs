//! The frames that the daemon sends, for any VIP and any MAC.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| announcer_fuzz::announce_frames::check(input));
