//! The files of `edge/console`, as they are in the binary.

macro_rules! file {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../console/", $name)))
    };
}
/// Name and content of each file.
pub(super) const FILES: &[(&str, &[u8])] = &[
    file!("address-hash.js"),
    file!("advice.js"),
    file!("channels.js"),
    file!("connection-panel.js"),
    file!("connection-state.js"),
    file!("connection.js"),
    file!("console.css"),
    file!("console.js"),
    file!("continuity.js"),
    file!("demo.css"),
    file!("demo.html"),
    file!("demo.js"),
    file!("deployment-cards.js"),
    file!("dom.js"),
    file!("favicon.svg"),
    file!("feed.js"),
    file!("format.js"),
    file!("frames.js"),
    file!("guide.js"),
    file!("index.html"),
    file!("inspector.js"),
    file!("json-tree.js"),
    file!("keys.js"),
    file!("lists.css"),
    file!("log-view.js"),
    file!("messages.js"),
    file!("meter.js"),
    file!("parts.css"),
    file!("publish.js"),
    file!("ring.js"),
    file!("tabs.js"),
    file!("tailwater-http.js"),
    file!("tailwater.js"),
    file!("theme.css"),
    file!("theme.js"),
    file!("virtual-list.js"),
];

#[cfg(test)]
mod tests {
    #[test]
    fn every_file_of_the_folder_is_in_the_binary() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/console");
        let entries = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let mut present: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        present.sort();
        let embedded: Vec<_> = super::FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(embedded, present);
    }
}
