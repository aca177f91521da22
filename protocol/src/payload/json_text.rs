//! Is this text JSON, and shallow enough? An iterative check by RFC 8259, because every publication passes through it
//! and anybody may publish a mebibyte of `[`: the open levels are bits of one integer, so nothing is allocated and
//! nothing recurses.

use crate::limits::MAX_JSON_DEPTH;

/// RFC 8259 section 2.
pub(super) const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// True if `text`, which is UTF-8, is one JSON value of at most [`MAX_JSON_DEPTH`] levels.
pub(super) fn is_json(text: &[u8]) -> bool {
    Scan {
        text,
        at: 0,
        objects: 0,
        depth: 0,
    }
    .document()
    .is_some()
}

/// A read position and the open levels: bit `depth - 1` of `objects` says that the innermost one is an object.
struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    objects: u128,
    depth: usize,
}

/// The bytes of a string that are not simply passed over: its end, an escape, and what may not stand there. One look at
/// a table for each byte takes less time than comparisons (`codec/classify a payload` in `bench/micro`).
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut control = 0;
    while control < 0x20 {
        special[control] = true;
        control += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special
};

// One bit a level.
const _: () = assert!(MAX_JSON_DEPTH <= 128);

/// Each step returns `None` where the text stops being JSON.
impl Scan<'_> {
    fn document(&mut self) -> Option<()> {
        loop {
            if self.value()? {
                continue;
            }
            // A value is complete; close levels until one of them goes on.
            while self.depth > 0 {
                self.white_space();
                match (self.next()?, self.in_object()) {
                    (b',', true) => {
                        self.white_space();
                        self.key()?;
                        break;
                    }
                    (b',', false) => break,
                    (b'}', true) | (b']', false) => self.depth -= 1,
                    _ => return None,
                }
            }
            if self.depth == 0 {
                self.white_space();
                return (self.at == self.text.len()).then_some(());
            }
        }
    }

    /// Reads a value, or only its start: true if a level was opened and a value must follow.
    fn value(&mut self) -> Option<bool> {
        self.white_space();
        match self.next()? {
            b'{' => {
                self.open(true)?;
                self.white_space();
                if self.skip(b'}') {
                    self.depth -= 1;
                    return Some(false);
                }
                self.key()?;
                Some(true)
            }
            b'[' => {
                self.open(false)?;
                self.white_space();
                if self.skip(b']') {
                    self.depth -= 1;
                    return Some(false);
                }
                Some(true)
            }
            b'"' => self.string().map(|()| false),
            b't' => self.word(b"rue").map(|()| false),
            b'f' => self.word(b"alse").map(|()| false),
            b'n' => self.word(b"ull").map(|()| false),
            first @ (b'-' | b'0'..=b'9') => self.number(first).map(|()| false),
            _ => None,
        }
    }

    /// A key and its colon.
    fn key(&mut self) -> Option<()> {
        (self.next()? == b'"').then_some(())?;
        self.string()?;
        self.white_space();
        (self.next()? == b':').then_some(())
    }

    /// The rest of a string after its quotation mark.
    fn string(&mut self) -> Option<()> {
        loop {
            let rest = &self.text[self.at..];
            self.at += rest.iter().position(|byte| SPECIAL[usize::from(*byte)])?;
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => match self.next()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        for _ in 0..4 {
                            self.next()?.is_ascii_hexdigit().then_some(())?;
                        }
                    }
                    _ => return None,
                },
                _ => return None,
            }
        }
    }

    /// The rest of a number after its first character.
    fn number(&mut self, first: u8) -> Option<()> {
        let leading = if first == b'-' { self.next()? } else { first };
        match leading {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.skip(b'.') {
            self.next()?.is_ascii_digit().then_some(())?;
            self.digits();
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _ = self.skip(b'+') || self.skip(b'-');
            self.next()?.is_ascii_digit().then_some(())?;
            self.digits();
        }
        Some(())
    }

    fn digits(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn word(&mut self, rest: &[u8]) -> Option<()> {
        self.text[self.at..].starts_with(rest).then_some(())?;
        self.at += rest.len();
        Some(())
    }

    fn open(&mut self, object: bool) -> Option<()> {
        (self.depth < MAX_JSON_DEPTH).then_some(())?;
        let bit = 1_u128 << self.depth;
        if object {
            self.objects |= bit;
        } else {
            self.objects &= !bit;
        }
        self.depth += 1;
        Some(())
    }

    fn in_object(&self) -> bool {
        self.objects >> (self.depth - 1) & 1 == 1
    }

    fn white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = *self.text.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// Passes over `byte` if it is next.
    fn skip(&mut self, byte: u8) -> bool {
        let found = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    /// `serde_json` ignores values iteratively, so it may judge any depth.
    fn agrees(text: &str) -> bool {
        is_json(text.as_bytes()) == serde_json::from_str::<IgnoredAny>(text).is_ok()
    }

    #[test]
    fn the_corners_of_the_grammar_are_those_of_serde_json() {
        let corners = "0 -0 01 1. .5 1.5 1e5 1E+5 1e-05 1e 1e+ - -a +1 1e999 0x1 Infinity NaN true tru truee \
            \"\" \"a \"\\u12aF\" \"\\u12g4\" \"\\ud800\" \"\\x\" \"\\\" \"\\/\" [] [,] [1,] [1,2] [1 {} {,} {\"a\":1,} \
            {\"a\"} {\"a\":} {\"a\":1} {a:1} {1:1} [} {] [{}] {\"a\":[{\"b\":[]}]} [1]] null nul \"\u{1}\" \"\u{7f}\" 'a'";
        for text in corners.split(' ') {
            assert!(agrees(text), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_judged_as_serde_json_judges_it(
            text in r#"[\[\]{}",:\\u0-9aeE+.\-ntrlfs \n\x01]{0,24}"#,
            likely in r#"(\[|\{"a":|"x",|1,|\]|\}| |-0\.5e1|,|:){0,12}"#,
        ) {
            prop_assert!(agrees(&text), "{:?}", text);
            prop_assert!(agrees(&likely), "{:?}", likely);
        }
    }
}
