#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| rivulet_fuzz::Entry::named("request").run(input));
