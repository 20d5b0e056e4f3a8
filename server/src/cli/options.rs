//! Parameters of the REST interface as options and arguments of commands.

use clap::{Arg, ArgAction, ArgMatches};

use crate::config::properties::Given;
use crate::rest::endpoint::Param;
use crate::rest::schema::Schema;

/// The options that these parameters become.
pub fn options(params: &'static [Param], without: &[&str]) -> Vec<Arg> {
    let shown = params.iter().filter(|param| !without.contains(&param.name));
    shown.map(option).collect()
}

fn option(param: &'static Param) -> Arg {
    let option = argument(param).long(param.name).required(!param.optional);
    match param.schema {
        Schema::Boolean => option.num_args(0..=1).default_missing_value("true"),
        schema if schema.is_array() => option.action(ArgAction::Append),
        _ => option,
    }
}

/// The argument that this parameter becomes where it is known by its place.
pub fn argument(param: &'static Param) -> Arg {
    let schema = param.schema;
    let checked = move |text: &str| schema.parse(text).map(|_| text.to_owned());
    Arg::new(param.name)
        .help(param.about.trim_end_matches('.'))
        .value_parser(checked)
}

/// The values of these options.
pub fn given(matches: &ArgMatches, params: &[Param], without: &[&str]) -> Given {
    let shown = params.iter().filter(|param| !without.contains(&param.name));
    shown.fold(Given::default(), |given, param| {
        given.set_all(param.name, &texts(matches, param.name))
    })
}

/// All values of an option.
pub fn texts(matches: &ArgMatches, name: &str) -> Vec<String> {
    match matches.try_get_many::<String>(name) {
        Ok(Some(values)) => values.cloned().collect(),
        _ => Vec::new(),
    }
}

/// The value of an option or an argument.
pub fn text(matches: &ArgMatches, name: &str) -> Option<String> {
    texts(matches, name).into_iter().next()
}
