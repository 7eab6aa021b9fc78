//! Command lines as a user would type them.

use std::fmt::Write as _;

/// Returns the command as one would type it in a shell: words with special characters are quoted.
pub fn command_line(words: &[String]) -> String {
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        let plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+~".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            line.push_str(word);
        } else {
            // Writing to a String does not fail.
            write!(line, "'{}'", word.replace('\'', r"'\''")).ok();
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_words_are_quoted() {
        let shown = |words: &[&str]| command_line(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(shown(&["make", "-j8", "A=1"]), "make -j8 A=1");
        assert_eq!(shown(&["sh", "-c", "echo 'a b'", ""]), r"sh -c 'echo '\''a b'\''' ''");
    }
}
