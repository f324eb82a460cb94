//! What somebody may have meant who wrote a name that does not exist.

/// Names that are alike when capitals and what joins words is left out: the same, or longer
/// or shorter ones; else the one that is most like it, if any is.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = letters(name);
    if wanted.is_empty() {
        return Vec::new();
    }
    let known: Vec<(&str, String)> = known.into_iter().map(|name| (name, letters(name))).collect();
    if let Some((same, _)) = known.iter().find(|(_, known)| *known == wanted) {
        return vec![same];
    }
    let is_part = |known: &str| known.starts_with(&wanted) || wanted.starts_with(known);
    let parts: Vec<_> =
        known.iter().filter(|(_, known)| is_part(known)).map(|(name, _)| *name).collect();
    if !parts.is_empty() {
        return parts;
    }
    let alike = known.iter().map(|(name, known)| (*name, strsim::jaro_winkler(&wanted, known)));
    let best = alike.max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.filter(|(_, likeness)| *likeness > ENOUGH).map(|(name, _)| name).into_iter().collect()
}

/// From 0, nothing in common, to 1: a letter that is missing, wrong or exchanged stays above.
const ENOUGH: f64 = 0.85;

fn letters(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] =
        ["interface", "leaseDuration", "renewInterval", "probeInterval", "log", "logFormat"];

    #[test]
    fn slips_of_the_pen_are_understood() {
        for (name, meant) in [
            ("lease-duration", &["leaseDuration"][..]),
            ("LEASE_DURATION", &["leaseDuration"]),
            ("leasDuration", &["leaseDuration"]),
            ("leaseDuratoin", &["leaseDuration"]),
            ("intrface", &["interface"]),
            ("interfaces", &["interface"]),
            ("renewInterwal", &["renewInterval"]),
            ("lo", &["log", "logFormat"]),
            ("logs", &["log"]),
        ] {
            assert_eq!(nearest(name, KNOWN), meant, "{name}");
        }
    }

    #[test]
    fn nothing_is_guessed_without_likeness() {
        for name in ["colour", "x", "", "-", "hook", "maxVips"] {
            assert_eq!(nearest(name, KNOWN), [""; 0], "{name}");
        }
    }
}
