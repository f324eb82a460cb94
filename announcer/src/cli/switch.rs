//! Flags that are on or off.

use clap::{Arg, ArgAction, builder::BoolishValueParser};

/// Makes a flag a switch: off unless it is given, alone or as `=true`; `=false` takes back
/// what the environment or a file says.
pub(super) trait Switch {
    fn switch(self) -> Self;
}

impl Switch for Arg {
    fn switch(self) -> Self {
        self.action(ArgAction::Set)
            .value_parser(BoolishValueParser::new())
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .value_name("true|false")
    }
}
