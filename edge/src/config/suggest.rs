//! The nearest known key to one that nobody knows.

use super::schema;

/// A key or table that whoever wrote `path` may have meant, as a dotted path.
pub(super) fn nearest_key(path: &[&str]) -> Option<String> {
    let name = schema::named_table(path).map_or("NAME", |(_, name)| path[name]);
    let keys = schema::KEYS.iter().map(|key| key.path);
    let candidates = keys
        .chain(schema::TABLES.iter().copied())
        .map(|known| known.replace('*', name));
    let scored = candidates.filter_map(|known| Some((score(&path.join("."), &known)?, known)));
    scored.min_by_key(|(score, _)| *score).map(|(_, known)| known)
}

/// The word nearest to `word`, if one is near.
pub(super) fn nearest_word<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    let scored = words.iter().filter_map(|known| {
        let distance = distance(&word.to_ascii_lowercase(), &known.to_ascii_lowercase());
        (distance <= tolerance(known)).then_some((distance, *known))
    });
    scored
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// How far a known path is from the one given: less is nearer, none is too far.
fn score(given: &str, known: &str) -> Option<usize> {
    if squeeze(given) == squeeze(known) {
        return Some(0);
    }
    let (given_table, given_key) = given.rsplit_once('.').unwrap_or(("", given));
    let (known_table, known_key) = known.rsplit_once('.').unwrap_or(("", known));
    let same_table = given_table == known_table;
    let distance = distance(given, known);
    if distance <= tolerance(if same_table { known_key } else { known }) {
        return Some(distance);
    }
    let lacks_unit = known_key.starts_with(given_key) || given_key.starts_with(known_key);
    if same_table && given_key.len() >= 3 && lacks_unit {
        return Some(5);
    }
    (given_key == known_key).then_some(6)
}

fn tolerance(known: &str) -> usize {
    (known.len() / 3).clamp(2, 3)
}

fn squeeze(path: &str) -> String {
    path.chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase()
}

/// Letters to insert, remove or exchange to turn one into the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.chars().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for column in 0..to.len() {
            let substitute = diagonal + usize::from(letter != to[column]);
            diagonal = row[column + 1];
            row[column + 1] = substitute.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
