//! Flags that are on or off.

use clap::{
    Arg, ArgAction,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};

const ON: [&str; 5] = ["true", "yes", "on", "y", "1"];
const OFF: [&str; 5] = ["false", "no", "off", "n", "0"];

/// Makes a flag a switch: off unless it is given, alone or as `=true`; `=false` takes back
/// what the environment or a file says. All switches take the same words, in whatever case.
pub(super) trait Switch {
    fn switch(self) -> Self;
}

impl Switch for Arg {
    fn switch(self) -> Self {
        self.action(ArgAction::Set)
            .value_parser(on_or_off())
            .ignore_case(true)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .value_name("true|false")
            // As the name of the value says.
            .hide_possible_values(true)
    }
}

fn on_or_off() -> impl TypedValueParser<Value = bool> {
    let named = |words: [&'static str; 5]| {
        let [name, aliases @ ..] = words;
        PossibleValue::new(name).aliases(aliases)
    };
    PossibleValuesParser::new([named(ON), named(OFF)])
        .map(|word| ON.iter().any(|on| word.eq_ignore_ascii_case(on)))
}
