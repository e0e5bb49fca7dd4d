#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| helenus_fuzz::compressor(bytes));
