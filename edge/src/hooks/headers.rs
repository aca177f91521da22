//! What is kept of a client's handshake for hooks: the headers that the configuration names, no others.

use hyper::HeaderMap;
use hyper::header::{COOKIE, HeaderName};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Headers of a handshake. `Debug` shows their names alone: values are cookies and the like.
pub(crate) struct KeptHeaders(Box<[(HeaderName, Box<str>)]>);

impl std::fmt::Debug for KeptHeaders {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.0.iter().map(|(name, _)| name.as_str());
        formatter.debug_set().entries(names).finish()
    }
}

impl KeptHeaders {
    /// Those of `headers` that are `named`; nothing if there are none. A header that stands several times becomes one, as
    /// RFC 9110 section 5.3 and, for cookies, RFC 9113 section 8.2.3 have it. Bytes that are not UTF-8 are replaced.
    pub(super) fn of<'n>(
        headers: &HeaderMap,
        named: impl Iterator<Item = &'n HeaderName>,
    ) -> Option<Box<Self>> {
        let mut kept: Vec<(HeaderName, Box<str>)> = Vec::new();
        for name in named {
            let values: Vec<_> = headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            if !values.is_empty() && kept.iter().all(|(other, _)| other != name) {
                let separator = if name == COOKIE { "; " } else { ", " };
                kept.push((name.clone(), values.join(separator).into()));
            }
        }
        (!kept.is_empty()).then(|| Box::new(Self(kept.into())))
    }
}

/// What one hook is shown of what is kept: a map from names in lower case.
pub(super) struct Shown<'a> {
    pub(super) kept: Option<&'a KeptHeaders>,
    pub(super) named: &'a [HeaderName],
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.kept.iter().flat_map(|kept| &*kept.0) {
            if self.named.contains(name) {
                map.serialize_entry(name.as_str(), value)?;
            }
        }
        map.end()
    }
}
