//! Where a value was written, and by which name: what is found out later is told in the words of the file.

use std::collections::BTreeMap;

use crate::problem::Source;

/// Where the key was written, or else the nearest section around it.
pub(crate) fn source(sources: &BTreeMap<String, Source>, key: &str) -> Source {
    nearest(sources, key).map_or(Source::Default, |(source, _)| source.clone())
}

/// The key as its file has it: what stands below a section that has another name there keeps its end.
pub(crate) fn written(names: &BTreeMap<String, String>, key: &str) -> String {
    nearest(names, key).map_or_else(|| key.to_string(), |(name, rest)| format!("{name}{rest}"))
}

/// The entry of the key or of the nearest section around it, with what of the key is below that.
fn nearest<'m, 'k, T>(map: &'m BTreeMap<String, T>, key: &'k str) -> Option<(&'m T, &'k str)> {
    let mut path = key;
    loop {
        if let Some(found) = map.get(path) {
            return Some((found, &key[path.len()..]));
        }
        path = path.rsplit_once('.')?.0;
    }
}
