//! A configuration file of any text: no panic, at least one mistake with words where it is refused, and no secret in what is
//! said about it.

use tailwater_edge::fuzz::read_config;

/// No input has it, so whoever says it has told a secret.
const SECRET: &str = "7c4a8d09ca3762af61e59520943dc264";

/// Feeds it one input.
pub(crate) fn feed(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let said = match read_config(text, &[("TAILWATER_NATS__PASSWORD", SECRET)]) {
        Ok(config) => format!("{config:?}"),
        Err(mistakes) => {
            let said = mistakes.to_string();
            assert!(!said.trim().is_empty(), "{mistakes:?}");
            format!("{said}{mistakes:?}")
        }
    };
    assert!(!said.contains(SECRET), "{said}");
}
