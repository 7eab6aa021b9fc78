//! Names of signals.

/// The signals with a common name. Their numbers are those of Linux on x86 and Arm.
const SIGNALS: [(i32, &str); 16] = [
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (24, "SIGXCPU"),
];

/// Returns the name of a signal: `SIGTERM` for 15, `signal N` for one without a common name.
pub fn signal_name(number: i32) -> String {
    let known = SIGNALS.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("signal {number}"), |(_, name)| (*name).to_owned())
}

/// Returns the number of a signal from its name, with or without `SIG`.
pub fn signal_number(name: &str) -> Option<i32> {
    let short = name.trim_start_matches("SIG");
    SIGNALS.iter().find(|(_, known)| known.strip_prefix("SIG") == Some(short)).map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        for (number, name) in SIGNALS {
            assert_eq!((signal_name(number).as_str(), signal_number(name)), (name, Some(number)));
        }
        assert_eq!(signal_number("TERM"), Some(15));
        assert_eq!((signal_name(77).as_str(), signal_number("SIGWHAT")), ("signal 77", None));
    }
}
