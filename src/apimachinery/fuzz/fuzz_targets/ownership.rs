#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| apimachinery::fuzzing::ownership(data));
