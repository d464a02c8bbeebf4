//! `tailwater check`: what would run, and what was not understood.

use crate::blueprint::blueprint;
use crate::terminal::{EXIT_CONFIGURATION, print, say};
use std::process::ExitCode;
use tailwater_config::{Loaded, effective, explain, shown_trigger};

/// Prints the effective configuration and the memory plan, or what is wrong; with `explains` what to keep, in the other
/// language.
pub fn run(loaded: &Loaded, explains: bool) -> ExitCode {
    if explains {
        for (name, sampling) in loaded.config.samplings() {
            if !name.is_empty() {
                print(&format!("# Pipeline {name}\n"));
            }
            print(&explain(sampling));
        }
        return ExitCode::SUCCESS;
    }
    let blueprint = match blueprint(&loaded.config) {
        Ok(blueprint) => blueprint,
        Err(error) => {
            tell_notes(loaded);
            say(&loaded.located(&error).to_string());
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    let mut text = effective(loaded);
    text.push_str("\n# Memory plan\n");
    for row in &blueprint.memory.rows {
        text.push_str(&format!("# {:>10}  {:<22} {}\n", mebibytes(row.bytes), row.name, row.reason));
    }
    text.push_str(&format!("# {:>10}  total\n", mebibytes(blueprint.memory.total)));
    for pipeline in &blueprint.pipelines {
        let of = if pipeline.name.is_empty() { String::new() } else { format!(" of {}", pipeline.name) };
        let fingerprint = pipeline.rules.fingerprint();
        text.push_str(&format!("#\n# rules{of} {fingerprint:016x}, the same for equal sampling sections\n"));
    }
    let control = loaded.config.control.plan();
    if !control.triggers.is_empty() {
        let mode = if control.is_dry_run { ", as a dry run" } else { "" };
        text.push_str(&format!("#\n# Triggers in effect{mode}\n"));
    }
    for trigger in &control.triggers {
        text.push_str(&format!("# {}\n", shown_trigger(trigger)));
    }
    let placement = &blueprint.placement;
    text.push_str(&format!("#\n# {} shards, {}\n", placement.cores.len(), placement.reason));
    print(&text);
    tell_notes(loaded);
    ExitCode::SUCCESS
}

fn tell_notes(loaded: &Loaded) {
    for note in &loaded.notes {
        say(&format!("note: {note}"));
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, (bytes >> 10) % 1024 * 10 / 1024)
}

#[cfg(test)]
mod tests {
    use super::mebibytes;

    #[test]
    fn bytes_are_shown_in_tenths_of_a_mebibyte() {
        assert_eq!(mebibytes(3 << 19), "1.5 MiB");
        assert_eq!(mebibytes((1 << 20) - 1), "0.9 MiB");
    }
}
