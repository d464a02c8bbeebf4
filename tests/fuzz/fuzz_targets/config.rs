//! Configuration files: nothing panics, whatever the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater_config::{Inputs, load};

fuzz_target!(|text: &str| {
    let inputs = Inputs { file: Some(("f.yaml", text)), environment: &[], flags: &[], machine_memory_bytes: 1 << 30 };
    if let Ok(loaded) = load(&inputs) {
        _ = tailwater_config::effective(&loaded);
    }
});
